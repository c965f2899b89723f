//! Groups of options that commands share, and the parsers of their values.
//!
//! Every struct here is flattened into the arguments of a command; its doc comments are the help.

pub mod archive;
pub mod arguments;
pub mod common;
pub mod exclude;
pub mod filter;
pub mod values;

pub use arguments::{Invocation, understand};
pub use common::CommonOptions;
pub use exclude::{ExcludeOptions, PatternOption, StripOptions, TagOptions};
pub use filter::{ArchiveFilter, NameFilter};

use crate::error::CommandError;

/// Returns the value of an option that may be given only once.
///
/// # Errors
/// When it was given more than once.
pub fn only_one<T: Clone>(option: &str, values: &[T]) -> Result<Option<T>, CommandError> {
    match values {
        [] => Ok(None),
        [value] => Ok(Some(value.clone())),
        _ => Err(CommandError::usage(format!(
            "argument {option}: There can be only one."
        ))),
    }
}
