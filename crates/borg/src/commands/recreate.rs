//! `recreate`: archives made anew, changed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fastness_engine::cache::ChunkTable;
use fastness_engine::create::Recompress;
use fastness_engine::recreate::{
    RecreateOptions, Recreated, Recreater, is_temporary, names_by_age,
};
use fastness_engine::select::tags::TagRules;
use fastness_format::chunker::ChunkerParams;
use fastness_format::compress::CompressionSpec;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use super::create::run::{Tables, tell};
use super::import_tar::maker;
use crate::access::Opened;
use crate::commands::{Action, Outputs, drop_stats_of_dry_run};
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::{CommonOptions, ExcludeOptions, TagOptions, only_one};
use crate::signals::Watch;

/// Make archives anew, leaving parts out or stored otherwise
///
/// Changes the archive, or all archives of the repository: leaves out what the patterns do not
/// take, compresses chunks in another way (--recompress), cuts files in another way
/// (--chunker-params), gives another comment or date. With PATH, only what lies at or below it is
/// kept ("borg help patterns").
///
/// What is left out is gone from the archive for ever, and its space is free after borg compact.
/// Try it with --dry-run --list first. Names and times of the archives stay, their ids change.
///
/// --recompress looks at each chunk: if-different writes it again if its compression is of
/// another kind than --compression says, always writes it again in any case, which is what it
/// takes to change a level. Files that are cut in another way share no chunks with archives that
/// are not.
///
/// Each archive takes the place of the old one in one step; an interrupted run leaves the old
/// one as it was.
#[derive(Clone, Debug, clap::Parser)]
pub struct Recreate {
    /// The repository, or one archive of it
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    location: Option<OsString>,
    /// What to keep
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Show every object with a letter for what was done
    #[arg(long)]
    list: bool,
    /// Show only objects with these letters
    #[arg(long, value_name = "STATUSCHARS", action = clap::ArgAction::Append)]
    filter: Vec<String>,
    /// Change nothing, only tell what would be kept
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print sizes of each new archive and the repository (with -v)
    #[arg(short, long)]
    stats: bool,
    /// What to leave out.
    #[command(flatten)]
    exclude: ExcludeOptions,
    /// Directories to leave out.
    #[command(flatten)]
    tags: TagOptions,
    /// How the archives are made.
    #[command(flatten)]
    archive: RecreateArchiveOptions,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// How archives are made anew.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Archive options")]
struct RecreateArchiveOptions {
    /// Make a new archive with this name and keep the old one (for a single archive only)
    #[arg(long, value_name = "TARGET")]
    target: Option<OsString>,
    /// Store a checkpoint every SECONDS seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1800)]
    checkpoint_interval: u64,
    /// Store COMMENT with the archive
    #[arg(long, value_name = "COMMENT")]
    comment: Option<String>,
    /// Date the archive to this time (UTC, yyyy-mm-ddThh:mm:ss) or to that of a file
    #[arg(long, value_name = "TIMESTAMP", value_parser = crate::options::values::timestamp)]
    timestamp: Option<i64>,
    /// Compress by this algorithm (see "borg help compression")
    #[arg(short = 'C', long, value_name = "COMPRESSION", default_value = "lz4")]
    compression: CompressionSpec,
    /// Compress chunks anew: never, if-different (also without a MODE) or always
    #[arg(long, value_name = "MODE", num_args = 0..=1, default_value = "never",
          default_missing_value = "if-different",
          value_parser = ["never", "if-different", "always"])]
    recompress: String,
    /// Cut files anew by ALGO,PARAMETERS, or by the default ones with "default"
    #[arg(long, value_name = "PARAMS", action = clap::ArgAction::Append)]
    chunker_params: Vec<ChunkerParams>,
}

impl Action for Recreate {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            stats: self.stats,
        }
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.archive.comment.iter_mut().collect()
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        only_one("--filter", &self.filter)?;
        only_one("--chunker-params", &self.archive.chunker_params)?;
        drop_stats_of_dry_run(self.dry_run, &mut self.stats, &mut false)
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let argument = "REPOSITORY_OR_ARCHIVE";
        let location = context.location(argument, self.location.as_deref(), Wanted::Either)?;
        let target = self.archive.target.as_deref();
        let target = target.map(|target| context.archive_name("--target", target));
        let target = target.transpose()?;
        let options = self.options(context)?;
        let filter = only_one("--filter", &self.filter)?;
        context.reporter.show_only(filter);
        let name = location.archive.clone();
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Exclusive, &[Operation::Check])?;
        let result = self.in_session(context, &mut opened, &options, name, target.as_deref());
        // Rolls back what was not committed and gives the lock back.
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

