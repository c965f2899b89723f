//! The BorgBackup 1.4 command line: arguments, output, questions, exit codes.
//!
//! This crate sits above the engine and is the only place below the binary
//! where the terminal and the environment are known. Data goes to stdout,
//! everything that is said about the work goes to stderr.

pub mod console;
pub mod environment;
pub mod error;
pub mod exit_code;
pub mod options;
pub mod output;
pub mod reporter;
