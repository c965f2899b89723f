//! What people see, and what logs keep: records by verbosity, the summary, the progress line.
//!
//! [`log`] decides what is shown where, [`lines`] understands what a Borg command says while it
//! runs, [`progress`] turns numbers into one line of text.

pub mod lines;
pub mod log;
pub mod log_file;
pub mod progress;
pub mod system_log;
