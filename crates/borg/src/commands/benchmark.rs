//! `benchmark crud`: how fast archives are created, read, updated and deleted here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::commands::{Action, COMMANDS};
use crate::context::Context;
use crate::error::{CommandError, errno_text};
use crate::exit_code::ExitCode;
use crate::options::CommonOptions;
use crate::output::text::Units;

/// Measure how fast archives are made, read and deleted
///
/// Files of zeros (Z) and of random bytes (R), big, medium and small ones, are written below PATH
/// and archived without compression: created (C), extracted without writing (R), updated without a
/// change (U) and deleted (D). It needs 1 GB below PATH and in the repository, and takes a while.
/// Use a repository of its own for it.
#[derive(Clone, Debug, clap::Parser)]
pub struct Crud {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Where the files to be archived are written
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// A set of files.
struct Sample {
    name: &'static str,
    count: u32,
    size: u32,
    random: bool,
}

const fn sample(name: &'static str, count: u32, size: u32, random: bool) -> Sample {
    Sample {
        name,
        count,
        size,
        random,
    }
}

const SAMPLES: [Sample; 6] = [
    sample("Z-BIG", 10, 100_000_000, false),
    sample("R-BIG", 10, 100_000_000, true),
    sample("Z-MEDIUM", 1000, 1_000_000, false),
    sample("R-MEDIUM", 1000, 1_000_000, true),
    sample("Z-SMALL", 10_000, 10_000, false),
    sample("R-SMALL", 10_000, 10_000, true),
];

/// For tests of the command itself, switched on by a variable.
const TINY: [Sample; 2] = [sample("Z-TEST", 1, 1, false), sample("R-TEST", 1, 1, true)];
const TINY_VARIABLE: &str = "_BORG_BENCHMARK_CRUD_TEST";

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

impl Action for Crud {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let archive = format!("{}::borg-benchmark-crud", place.name);
        let samples = match context.environment.text(TINY_VARIABLE) {
            Some(_) => &TINY[..],
            None => &SAMPLES[..],
        };
        for sample in samples {
            let files = Files::write(&self.path, sample)?;
            let times = measure(context, &archive, &files.0)?;
            drop(files);
            for (letter, seconds) in ["C", "R", "U", "D"].into_iter().zip(times) {
                context.print_now(sample.line(letter, seconds))?;
            }
        }
        Ok(())
    }
}

impl Sample {
    fn line(&self, letter: &str, seconds: f64) -> String {
        let megabytes = f64::from(self.count) * f64::from(self.size) / 1e6;
        format!(
            "{letter}-{:<10} {:>9.2} MB/s ({} * {} {} files: {seconds:.2}s)\n",
            self.name,
            megabytes / seconds.max(1e-9),
            self.count,
            Units::Decimal.bytes(self.size.into()),
            if self.random { "random" } else { "all-zero" },
        )
    }
}

/// The files of a sample, removed in the end.
struct Files(PathBuf);

impl Files {
    fn write(path: &Path, sample: &Sample) -> Result<Self, CommandError> {
        let directory = path.join("borg-test-data");
        let failed = |error: io::Error| CommandError::general(errno_text(&error, Some(&directory)));
        fs::create_dir_all(path)
            .and_then(|()| fs::create_dir(&directory))
            .map_err(failed)?;
        let files = Self(directory.clone());
        for number in 0..sample.count {
            let written = File::create(directory.join(format!("file_{number}")))
                .and_then(|mut file| fill(&mut file, sample).and_then(|()| file.sync_data()));
            written.map_err(failed)?;
        }
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays behind is seen at the next run, which refuses to write over it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fill(file: &mut File, sample: &Sample) -> io::Result<()> {
    let random = crate::world::real().random;
    let mut left = sample.size as usize;
    let mut piece = vec![0; PIECE.min(left)];
    while left > 0 {
        piece.truncate(left);
        if sample.random {
            random.fill(&mut piece)?;
        }
        file.write_all(&piece)?;
        left -= piece.len();
    }
    Ok(())
}

/// Returns the seconds that creating, reading, updating and deleting take.
fn measure(
    context: &mut Context<'_>,
    archive: &str,
    path: &Path,
) -> Result<[f64; 4], CommandError> {
    let path = path.display().to_string();
    let [first, second, third] = [1, 2, 3].map(|number| format!("{archive}{number}"));
    let compression = "--compression=none";
    let uncached = [compression, "--files-cache=disabled", &first, &path];
    let create = timed(context, "create", &uncached)?;
    // Now with a files cache, so that the next one finds nothing changed.
    timed(context, "create", &[compression, &second, &path])?;
    timed(context, "delete", &[&second])?;
    let update = timed(context, "create", &[compression, &third, &path])?;
    timed(context, "delete", &[&third])?;
    let read = timed(context, "extract", &["--dry-run", &first])?;
    let delete = timed(context, "delete", &[&first])?;
    Ok([create, read, update, delete])
}

/// Runs another command and returns its seconds.
fn timed(
    context: &mut Context<'_>,
    command: &str,
    arguments: &[&str],
) -> Result<f64, CommandError> {
    let failed = |reason: String| CommandError::general(format!("benchmark: {command}: {reason}"));
    let entry = COMMANDS.iter().find(|entry| entry.words == [command]);
    let entry = entry.ok_or_else(|| failed("there is no such command".to_owned()))?;
    let matches = entry.command().try_get_matches_from(arguments);
    let action = matches.and_then(|matches| entry.action(&matches));
    let mut action = action.map_err(|error| failed(error.to_string()))?;
    action.settle()?;
    let start = Instant::now();
    action.run(context)?;
    match context.reporter.exit_code() {
        ExitCode::SUCCESS => Ok(start.elapsed().as_secs_f64()),
        code => Err(failed(format!("it ended with code {}", code.code()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_sizes_and_seconds() {
        let sample = sample("Z-BIG", 10, 100_000_000, false);
        assert_eq!(
            sample.line("C", 2.5),
            "C-Z-BIG         400.00 MB/s (10 * 100.00 MB all-zero files: 2.50s)\n"
        );
    }
}
