//! The last runs of one configuration on one repository, a JSON object on a line each.
//!
//! The file is only appended to, until it is twice as long as it need be: then the newest half
//! takes its place. A line that a crash cut off is skipped.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fastness_engine::directories::replace_file_with_mode;

use super::RepositoryReport;
use super::record::{RecordError, read_bounded};

/// How many runs are kept at least.
pub const KEPT: usize = 1000;

/// The longest text of an error that is kept with a run.
const LONGEST_TEXT: usize = 4096;

/// Adds a run.
///
/// # Errors
/// When it cannot be written.
pub fn append(path: &Path, report: &RepositoryReport) -> Result<(), RecordError> {
    let failed = |source| RecordError::System {
        path: path.to_owned(),
        source,
    };
    let mut report = report.clone();
    if let Some(error) = &mut report.error {
        error.text = error.text.chars().take(LONGEST_TEXT).collect();
    }
    let mut line = serde_json::to_vec(&report).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    let Ok(known) = read_bounded(path).map(Option::unwrap_or_default) else {
        // Whatever it is, it is no list of runs.
        return replace_file_with_mode(path, &line, 0o600).map_err(failed);
    };
    if known.iter().filter(|byte| **byte == b'\n').count() >= 2 * KEPT {
        let lines: Vec<&[u8]> = known.split_inclusive(|byte| *byte == b'\n').collect();
        let newest = lines.get(lines.len().saturating_sub(KEPT - 1)..);
        let mut text = newest.unwrap_or_default().concat();
        text.extend(line);
        return replace_file_with_mode(path, &text, 0o600).map_err(failed);
    }
    // What a crash left without its end must not take this line with it.
    if known.last().is_some_and(|byte| *byte != b'\n') {
        line.insert(0, b'\n');
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(&line))
        .map_err(failed)
}

/// Returns the last runs, oldest first; lines that are none are left out.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(path: &Path) -> Result<Vec<RepositoryReport>, RecordError> {
    let text = read_bounded(path)?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Time;

    fn run(begin: i64) -> RepositoryReport {
        RepositoryReport {
            begin: Time(begin),
            ..RepositoryReport::default()
        }
    }

    #[test]
    fn the_last_runs_are_kept_and_their_number_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        assert!(read(&path).unwrap().is_empty());
        let lines: String = (0..2 * KEPT as i64)
            .map(|begin| serde_json::to_string(&run(begin)).unwrap() + "\n")
            .collect();
        std::fs::write(&path, lines).unwrap();
        append(&path, &run(5000)).unwrap();
        append(&path, &run(5001)).unwrap();
        let kept = read(&path).unwrap();
        assert_eq!(kept.len(), KEPT + 1);
        assert_eq!(kept[0].begin, Time(1001));
        assert_eq!(kept[KEPT].begin, Time(5001));
    }

    #[test]
    fn a_line_that_was_cut_off_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        append(&path, &run(1)).unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"name\": \"na");
        std::fs::write(&path, text).unwrap();
        append(&path, &run(2)).unwrap();
        let begins: Vec<_> = read(&path).unwrap().iter().map(|run| run.begin).collect();
        assert_eq!(begins, [Time(1), Time(2)]);
    }
}
