//! What people see: records by verbosity, the summary, the progress line, JSON results.
//!
//! [`log`] decides what is shown where, [`lines`] understands what a Borg command says while it
//! runs, [`progress`] turns numbers into one line of text.

pub mod lines;
pub mod log;
pub mod progress;
