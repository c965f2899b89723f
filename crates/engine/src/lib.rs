//! Archives and everything done with them; knows no terminal, environment or command line.
