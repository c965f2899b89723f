//! The borgmatic 2.1 configuration and command line.
