//! Applies the rules, shows what they say, and deletes what they do not keep.

use fastness_engine::event::{Event, Monitor};
use fastness_engine::prune::rules::{Decision, Kept, decide, is_checkpoint};
use fastness_engine::prune::space::{Space, returning};
use fastness_engine::times::parse_archive_time;
use fastness_format::id::ChunkId;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;
use jiff::tz::TimeZone;

use super::Prune;
use crate::access::Opened;
use crate::archives::ListedArchive;
use crate::context::Context;
use crate::deletion::{Deleting, Tables};
use crate::error::{CommandError, with_causes};
use crate::foresight::{Foreseen, ForeseenPrune};
use crate::output::archive_info::archive_line;

/// Deletes the archives that no rule keeps.
pub fn prune(arguments: &Prune, context: &mut Context<'_>) -> Result<(), CommandError> {
    let place = context.repository_place(arguments.location.as_deref())?;
    let mut opened = context.open(place, LockKind::Exclusive, &[Operation::Delete])?;
    let result = in_session(arguments, context, &mut opened);
    // Rolls back what was not committed and gives the lock back.
    let closed = opened.session.repository.close();
    result?;
    Ok(closed?)
}

fn in_session(
    arguments: &Prune,
    context: &Context<'_>,
    opened: &mut Opened,
) -> Result<(), CommandError> {
    arguments.keep.require()?;
    let archives = matching(arguments, opened)?;
    let listed = archives
        .iter()
        .map(|archive| (archive.name.as_slice(), archive.time));
    let now = jiff::Timestamp::from_nanosecond(crate::world::real().clock.now().0.into());
    let rules = arguments.keep.rules();
    let decisions = decide(listed, &rules, now.unwrap_or_default(), &TimeZone::system());
    tell_counts(context, opened, &decisions);
    let list = Listing::new(context, &archives, &decisions, arguments.dry_run);
    let names: Vec<Vec<u8>> = list.doomed.iter().map(|(name, _)| name.clone()).collect();
    if arguments.dry_run {
        (0..names.len()).for_each(|index| list.begin(index));
        list.end();
        return look_ahead(context, opened, &archives, &decisions);
    }
    let deleting = Deleting {
        forced: arguments.forced > 0,
        progress: false,
        checkpoint_interval: arguments.checkpoint_interval,
        tables: Tables::new(arguments.stats, arguments.quick_stats),
    };
    context.delete_archives(
        opened,
        &names,
        deleting,
        &mut |index| list.begin(index),
        &mut || list.end(),
    )
}

/// Finds out what would become free, for a caller who wants to know.
fn look_ahead(
    context: &Context<'_>,
    opened: &Opened,
    archives: &[ListedArchive],
    decisions: &[Decision],
) -> Result<(), CommandError> {
    let Some(foresight) = &context.foresight else {
        return Ok(());
    };
    let doomed = decisions.iter().filter(|decision| decision.kept.is_none());
    let ids: Vec<ChunkId> = doomed
        .filter_map(|decision| archives.get(decision.index))
        .map(|archive| archive.id)
        .collect();
    let space = match ids.is_empty() {
        true => Space::default(),
        false => {
            let chunks = context.load_chunks(opened)?;
            returning(&opened.session, &chunks, &ids, context.threads())?
        }
    };
    foresight.set(Foreseen::Prune(ForeseenPrune {
        kept: decisions.len() - ids.len(),
        removed: ids.len(),
        space,
    }));
    Ok(())
}

/// The archives that the rules apply to, in the order of the manifest.
fn matching(arguments: &Prune, opened: &Opened) -> Result<Vec<ListedArchive>, CommandError> {
    let glob = arguments.filter.archive_glob()?;
    let mut archives = Vec::new();
    for (name, entry) in &opened.session.catalogue.manifest.archives {
        let wanted = glob
            .as_ref()
            .is_none_or(|glob| glob.matches_with_checkpoints(name));
        if wanted {
            archives.push(ListedArchive {
                name: name.clone(),
                id: entry.id,
                time: parse_archive_time(&entry.time)
                    .map_err(|error| CommandError::general(with_causes(&error)))?,
            });
        }
    }
    Ok(archives)
}

