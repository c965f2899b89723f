//! Everything a command says: logger, progress, JSON, tables, formatted lists.
//!
//! Each submodule turns values into text (or JSON) and nothing else, so that
//! the exact bytes can be tested without a repository.

pub mod archive_format;
pub mod archive_info;
pub mod digests;
pub mod item_format;
pub mod json;
pub mod log;
pub mod progress;
pub mod python_format;
pub mod questions;
pub mod remote;
pub mod stats;
pub mod text;