impl Recreate {
    fn in_session(
        &self,
        context: &mut Context<'_>,
        opened: &mut Opened,
        options: &RecreateOptions,
        name: Option<Vec<u8>>,
        target: Option<&[u8]>,
    ) -> Result<(), CommandError> {
        if name.is_none() && target.is_some() {
            return Err(CommandError::command(
                "--target: Need to specify single archive",
            ));
        }
        if let Some(name) = name.as_ref().filter(|name| is_temporary(name)) {
            let name = String::from_utf8_lossy(name);
            return Err(CommandError::command(format!(
                "Refusing to work on temporary archive of prior recreate: {name}"
            )));
        }
        if let Some(name) = &name {
            // Before the references are counted, which may take a while.
            context.archive(opened, name)?;
        }
        let mut chunks = match self.dry_run {
            true => ChunkTable::new(),
            false => context.load_chunks(opened)?,
        };
        let watch = Watch::begin();
        let reporter = std::sync::Arc::clone(&context.reporter);
        let recreater = Recreater::new(options, crate::world::real(), reporter.as_ref());
        let mut one = |context: &mut Context<'_>, opened: &mut Opened, name: &[u8]| {
            self.one(context, opened, &recreater, &mut chunks, name, target)
        };
        match name {
            Some(name) => {
                if !one(context, opened, &name)? {
                    return Err(CommandError::command(
                        "Nothing to do. Archive was not processed.\nSpecify at least one pattern, \
                         PATH, --comment, re-compression or re-chunking option.",
                    ));
                }
            }
            None => {
                for name in names_by_age(&opened.session) {
                    if is_temporary(&name) {
                        continue;
                    }
                    let shown = String::from_utf8_lossy(&name).into_owned();
                    context.print(format!("Processing {shown}\n"))?;
                    if !one(context, opened, &name)? {
                        context.info(format!(
                            "Skipped archive {shown}: Nothing to do. Archive was not processed."
                        ));
                    }
                }
            }
        }
        drop(watch);
        Ok(())
    }

    /// Makes one archive anew; false when there is nothing to do.
    fn one(
        &self,
        context: &mut Context<'_>,
        opened: &mut Opened,
        recreater: &Recreater<'_>,
        chunks: &mut ChunkTable,
        name: &[u8],
        target: Option<&[u8]>,
    ) -> Result<bool, CommandError> {
        let done = recreater.recreate(&mut opened.session, chunks, name, target)?;
        let report = match done {
            Recreated::Unchanged => return Ok(false),
            Recreated::Shown => return Ok(true),
            Recreated::Done(report) => report,
        };
        context.remember(opened)?;
        context.save_chunks(opened, chunks);
        let tables = Tables {
            stats: self.stats,
            quick_stats: false,
            json: false,
            news: true,
        };
        tell(tables, context, opened, &report, chunks)?;
        Ok(true)
    }

    fn options(&self, context: &Context<'_>) -> Result<RecreateOptions, CommandError> {
        let archive = &self.archive;
        Ok(RecreateOptions {
            patterns: self.exclude.matcher(&self.paths)?,
            tags: TagRules {
                exclude_caches: self.tags.exclude_caches,
                exclude_if_present: (self.tags.exclude_if_present.iter())
                    .map(|name| name.as_bytes().to_vec())
                    .collect(),
                keep_exclude_tags: self.tags.keep_exclude_tags,
            },
            comment: (archive.comment.as_ref()).map(|comment| comment.as_bytes().to_vec()),
            timestamp: archive.timestamp,
            chunker: only_one("--chunker-params", &archive.chunker_params)?,
            recompress: match archive.recompress.as_str() {
                "always" => Some(Recompress::Always),
                "if-different" => Some(Recompress::IfDifferent),
                _ => None,
            },
            compression: archive.compression.clone(),
            checkpoint_interval: match archive.checkpoint_interval {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
            dry_run: self.dry_run,
            progress: self.common.progress,
            threads: context.threads(),
            maker: maker(context),
        })
    }
}
