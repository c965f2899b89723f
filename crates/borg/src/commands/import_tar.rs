//! `import-tar`: a new archive from a tar file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fastness_engine::create::Maker;
use fastness_engine::error::EngineError;
use fastness_engine::tar::import::{ImportOptions, import};
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;
use jiff::Timestamp;

use super::create::run::{Tables, tell};
use crate::access::Opened;
use crate::commands::{Action, Outputs};
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::archive::ArchiveOptions;
use crate::options::{CommonOptions, only_one};
use crate::signals::Watch;
use crate::tar_stream::{self, Direction, TarInput};

/// Make an archive of what is in a tar file
///
/// TARFILE is read once, from front to back; - stands for standard input. Tars of all common kinds
/// are understood: old ones, POSIX ones with and without extended headers, those of GNU tar with
/// long names and sparse files.
///
/// The ending of TARFILE tells which program decompresses it: gzip (.tar.gz, .tgz), bzip2
/// (.tar.bz2, .tbz), xz (.tar.xz, .txz), zstd (.tar.zstd, .tar.zst) or lz4 (.tar.lz4), each with
/// -d. It has to be installed. --tar-filter names any other command that reads from its standard
/// input and writes the plain tar. If it fails no archive is made.
///
/// Extended attributes, access control lists and times other than that of the last modification
/// are not imported. Paths become relative. Tars that were just put one behind the other are read
/// as one with --ignore-zeros.
#[derive(Clone, Debug, clap::Parser)]
pub struct ImportTar {
    /// The new archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// The tar file
    #[arg(value_name = "TARFILE")]
    file: OsString,
    /// Send the tar through this command; auto goes by the ending of TARFILE (default: auto)
    #[arg(long, value_name = "COMMAND", action = clap::ArgAction::Append)]
    tar_filter: Vec<String>,
    /// Print sizes of the archive and the repository at the end
    #[arg(short, long)]
    stats: bool,
    /// Print sizes of the archive only, which takes no time
    #[arg(long)]
    quick_stats: bool,
    /// Show every object with a letter for its kind
    #[arg(long)]
    list: bool,
    /// Show only objects with these letters
    #[arg(long, value_name = "STATUSCHARS", action = clap::ArgAction::Append)]
    filter: Vec<String>,
    /// Print sizes as JSON
    #[arg(long)]
    json: bool,
    /// Pass over empty and damaged blocks instead of taking them for the end
    #[arg(long)]
    ignore_zeros: bool,
    /// How the archive is made.
    #[command(flatten)]
    archive: ArchiveOptions,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for ImportTar {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            stats: self.stats || self.quick_stats,
        }
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        only_one("--tar-filter", &self.tar_filter)?;
        only_one("--filter", &self.filter)?;
        self.archive.chunker_params()?;
        if self.stats && self.quick_stats {
            return Err(CommandError::usage(
                "--stats and --quick-stats are mutually exclusive.",
            ));
        }
        Ok(Vec::new())
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let now = match self.archive.timestamp {
            Some(micros) => Timestamp::from_microsecond(micros).unwrap_or_default(),
            None => Timestamp::now(),
        };
        let text = Some(self.location.as_os_str());
        let location = context.location_at("ARCHIVE", text, Wanted::Archive, now)?;
        let place = context.place(location);
        context
            .reporter
            .show_only(only_one("--filter", &self.filter)?);
        let mut opened = context.open(place, LockKind::Exclusive, &[Operation::Write])?;
        let result = self.in_session(context, &mut opened);
        // Rolls back what was not committed and gives the lock back.
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

impl ImportTar {
    fn in_session(
        &self,
        context: &mut Context<'_>,
        opened: &mut Opened,
    ) -> Result<(), CommandError> {
        let options = self.options(context, opened)?;
        let mut chunks = context.load_chunks(opened)?;
        let filter = only_one("--tar-filter", &self.tar_filter)?;
        let filter = filter.as_deref().unwrap_or("auto");
        let filter = tar_stream::filter(filter, &self.file, Direction::Decompress);
        let input = TarInput::open(context, &self.file, filter.as_deref())?;
        let (input, mut end) = input.split();
        let mut failure = None;
        let mut confirm = |rest: &mut dyn std::io::Read| {
            end.finish(rest).map_err(|error| {
                failure = Some(error);
                EngineError::Abandoned
            })
        };
        let watch = Watch::begin();
        let made = import(
            &mut opened.session,
            &mut chunks,
            input,
            &options,
            &mut confirm,
            crate::world::real(),
            context.reporter.as_ref(),
        );
        drop(watch);
        let report = match (made, failure) {
            (Err(_), Some(failure)) => return Err(failure),
            (Err(error), None) => return Err(end.explain(error.into())),
            (Ok(report), _) => report,
        };
        context.remember(opened)?;
        context.save_chunks(opened, &chunks);
        let tables = Tables {
            stats: self.stats,
            quick_stats: self.quick_stats,
            json: self.json,
            news: false,
        };
        tell(tables, context, opened, &report, &chunks)
    }

    fn options(
        &self,
        context: &Context<'_>,
        opened: &Opened,
    ) -> Result<ImportOptions, CommandError> {
        Ok(ImportOptions {
            name: opened.place.archive_name()?.to_vec(),
            comment: self.archive.comment.as_bytes().to_vec(),
            timestamp: self.archive.timestamp,
            ignore_zeros: self.ignore_zeros,
            chunker: self.archive.chunker_params()?,
            compression: self.archive.compression.clone(),
            checkpoint_interval: match self.archive.checkpoint_interval {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
            threads: context.threads(),
            maker: maker(context),
        })
    }
}

/// What an archive that is made now records about its making.
pub fn maker(context: &Context<'_>) -> Maker {
    Maker {
        command_line: (context.command_line.iter())
            .map(|word| word.as_bytes().to_vec())
            .collect(),
        cwd: context.directory.as_os_str().as_bytes().to_vec(),
        hostname: context.hostname(),
        username: context.username(),
    }
}
