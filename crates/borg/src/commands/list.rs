//! `list`: the archives of a repository, or the items of an archive. Here are its arguments;
//! [`run`] does it.

mod facts;
mod run;

use std::ffi::OsString;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::{ArchiveFilter, CommonOptions, ExcludeOptions};

/// List archives or the contents of an archive
///
/// FORMAT is text with keys in braces, such as "{archive} {time}{NL}" or "{size:8} {path}{NL}";
/// behind a colon, width and alignment follow.
///
/// Keys for archives: archive, name, barchive, comment, bcomment, id, tam, start, time, end,
/// command_line, hostname, username.
///
/// Keys for items: type, mode, uid, gid, user, group, path, bpath, source, linktarget, flags,
/// size, csize, dsize, dcsize, num_chunks, unique_chunks, mtime, ctime, atime, isomtime, isoctime,
/// isoatime, archiveid, archivename, extra, health, xxh64 and the names of hashes such as sha256.
///
/// Keys for both: NEWLINE, NL, NUL, SPACE, TAB, CR, LF.
#[derive(Clone, Debug, clap::Parser)]
pub struct List {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    pub(super) location: Option<OsString>,
    /// What to list of an archive
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<OsString>,
    /// Also list unfinished archives
    #[arg(long)]
    pub(super) consider_checkpoints: bool,
    /// Only names and paths
    #[arg(long)]
    pub(super) short: bool,
    /// What to show of each archive or item
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// Print archives as JSON, with the keys used in FORMAT
    #[arg(long)]
    pub(super) json: bool,
    /// Print items as JSON, one per line, with the keys used in FORMAT
    #[arg(long)]
    pub(super) json_lines: bool,
    /// Which archives.
    #[command(flatten)]
    pub(super) filter: ArchiveFilter,
    /// What to leave out.
    #[command(flatten)]
    pub(super) exclude: ExcludeOptions,
    /// Options of all commands.
    #[command(flatten)]
    pub(super) common: CommonOptions,
}

impl Action for List {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.name.texts()
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        run::list(&self, context)
    }
}
