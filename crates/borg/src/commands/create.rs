//! `create`: a new archive from files. Here are its arguments; [`run`] does it.

mod input;
pub(super) mod run;

use std::ffi::OsString;

use fastness_engine::cache::FilesCacheMode;
use fastness_engine::create::FilesChanged;

use crate::commands::{Action, Outputs, drop_stats_of_dry_run};
use crate::context::Context;
use crate::error::CommandError;
use crate::options::archive::ArchiveOptions;
use crate::options::values::octal;
use crate::options::{CommonOptions, ExcludeOptions, TagOptions, only_one};

/// Create a new archive
///
/// Stores the files below each PATH under the name ARCHIVE. Chunks of data that the repository
/// has already are not stored again, and files that did not change since the last run are not
/// even opened. Paths are stored as they are given; in dir/./sub/file, what is left of /./ is cut
/// off. A PATH of - stores what comes from standard input.
///
/// The name may contain placeholders such as {hostname} and {now} ("borg help placeholders").
/// Names that end in .checkpoint or .checkpoint.N are kept for unfinished archives.
///
/// A file that cannot be read, or that changes while it is read, gives a warning and exit code 1;
/// all others are stored. An interrupted run leaves a checkpoint, and the next run does not store
/// its chunks again.
///
/// --list shows a letter for each object: A added, M modified, U unchanged, C changed while it
/// was read, E error; d directory, s symlink, h hardlink, f fifo, b and c devices, i standard
/// input; x excluded, - dry run.
///
/// --files-cache says how changed files are recognised: by ctime or mtime, with or without size
/// and inode. ctime,size,inode is the safest; leave out inode on network file systems whose inode
/// numbers change; "rechunk,ctime" reads every file; "disabled" keeps no record at all.
#[derive(Clone, Debug, clap::Parser)]
pub struct Create {
    /// The new archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// What to store
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<OsString>,
    /// Store nothing, only tell what would be looked at
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print sizes of the archive and the repository at the end
    #[arg(short, long)]
    stats: bool,
    /// Print sizes of the archive only, which takes no time
    #[arg(long)]
    quick_stats: bool,
    /// Show every object with a letter for what was done
    #[arg(long)]
    list: bool,
    /// Show only objects with these letters
    #[arg(long, value_name = "STATUSCHARS", action = clap::ArgAction::Append)]
    filter: Vec<String>,
    /// Print sizes as JSON
    #[arg(long)]
    json: bool,
    /// Does nothing: the local cache is always brought up to date, which is quick
    #[arg(long)]
    no_cache_sync: bool,
    /// Name of the file that standard input is stored in
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    stdin_name: OsString,
    /// Owner of that file
    #[arg(long, value_name = "USER", default_value = "root")]
    stdin_user: String,
    /// Group of that file
    #[arg(long, value_name = "GROUP", default_value = "root")]
    stdin_group: String,
    /// Permissions of that file
    #[arg(long, value_name = "M", value_parser = octal, default_value = "0660")]
    stdin_mode: u32,
    /// Run PATH as a command and store its output; no archive is made if it fails
    #[arg(long, conflicts_with_all = ["paths_from_stdin", "paths_from_command"])]
    content_from_command: bool,
    /// Read the paths to store from standard input; directories are not descended
    #[arg(long, conflicts_with = "paths_from_command")]
    paths_from_stdin: bool,
    /// Run PATH as a command and read the paths to store from its output
    #[arg(long)]
    paths_from_command: bool,
    /// What separates such paths (default: newline; \0 and the like are understood)
    #[arg(long, value_name = "DELIM")]
    paths_delimiter: Option<String>,
    /// What to leave out.
    #[command(flatten)]
    pub(super) exclude: ExcludeOptions,
    /// Directories to leave out.
    #[command(flatten)]
    tags: TagOptions,
    /// What to leave out and to store of each object.
    #[command(flatten)]
    filesystem: FilesystemOptions,
    /// How the archive is made.
    #[command(flatten)]
    pub(super) archive: ArchiveOptions,
    /// Options of all commands.
    #[command(flatten)]
    pub(super) common: CommonOptions,
}

