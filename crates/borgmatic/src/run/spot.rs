//! The spot check: files on disk compared with the newest archive.
//!
//! Their number first, then the content of some of them, chosen at random. It tells what other
//! checks cannot: that what is on the disk is in the archive.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use twox_hash::XxHash64;

use crate::config::typed::SpotLimits;
use crate::output::log::Level;
use crate::patterns;
use crate::plan::call::Environment;
use crate::plan::{RepositoryPlan, SpotTask};

use super::bootstrap::config_paths;
use super::outcome::RunError;
use super::runner::{Extra, Runner};
use super::selection::Selection;

/// Paths of the archive that one command is asked for.
const BATCH: usize = 5000;
/// Longest list of paths in a message.
const SHOWN: usize = 1000;

/// Runs the check.
///
/// # Errors
/// When the archive differs more than is allowed, or cannot be read.
pub fn run(
    runner: &Runner<'_>,
    task: &SpotTask,
    archive: &str,
    plan: &RepositoryPlan,
) -> Result<(), RunError> {
    let Some(limits) = task.limits else {
        return Err(failed("it is not configured"));
    };
    if limits.data > limits.sample {
        return Err(failed(
            "data_tolerance_percentage must not be greater than data_sample_percentage",
        ));
    }
    let spot = Spot {
        runner,
        task,
        archive,
        environment: &plan.environment,
        directory: patterns::working_directory(&plan.repository.options.sources, &|name| {
            runner.world.variable(name)
        }),
    };
    let sources = spot.source_paths(plan)?;
    let archived = spot.archive_paths()?;
    let difference = compare_counts(&sources, &archived, limits)?;
    let sample = spot.sample(&sources, limits);
    let failing = spot.compare(&sample)?;
    let share = failing.len() as f64 / sources.len() as f64 * 100.0;
    if share > limits.data {
        return Err(failed(&format!(
            "{share:.2}% of source paths ({} out of {} checked) with data not matching the latest archive; tolerance is {}%\nSource paths with non-matching data: {}",
            failing.len(),
            sources.len(),
            limits.data,
            shown(failing.iter().copied())
        )));
    }
    runner.log.record(
        Level::Info,
        &format!(
            "Spot check passed with a {difference:.2}% file count delta and a {share:.2}% file data delta"
        ),
    );
    Ok(())
}

fn failed(text: &str) -> RunError {
    RunError::SpotCheck(text.to_owned())
}

/// Compares the numbers of files; returns by how many percent they differ.
fn compare_counts(
    sources: &[String],
    archived: &HashSet<String>,
    limits: SpotLimits,
) -> Result<f64, RunError> {
    if sources.is_empty() {
        return Err(failed(
            "there are no source paths to compare against the archive",
        ));
    }
    let difference = sources.len().abs_diff(archived.len()) as f64 / sources.len() as f64 * 100.0;
    if difference <= limits.count {
        return Ok(difference);
    }
    let rootless: HashSet<&str> = sources.iter().map(|path| stored(path)).collect();
    let only_source = rootless
        .iter()
        .copied()
        .filter(|path| !archived.contains(*path));
    let only_archive = archived.iter().map(String::as_str);
    let only_archive = only_archive.filter(|path| !rootless.contains(*path));
    Err(failed(&format!(
        "{difference:.2}% file count delta between source paths ({} total) and latest archive ({} total); tolerance is {}%\nOnly in source paths: {}\nOnly in latest archive: {}",
        sources.len(),
        archived.len(),
        limits.count,
        shown(only_source),
        shown(only_archive)
    )))
}

