//! `list`: the archives of a repository, or the items of an archive.

use std::ffi::OsString;

use crate::options::{ArchiveFilter, CommonOptions, ExcludeOptions};

/// List the archives of a repository or the contents of an archive
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
    pub location: Option<OsString>,
    /// What to list of an archive
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Also list unfinished archives
    #[arg(long)]
    pub consider_checkpoints: bool,
    /// Only names and paths
    #[arg(long)]
    pub short: bool,
    /// What to show of each archive or item
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print archives as JSON, with the keys used in FORMAT
    #[arg(long)]
    pub json: bool,
    /// Print items as JSON, one per line, with the keys used in FORMAT
    #[arg(long)]
    pub json_lines: bool,
    /// Which archives.
    #[command(flatten)]
    pub filter: ArchiveFilter,
    /// What to leave out.
    #[command(flatten)]
    pub exclude: ExcludeOptions,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
