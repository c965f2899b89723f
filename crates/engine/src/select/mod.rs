//! What is taken: patterns, pattern files, tagged directories, roots.
//!
//! Pure decisions about paths. Walking the file system and reading pattern files is done by others,
//! who hand over names and contents. Paths are bytes; patterns see a path as text in which each
//! byte that is no UTF-8 is one character of its own (see `text`), as Borg does it.
//!
//! | question | module |
//! |---|---|
//! | what do options and pattern files say? | [`pattern_file`] |
//! | is this path included? go into this directory? | [`patterns`] |
//! | is this directory a cache, or marked by a file? | [`tags`] |
//! | under which name is it stored? | [`roots`] |
//! | which archives are meant? | [`archive_glob`] |

pub mod archive_glob;
mod fnmatch;
mod glob;
pub mod pattern_file;
pub mod patterns;
mod python_regex;
pub mod roots;
mod shell;
pub mod tags;
mod text;