fn tell_counts(context: &Context<'_>, opened: &Opened, decisions: &[Decision]) {
    let names = opened.session.catalogue.manifest.archives.keys();
    let total = names.len();
    let checkpoints = names.filter(|name| is_checkpoint(name)).count();
    context.info(format!(
        "Repository contains {} normal archives and {checkpoints} checkpoint archives.",
        total - checkpoints
    ));
    let count = |checkpoint: bool, kept: bool| {
        let same = |decision: &&Decision| {
            decision.checkpoint == checkpoint && decision.kept.is_some() == kept
        };
        decisions.iter().filter(same).count()
    };
    let (kept, pruned) = (count(false, true), count(false, false));
    let (kept_checkpoints, pruned_checkpoints) = (count(true, true), count(true, false));
    if let Some(notes) = &context.notes {
        notes.note(|facts| facts.pruned = Some([kept as u64, pruned as u64]));
    }
    context.info(format!(
        "Applying rules to the matching {} archives and {} checkpoints...",
        kept + pruned,
        kept_checkpoints + pruned_checkpoints
    ));
    context.info(format!(
        "Keeping {kept} archives and {kept_checkpoints} checkpoints, \
         pruning {pruned} archives and {pruned_checkpoints} checkpoints."
    ));
}

/// What is shown of the archives, newest first.
struct Listing<'a> {
    context: &'a Context<'a>,
    /// Names of those that go, with the lines up to theirs.
    doomed: Vec<(Vec<u8>, Vec<String>)>,
    /// Lines behind them.
    rest: Vec<String>,
}

impl<'a> Listing<'a> {
    fn new(
        context: &'a Context<'a>,
        archives: &[ListedArchive],
        decisions: &[Decision],
        dry_run: bool,
    ) -> Self {
        let zone = TimeZone::system();
        let total = decisions
            .iter()
            .filter(|decision| decision.kept.is_none())
            .count();
        let (mut doomed, mut lines) = (Vec::new(), Vec::new());
        for decision in decisions {
            let Some(archive) = archives.get(decision.index) else {
                continue;
            };
            let message = match decision.kept {
                None if dry_run => "Would prune:".to_owned(),
                None => format!("Pruning archive ({}/{total}):", doomed.len() + 1),
                Some(Kept::Checkpoint) => "Keeping checkpoint archive:".to_owned(),
                Some(Kept::Rule {
                    rule,
                    oldest,
                    number,
                }) => {
                    let oldest = if oldest { "[oldest]" } else { "" };
                    format!("Keeping archive (rule: {rule}{oldest} #{number}):")
                }
            };
            let time = archive.time.as_microsecond();
            let archive_line = archive_line(&archive.name, time, &archive.id, &zone);
            lines.push(format!("{message:<44} {archive_line}"));
            if decision.kept.is_none() {
                doomed.push((archive.name.clone(), std::mem::take(&mut lines)));
            }
        }
        Self {
            context,
            doomed,
            rest: lines,
        }
    }

    fn begin(&self, index: usize) {
        self.context.reporter.event(Event::Percent {
            msgid: "prune",
            label: "Pruning archives",
            current: index as u64,
            total: self.doomed.len() as u64,
            path: None,
        });
        if let Some((_, lines)) = self.doomed.get(index) {
            self.show(lines);
        }
    }

    fn end(&self) {
        self.show(&self.rest);
        self.context
            .reporter
            .event(Event::PercentFinished { msgid: "prune" });
    }

    fn show(&self, lines: &[String]) {
        for line in lines {
            self.context.log().list(line);
        }
    }
}
