//! `--dry-run --estimate`: a dry run that finds out what the real one would change.
//!
//! The command itself prints what it prints in any dry run; what is found out besides is told
//! here, as a line for people or as a JSON result.

use std::cmp::Reverse;

use fastness_borg::foresight::{Foreseen, ForeseenCreate, ForeseenPrune, Foresight};
use fastness_engine::create::{Estimate, Share};
use serde_json::{Value, json};

use crate::config::Repository;
use crate::output::log::Level;
use crate::output::progress::{bytes, clock, grouped};
use crate::plan::call::Call;
use crate::plan::{Form, RepositoryPlan};

use super::outcome::RunError;
use super::runner::{Attached, Extra};
use super::steps::Steps;

/// How many directories people are told of.
const MOST_TOLD: usize = 10;

impl Steps<'_> {
    /// Runs a dry run and tells what it found out. Returns that for people.
    pub(super) fn look_ahead(
        &mut self,
        call: &Call,
        form: Form,
        plan: &RepositoryPlan,
    ) -> Result<String, RunError> {
        let foresight = Foresight::default();
        let attached = Attached {
            foresight: Some(foresight.clone()),
            ..Attached::default()
        };
        let runner = self.runner;
        runner.run_attached(call, &plan.environment, Extra::default(), attached)?;
        Ok(self.foretell(&foresight, form, &plan.repository))
    }

    /// Tells what a dry run found out. Returns that for people.
    pub(super) fn foretell(
        &mut self,
        foresight: &Foresight,
        form: Form,
        repository: &Repository,
    ) -> String {
        let Some(foreseen) = foresight.take() else {
            return String::new();
        };
        if form == Form::Json {
            self.results.push(document(repository, &foreseen));
            return String::new();
        }
        let (first, lines) = told(&foreseen);
        if !self.report.wants_results() {
            self.runner.log.record(Level::Answer, &first);
        }
        for line in lines {
            self.runner.log.record(Level::Answer, &line);
        }
        first
    }
}

/// What is told to people: one line, and lines with details.
fn told(foreseen: &Foreseen) -> (String, Vec<String>) {
    match foreseen {
        Foreseen::Create(create) => told_of_create(create),
        Foreseen::Prune(prune) => (told_of_prune(prune), Vec::new()),
    }
}

fn told_of_create(create: &ForeseenCreate) -> (String, Vec<String>) {
    let new = create.estimate.new;
    let first = format!(
        "{} of {} files are new or changed and would add {}; reading them took {}",
        grouped(new.files),
        grouped(create.estimate.stats.files),
        bytes(new.bytes),
        clock(create.time),
    );
    let directories = largest(&create.estimate).take(MOST_TOLD);
    let lines = directories.map(|(path, share)| {
        let size = bytes(share.bytes);
        format!("  {size:>8} in {:>7} files: {path}", grouped(share.files))
    });
    (first, lines.collect())
}

/// The directories with something new, those with most of it first.
fn largest(estimate: &Estimate) -> impl Iterator<Item = (String, Share)> {
    let mut all: Vec<(&[u8], Share)> = estimate
        .directories
        .iter()
        .map(|(path, share)| (path.as_slice(), *share))
        .collect();
    all.sort_by_key(|(path, share)| (Reverse(share.bytes), Reverse(share.files), *path));
    all.into_iter()
        .map(|(path, share)| (String::from_utf8_lossy(path).into_owned(), share))
}

fn told_of_prune(prune: &ForeseenPrune) -> String {
    let archives = |count: usize| match count {
        1 => "1 archive".to_owned(),
        count => format!("{} archives", grouped(count as u64)),
    };
    let stats = &prune.space.stats;
    format!(
        "{} would be removed, which frees {} ({} chunks); {} would be kept",
        archives(prune.removed),
        bytes(stats.deduplicated_bytes),
        grouped(prune.space.chunks),
        archives(prune.kept),
    )
}

/// The result as JSON, under the names that Borg's statistics have.
fn document(repository: &Repository, foreseen: &Foreseen) -> Value {
    let estimate = match foreseen {
        Foreseen::Create(create) => json!({
            "action": "create",
            "files": create.estimate.stats.files,
            "new_files": create.estimate.new.files,
            "original_size": create.estimate.stats.original_bytes,
            "compressed_size": create.estimate.stats.compressed_bytes,
            "deduplicated_size": create.estimate.new.bytes,
            "seconds": create.time.as_secs_f64(),
            "directories": largest(&create.estimate)
                .map(|(path, share)| json!({
                    "path": path,
                    "new_files": share.files,
                    "deduplicated_size": share.bytes,
                }))
                .collect::<Vec<_>>(),
        }),
        Foreseen::Prune(prune) => json!({
            "action": "prune",
            "archives_kept": prune.kept,
            "archives_removed": prune.removed,
            "original_size": prune.space.stats.original_bytes,
            "compressed_size": prune.space.stats.compressed_bytes,
            "deduplicated_size": prune.space.stats.deduplicated_bytes,
            "chunks": prune.space.chunks,
        }),
    };
    json!({
        "repository": {
            "location": repository.path,
            "label": repository.label.as_deref().unwrap_or_default(),
        },
        "estimate": estimate,
    })
}

#[cfg(test)]
mod tests {
    use fastness_borg::foresight::ForeseenPrune;
    use fastness_engine::event::ArchiveStats;
    use fastness_engine::prune::space::Space;

    use super::*;

    #[test]
    fn a_person_is_told_what_pruning_gives_back() {
        let prune = ForeseenPrune {
            kept: 22,
            removed: 1438,
            space: Space {
                stats: ArchiveStats {
                    deduplicated_bytes: 12_300_000,
                    ..ArchiveStats::default()
                },
                chunks: 4321,
            },
        };
        insta::assert_snapshot!(told_of_prune(&prune),
            @"1,438 archives would be removed, which frees 12.3 MB (4,321 chunks); 22 archives would be kept");
    }
}