/// What is read from the file system.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Filesystem options")]
pub struct FilesystemOptions {
    /// Leave out files with the flag NODUMP
    #[arg(long, help_heading = "Include/Exclude options")]
    exclude_nodump: bool,
    /// Leave out files whose content is elsewhere (macOS)
    #[arg(long, help_heading = "Include/Exclude options", hide = true)]
    exclude_dataless: bool,
    /// Stay in the file system of each PATH
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Store owners by number only
    #[arg(long, alias = "numeric-owner")]
    numeric_ids: bool,
    /// Does nothing: access times are not stored anyway
    #[arg(long, hide = true)]
    noatime: bool,
    /// Store access times
    #[arg(long)]
    atime: bool,
    /// Do not store change times
    #[arg(long)]
    noctime: bool,
    /// Does nothing on Linux, where times of birth are never stored
    #[arg(long)]
    nobirthtime: bool,
    /// Do not store flags such as NODUMP and IMMUTABLE
    #[arg(long, alias = "nobsdflags")]
    noflags: bool,
    /// Do not store access control lists
    #[arg(long)]
    noacls: bool,
    /// Do not store extended attributes
    #[arg(long)]
    noxattrs: bool,
    /// Detect the holes of sparse files (only the fixed chunker cuts at them)
    #[arg(long)]
    sparse: bool,
    /// What tells that a file did not change (default: ctime,size,inode)
    #[arg(long, value_name = "MODE", action = clap::ArgAction::Append)]
    files_cache: Vec<FilesCacheMode>,
    /// What tells that a file changed while it was read: ctime, mtime or disabled
    #[arg(long, value_name = "MODE", action = clap::ArgAction::Append,
          value_parser = ["ctime", "mtime", "disabled"])]
    files_changed: Vec<String>,
    /// Read devices and fifos as if they were files, also behind symlinks
    #[arg(long)]
    read_special: bool,
}

impl FilesystemOptions {
    /// Returns how changed files are recognised.
    ///
    /// # Errors
    /// When the option was given twice.
    pub fn files_cache(&self) -> Result<FilesCacheMode, CommandError> {
        Ok(only_one("--files-cache", &self.files_cache)?.unwrap_or_default())
    }

    /// Returns what tells that a file changed while it was read.
    ///
    /// # Errors
    /// When the option was given twice.
    fn files_changed(&self) -> Result<FilesChanged, CommandError> {
        let mode = only_one("--files-changed", &self.files_changed)?;
        Ok(match mode.as_deref() {
            Some("mtime") => FilesChanged::Mtime,
            Some("disabled") => FilesChanged::Disabled,
            _ => FilesChanged::Ctime,
        })
    }
}

impl Create {
    /// Returns the letters that `--list` is limited to.
    ///
    /// # Errors
    /// When the option was given twice.
    fn status_filter(&self) -> Result<Option<String>, CommandError> {
        only_one("--filter", &self.filter)
    }

    fn settle_options(&mut self) -> Result<Vec<String>, CommandError> {
        if !self.paths.is_empty() && self.paths_from_stdin {
            return Err(CommandError::usage(
                "Must not pass PATH with --paths-from-stdin.",
            ));
        }
        if self.paths.is_empty() && (self.content_from_command || self.paths_from_command) {
            return Err(CommandError::usage("No command given."));
        }
        if self.paths.is_empty() && !self.paths_from_stdin && !self.exclude.may_have_roots() {
            return Err(CommandError::usage("Need at least one PATH argument."));
        }
        self.status_filter()?;
        self.filesystem.files_cache()?;
        self.filesystem.files_changed()?;
        self.archive.chunker_params()?;
        drop_stats_of_dry_run(self.dry_run, &mut self.stats, &mut self.quick_stats)
    }
}

impl Action for Create {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            stats: self.stats || self.quick_stats,
        }
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        vec![&mut self.archive.comment]
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        self.settle_options()
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        run::create(&self, context)
    }
}
