//! `transfer`: archives copied from another repository. Borg 1.4 has no such command; the options
//! are called as in Borg 2.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_engine::cache::ChunkTable;
use fastness_engine::create::Recompress;
use fastness_engine::transfer::{self, Presence, TransferOptions};
use fastness_format::compress::CompressionSpec;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use crate::access::Opened;
use crate::archives::Checkpoints;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::{ArchiveFilter, CommonOptions};
use crate::signals::Watch;

/// What is known of chunks is saved so often on a long way.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// Copy archives from another repository
///
/// Archives of the other repository come into REPOSITORY with their names, times and comments, and
/// with all that is known of every file. Without an archive in --other-repo, all are copied that
/// the filters take. What is there already, by name and time, is not copied again, so that the
/// command can be repeated. The other repository is only read.
///
/// Data is decrypted, verified and encrypted with the key of REPOSITORY; it stays compressed as it
/// is, unless --recompress says otherwise. Between related repositories (borg key
/// export-related-secrets, borg init --import-related-secrets) only chunks that are missing are
/// read. Files of later backups share chunks with copied archives only there.
///
/// BORG_OTHER_PASSPHRASE, BORG_OTHER_PASSCOMMAND or BORG_OTHER_PASSPHRASE_FD give the passphrase of
/// the other repository; without them it is that of REPOSITORY.
///
/// An interrupted run leaves complete archives and possibly a checkpoint; the next one goes on.
#[derive(Clone, Debug, clap::Parser)]
pub struct Transfer {
    /// The repository that gets the archives
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// The repository that has them, or one archive of it
    #[arg(long, value_name = "REPOSITORY_OR_ARCHIVE")]
    other_repo: OsString,
    /// Change nothing, only tell what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Also copy unfinished archives
    #[arg(long)]
    consider_checkpoints: bool,
    /// Store a checkpoint every SECONDS seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1800)]
    checkpoint_interval: u64,
    /// Compress by this algorithm (see "borg help compression")
    #[arg(short = 'C', long, value_name = "COMPRESSION", default_value = "lz4")]
    compression: CompressionSpec,
    /// Compress chunks anew on their way: never, if-different (also without a MODE) or always
    #[arg(long, value_name = "MODE", num_args = 0..=1, default_value = "never",
          default_missing_value = "if-different",
          value_parser = ["never", "if-different", "always"])]
    recompress: String,
    /// Which archives.
    #[command(flatten)]
    filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Transfer {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.name.texts()
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let other = Some(self.other_repo.as_os_str());
        let other = context.location("--other-repo", other, Wanted::Either)?;
        let archive = other.archive.clone();
        let other = context.place(other);
        if other.canonical == place.canonical {
            let text = "--other-repo is the repository itself";
            return Err(CommandError::general(text));
        }
        let person = context.person.at_source();
        let usual = std::mem::replace(&mut context.person, person);
        let source = context.open(other, LockKind::Shared, &[Operation::Read]);
        context.person = usual;
        let mut source = source?;
        let operations = [Operation::Read, Operation::Write];
        let result = context
            .open(place, LockKind::Exclusive, &operations)
            .and_then(|mut opened| {
                let result = self.between(context, &source, &mut opened, archive);
                // Rolls back what was not committed and gives the lock back.
                let closed = opened.session.repository.close();
                result.and(Ok(closed?))
            });
        let closed = source.session.repository.close();
        result.and(Ok(closed?))
    }
}

impl Transfer {
    fn between(
        &self,
        context: &mut Context<'_>,
        source: &Opened,
        destination: &mut Opened,
        archive: Option<Vec<u8>>,
    ) -> Result<(), CommandError> {
        let options = self.options(context);
        let reporter = Arc::clone(&context.reporter);
        let world = crate::world::real();
        let transfer = transfer::Transfer::new(
            &source.session,
            &destination.session,
            &options,
            world,
            reporter.as_ref(),
        )?;
        let wanted = self.wanted(context, &transfer, source, destination, archive)?;
        if wanted.is_empty() || self.dry_run {
            return wanted.iter().try_for_each(|name| {
                context.print(format!("Would copy {}\n", String::from_utf8_lossy(name)))
            });
        }
        if !transfer.shares_ids() {
            context.info(
                "The two repositories are not related: every chunk is read and gets another id.",
            );
        }
        let mut chunks = context.load_chunks(destination)?;
        let _watch = Watch::begin();
        self.copy(context, &transfer, destination, &mut chunks, &wanted)
    }

    /// Returns the archives that are to be copied. Nothing is begun when that cannot end well.
    fn wanted(
        &self,
        context: &mut Context<'_>,
        transfer: &transfer::Transfer<'_>,
        source: &Opened,
        destination: &Opened,
        archive: Option<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, CommandError> {
        let checkpoints = match self.consider_checkpoints {
            true => Checkpoints::Consider,
            false => Checkpoints::Ignore,
        };
        let names = match archive {
            Some(name) => vec![name],
            None => {
                let manifest = &source.session.catalogue.manifest;
                let archives = self.filter.archives(manifest, checkpoints)?;
                archives.into_iter().map(|archive| archive.name).collect()
            }
        };
        let (mut wanted, mut others) = (Vec::new(), Vec::new());
        let presences = transfer.presences(&destination.session, &names)?;
        for (name, presence) in names.into_iter().zip(presences) {
            let shown = String::from_utf8_lossy(&name).into_owned();
            match presence {
                Presence::Absent => wanted.push(name),
                Presence::Present => context.print(format!("Is there already: {shown}\n"))?,
                Presence::Other(difference) => {
                    others.push(format!("{shown} (another {difference})"))
                }
            }
        }
        if !others.is_empty() {
            let text = format!(
                "{} has other archives with these names: {}",
                destination.place.name,
                others.join(", ")
            );
            let hint = "rename them on one of the sides (borg rename), or leave them out";
            return Err(CommandError::new("Archive.AlreadyExists", text).hinted(hint));
        }
        Ok(wanted)
    }

    fn copy(
        &self,
        context: &mut Context<'_>,
        transfer: &transfer::Transfer<'_>,
        destination: &mut Opened,
        chunks: &mut ChunkTable,
        names: &[Vec<u8>],
    ) -> Result<(), CommandError> {
        let mut saved = Instant::now();
        for (done, name) in names.iter().enumerate() {
            let stats = transfer.archive(&mut destination.session, chunks, name)?;
            context.remember(destination)?;
            if done + 1 == names.len() || saved.elapsed() > SAVE_EVERY {
                context.save_chunks(destination, chunks);
                saved = Instant::now();
            }
            let units = context.units();
            let text = format!(
                "Copied {}: {}, {} of it new\n",
                String::from_utf8_lossy(name),
                units.bytes(stats.original_bytes),
                units.bytes(stats.deduplicated_bytes)
            );
            context.print_now(text)?;
        }
        Ok(())
    }

    fn options(&self, context: &Context<'_>) -> TransferOptions {
        TransferOptions {
            recompress: match self.recompress.as_str() {
                "always" => Some(Recompress::Always),
                "if-different" => Some(Recompress::IfDifferent),
                _ => None,
            },
            compression: self.compression.clone(),
            checkpoint_interval: match self.checkpoint_interval {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
            progress: self.common.progress,
            threads: context.threads(),
        }
    }
}
