//! `info`: what is known of a repository or an archive.

use std::ffi::OsString;

use fastness_engine::archives::info::archive_stats;
use fastness_engine::archives::references::PartFiles;
use fastness_engine::cache::ChunkTable;
use fastness_engine::keys::KeyTarget;
use fastness_format::chunker::ChunkerParams;
use fastness_format::crypto::KeyType;
use fastness_format::manifest::Operation;
use fastness_format::timestamp;
use fastness_repository::MAX_VALUE_BYTES;
use fastness_repository::local::lock::LockKind;
use jiff::tz::TimeZone;

use crate::access::Opened;
use crate::archives::Checkpoints;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::{ArchiveFilter, CommonOptions};
use crate::output::archive_info::{ArchiveFacts, ChunkerParam, StoredFacts};
use crate::output::json::Json;
use crate::output::stats::{DASHES, HEADER, RepositoryTotals};

/// Show details of a repository or an archive
///
/// The deduplicated size of an archive counts the chunks that no other archive has: what would
/// become free if it were deleted. For a repository it is what all chunks take together.
#[derive(Clone, Debug, clap::Parser)]
pub struct Info {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    location: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Which archives.
    #[command(flatten)]
    filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Info {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.name.texts()
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        self.filter.sort_keys()?;
        self.filter.name.glob()?;
        Ok(Vec::new())
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location(
            "REPOSITORY_OR_ARCHIVE",
            self.location.as_deref(),
            Wanted::Either,
        )?;
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
        let result = self.tell(context, &opened);
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

impl Info {
    fn tell(&self, context: &mut Context<'_>, opened: &Opened) -> Result<(), CommandError> {
        let zone = TimeZone::system();
        let names = match opened.place.archive_name() {
            Ok(name) => {
                // Before the references are counted, which may take a while.
                context.archive(opened, name)?;
                Some(vec![name.to_vec()])
            }
            Err(_) if self.filter.is_given() => Some(self.names(opened)?),
            Err(_) => None,
        };
        let chunks = context.load_chunks_to_read(opened)?;
        let totals = context.totals(opened, &chunks)?;
        match (names, self.json) {
            (None, true) => repository_json(context, opened, &totals, &zone),
            (None, false) => repository_text(context, opened, &totals),
            (Some(names), true) => {
                let facts = names.iter().map(|name| {
                    let facts = facts(context, opened, &chunks, name)?;
                    Ok(facts.json(&zone))
                });
                let archives = facts.collect::<Result<Json, CommandError>>()?;
                let mut members = context.repository_json(opened, &zone)?;
                members.push(context.cache_json(opened, &totals));
                members.push(("archives".to_owned(), archives));
                context.print_json(&Json::Map(members))
            }
            (Some(names), false) => {
                let units = context.units();
                for (index, name) in names.iter().enumerate() {
                    let facts = facts(context, opened, &chunks, name)?;
                    let between = if index > 0 { "\n" } else { "" };
                    let (text, table) = (facts.text(units, &zone), totals.table(units));
                    context.print(format!("{between}{text}\n{table}\n"))?;
                }
                Ok(())
            }
        }
    }

    fn names(&self, opened: &Opened) -> Result<Vec<Vec<u8>>, CommandError> {
        let manifest = &opened.session.catalogue.manifest;
        let archives = self.filter.archives(manifest, Checkpoints::Consider)?;
        Ok(archives.into_iter().map(|archive| archive.name).collect())
    }
}

fn repository_json(
    context: &mut Context<'_>,
    opened: &Opened,
    totals: &RepositoryTotals,
    zone: &TimeZone,
) -> Result<(), CommandError> {
    let mut members = context.repository_json(opened, zone)?;
    members.push(context.cache_json(opened, totals));
    let security = security_directory(context, opened);
    members.push(("security_dir".to_owned(), security.into()));
    context.print_json(&Json::Map(members))
}

fn repository_text(
    context: &mut Context<'_>,
    opened: &Opened,
    totals: &RepositoryTotals,
) -> Result<(), CommandError> {
    let encryption = match opened.key_type() {
        KeyType::Plaintext | KeyType::Authenticated => "No".to_owned(),
        kind => format!("Yes ({})", kind.name()),
    };
    let key_file = match context.key_target(opened)? {
        KeyTarget::File(path) => format!("Key file: {}\n", path.display()),
        KeyTarget::Repository | KeyTarget::None => String::new(),
    };
    let text = format!(
        "Repository ID: {}\nLocation: {}\nEncrypted: {encryption}\n{key_file}Cache: {}\n\
         Security dir: {}\n{DASHES}\n{HEADER}\n{}\n",
        opened.id(),
        opened.place.name,
        context.borg_cache(&opened.id()).path().display(),
        security_directory(context, opened),
        totals.table(context.units()),
    );
    context.print(text)
}

fn security_directory(context: &Context<'_>, opened: &Opened) -> String {
    let security = context.security(&opened.place, opened.id());
    security.directory().display().to_string()
}

fn facts(
    context: &Context<'_>,
    opened: &Opened,
    chunks: &ChunkTable,
    name: &[u8],
) -> Result<StoredFacts, CommandError> {
    let archive = context.archive(opened, name)?;
    let parts = match context.common.consider_part_files {
        true => PartFiles::AsFiles,
        false => PartFiles::Apart,
    };
    let stats = archive_stats(
        &opened.session,
        &archive,
        name,
        chunks,
        parts,
        context.threads(),
        context.reporter.as_ref(),
    )?;
    let metadata = archive.metadata;
    let time = |text: &str| timestamp::parse(text).unwrap_or_default();
    let stored = chunks.get(&archive.id).map_or(0, |entry| entry.csize);
    Ok(StoredFacts {
        archive: ArchiveFacts {
            name: metadata.name,
            id: archive.id,
            start: time(&metadata.time),
            end: time(metadata.time_end.as_ref().unwrap_or(&metadata.time)),
            stats,
            used_share: f64::from(stored) / MAX_VALUE_BYTES as f64,
            command_line: metadata.cmdline,
        },
        comment: metadata.comment.unwrap_or_default(),
        hostname: metadata.hostname.unwrap_or_default(),
        username: metadata.username.unwrap_or_default(),
        cwd: metadata.cwd.unwrap_or_default(),
        chunker_params: metadata
            .chunker_params
            .map(chunker_params)
            .unwrap_or_default(),
    })
}

fn chunker_params(params: ChunkerParams) -> Vec<ChunkerParam> {
    let (name, numbers) = match params {
        ChunkerParams::Buzhash {
            min_exp,
            max_exp,
            mask_bits,
            window,
        } => (
            "buzhash",
            vec![min_exp.into(), max_exp.into(), mask_bits.into(), window],
        ),
        ChunkerParams::Fixed {
            block_size,
            header_size,
        } => ("fixed", vec![block_size, header_size]),
    };
    let numbers = numbers
        .into_iter()
        .map(|number: u32| ChunkerParam::Number(number.into()));
    std::iter::once(ChunkerParam::Name(name.to_owned()))
        .chain(numbers)
        .collect()
}