/// A path as archives have it.
fn stored(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// Some of the paths, for a message.
fn shown<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut paths: Vec<&str> = paths.collect();
    paths.sort_unstable();
    let mut text = String::new();
    for path in paths {
        if text.len() + path.len() > SHOWN {
            text.push_str(" ...");
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(path);
    }
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

struct Spot<'a> {
    runner: &'a Runner<'a>,
    task: &'a SpotTask,
    archive: &'a str,
    environment: &'a Environment,
    /// Where relative sources start.
    directory: PathBuf,
}

impl Spot<'_> {
    /// The files that an archive made now would hold: those of a rehearsal.
    fn source_paths(&self, plan: &RepositoryPlan) -> Result<Vec<String>, RunError> {
        let files = config_paths(
            self.runner,
            &self.task.manifest,
            self.archive,
            self.environment,
        )?;
        let selection = Selection::make(self.runner, &plan.repository.options, &files)?;
        let extra = Extra {
            patterns: selection.file(),
            ..Extra::default()
        };
        let given = self
            .runner
            .run(&self.task.rehearsal, self.environment, extra)?;
        let text = String::from_utf8_lossy(&given.data);
        let mut seen = HashSet::new();
        Ok(text
            .split('\0')
            .filter_map(|line| line.strip_prefix("- ").or_else(|| line.strip_prefix("+ ")))
            .filter(|path| self.directory.join(path).is_file())
            .filter(|path| seen.insert((*path).to_owned()))
            .map(str::to_owned)
            .collect())
    }

    /// The files of the archive, without what the run itself put into it.
    fn archive_paths(&self) -> Result<HashSet<String>, RunError> {
        let extra = Extra {
            archive: Some(self.archive),
            ..Extra::default()
        };
        let given = self
            .runner
            .run(&self.task.listing, self.environment, extra)?;
        let wanted = |entry: &Value| {
            let kind = entry.get("type").and_then(Value::as_str);
            let path = entry.get("path").and_then(Value::as_str)?;
            let own = path.starts_with("borgmatic/");
            (!own && !matches!(kind, Some("d" | "p"))).then(|| path.to_owned())
        };
        Ok(entries(&given.data)
            .filter_map(|entry| wanted(&entry))
            .collect())
    }

    /// Chooses some of the files at random.
    fn sample<'p>(&self, sources: &'p [String], limits: SpotLimits) -> Vec<&'p str> {
        let share = limits.sample.clamp(0.0, 100.0) / 100.0;
        let count = ((sources.len() as f64 * share) as usize).max(1);
        let mut rest: Vec<&str> = sources.iter().map(String::as_str).collect();
        let mut sample = Vec::with_capacity(count);
        while sample.len() < count && !rest.is_empty() {
            let index = (self.runner.world.random)() as usize % rest.len();
            sample.push(rest.swap_remove(index));
        }
        sample
    }

    /// Returns the paths whose content is not that of the archive.
    fn compare<'p>(&self, sample: &[&'p str]) -> Result<Vec<&'p str>, RunError> {
        let mut failing = Vec::new();
        for batch in sample.chunks(BATCH) {
            let archived = self.archived_hashes(batch)?;
            for path in batch {
                let hash = match archived.get(stored(path)) {
                    // A link to what is stored elsewhere in the archive has no content of its own.
                    Some(None) => continue,
                    Some(Some(hash)) => Some(hash.as_str()),
                    None => None,
                };
                if hash != Some(&self.source_hash(path)) {
                    failing.push(*path);
                }
            }
        }
        Ok(failing)
    }

    /// What the archive has of some paths; none for links.
    fn archived_hashes(&self, paths: &[&str]) -> Result<HashMap<String, Option<String>>, RunError> {
        let call = self.task.hashes.clone().words(paths);
        let extra = Extra {
            archive: Some(self.archive),
            ..Extra::default()
        };
        let (_, given, _) = self.runner.attempt(&call, self.environment, extra)?;
        let text = |entry: &Value, key: &str| {
            let text = entry.get(key).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        Ok(entries(&given.data)
            .filter_map(|entry| {
                let path = text(&entry, "path")?;
                let hash = match text(&entry, "linktarget") {
                    Some(_) => None,
                    None => Some(text(&entry, "xxh64").unwrap_or_default()),
                };
                Some((path, hash))
            })
            .collect())
    }

    /// The hash of a file; empty for what is gone or a symbolic link.
    fn source_hash(&self, path: &str) -> String {
        let path = self.directory.join(path);
        hash(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let text = format!("{} cannot be read: {error}", path.display());
                self.runner.log.record(Level::Warning, &text);
            }
            String::new()
        })
    }
}

fn entries(data: &[u8]) -> impl Iterator<Item = Value> {
    let lines = data.split(|byte| *byte == b'\n');
    lines.filter_map(|line| super::runner::parse_json(line).ok())
}

fn hash(path: &Path) -> io::Result<String> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Ok(String::new());
    }
    let mut file = fs::File::open(path)?;
    let mut hash = XxHash64::with_seed(0);
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:016x}", hash.finish())),
            length => hash.write(buffer.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_counts_names_the_paths() {
        let limits = SpotLimits {
            count: 10.0,
            sample: 1.0,
            data: 0.5,
        };
        let sources = ["/a".to_owned(), "/b".to_owned()];
        let archived = HashSet::from(["b".to_owned()]);
        let error = compare_counts(&sources, &archived, limits).unwrap_err();
        insta::assert_snapshot!(error, @r"
        Spot check failed
        50.00% file count delta between source paths (2 total) and latest archive (1 total); tolerance is 10%
        Only in source paths: a
        Only in latest archive: none
        ");
        let same = HashSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(compare_counts(&sources, &same, limits).unwrap(), 0.0);
    }

    #[test]
    fn long_lists_are_cut() {
        let paths: Vec<String> = (0..1000).map(|index| format!("path-{index}")).collect();
        let text = shown(paths.iter().map(String::as_str));
        assert!(text.len() < SHOWN + 10);
        assert!(text.ends_with(" ..."));
    }
}
