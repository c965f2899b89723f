//! Checks of a repository itself: can it be opened, is it used, would it be missed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fastness_format::lock_roster::{LockIdentity, LockKind, LockRoster, MAX_ROSTER_LEN};
use jiff::Timestamp;
use serde_json::Value;

use super::{Patient, Said, Verdict, ago, free_space, ok, problem, warning};
use crate::confirmations::Confirmations;
use crate::run::direct::{self, Opened, Question, ask};
use crate::run::parse_json;

/// How many archives the rhythm of backups is seen from.
const LAST: &str = "12";
/// Seconds after which a repository without any rhythm is stale.
const STALE: u64 = 2 * 86_400;
/// The shortest rhythm that is taken seriously, in seconds.
const SHORTEST: u64 = 3600;

/// Whether the passphrase is had without anybody in front of the terminal.
pub fn passphrase(patient: &mut Patient<'_>) -> Vec<Said> {
    match direct::passphrase(patient.repository, patient.world) {
        Ok(Some(secret)) => {
            patient.passphrase = Opened::By(secret);
            vec![ok("its source works")]
        }
        Ok(None) => Vec::new(),
        Err(error) => {
            // Nobody is to be asked for it below.
            patient.reachable = false;
            vec![problem(
                error,
                "correct encryption_passcommand or encryption_passphrase",
            )]
        }
    }
}

/// Whether there is room for the next archive, where that can be seen.
pub fn space(patient: &mut Patient<'_>) -> Vec<Said> {
    let path = patient.local().filter(|path| path.is_dir());
    let said = path.and_then(|path| free_space("repository", &path));
    said.into_iter().collect()
}

/// Who holds locks, where that can be seen, and whether they still run.
pub fn lock(patient: &mut Patient<'_>) -> Vec<Said> {
    let Some(path) = patient.local().filter(|path| path.is_dir()) else {
        return Vec::new();
    };
    let holders = holders(&path);
    let here = String::from_utf8_lossy(&fastness_sys::host::host_name()).into_owned();
    let mut said: Vec<Said> = holders
        .iter()
        .map(|holder| {
            let who = format!("process {} on {}", holder.pid, holder.host_id);
            let ours = holder.host_id.starts_with(&here);
            match (ours, fastness_sys::process::is_alive(holder.pid.into())) {
                (true, true) => ok(format!("held by {who}, which runs")),
                (true, false) => warning(
                    format!("held by {who}, which is gone"),
                    "the next backup removes it; now: fastness break-lock",
                ),
                (false, _) => warning(
                    format!("held by {who}"),
                    "if nothing runs there any more: fastness break-lock",
                ),
            }
        })
        .collect();
    if said.is_empty() {
        said.push(ok("not held"));
    }
    said
}

/// Everybody who holds a lock of a repository.
fn holders(path: &Path) -> Vec<LockIdentity> {
    let entries = std::fs::read_dir(path.join("lock.exclusive"));
    let names = entries.into_iter().flatten().flatten();
    let mut holders: Vec<LockIdentity> = names
        .filter_map(|entry| LockIdentity::from_file_name(entry.file_name().to_str()?))
        .collect();
    let roster = path.join("lock.roster");
    let small = std::fs::metadata(&roster).is_ok_and(|it| it.len() <= MAX_ROSTER_LEN as u64);
    if let Some(text) = small.then(|| std::fs::read(&roster).ok()).flatten() {
        let roster = LockRoster::parse(&text);
        holders.extend(roster.holders(LockKind::Shared));
        holders.extend(roster.holders(LockKind::Exclusive));
    }
    holders.sort();
    holders.dedup();
    holders
}

/// Whether the repository opens, and whether its newest archive is as new as the others let expect.
pub fn backup(patient: &mut Patient<'_>) -> Vec<Said> {
    if !patient.reachable {
        return Vec::new();
    }
    let words = ["list", "--lock-wait", "5", "--json", "--last", LAST];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.push(patient.repository.path.clone());
    let question = Question {
        repository: patient.repository,
        words,
        opened: patient.passphrase.clone(),
        by_engine: false,
        shown: false,
        directory: None,
        at_most: None,
    };
    let answer = match ask(&question, patient.world) {
        Ok(answer) => answer,
        Err(error) => return vec![problem(error, "see the message")],
    };
    if answer.code >= 2 && !(100..=127).contains(&answer.code) {
        let line = answer.last_line();
        let cure = cure_of(answer.code);
        return vec![problem(format!("it does not open: {line}"), cure)];
    }
    match parse_json(&answer.data) {
        Ok(listed) => {
            let said = judge_age(&listed, Timestamp::now());
            patient.listed = Some(listed);
            vec![said]
        }
        Err(error) => vec![problem(
            format!("list: {error}"),
            "see what local_path names",
        )],
    }
}

/// What to do about an error, by Borg's exit code for it.
fn cure_of(code: u8) -> &'static str {
    match code {
        13 | 15 => "make it: fastness repo-create --encryption repokey-blake2",
        40..=53 => "check that passphrase and key are those of this repository",
        70..=75 => "wait until the other run ends; if there is none: fastness break-lock",
        80..=87 => "see whether the connection is stable, then run this again",
        _ => "see the message; fastness check tells more",
    }
}

/// Compares the age of the newest archive with the time that usually lay between two.
fn judge_age(listed: &Value, now: Timestamp) -> Said {
    let archives = listed.get("archives").and_then(Value::as_array);
    let mut times: Vec<i64> = archives
        .into_iter()
        .flatten()
        .filter_map(|archive| seconds(archive.get("start")?.as_str()?))
        .collect();
    times.sort_unstable();
    let Some(newest) = times.last() else {
        return warning("there is no archive yet", "make one: fastness create");
    };
    let age = now.as_second() - newest;
    if age < -600 {
        let text = format!(
            "the newest archive is {} in the future",
            ago(age.unsigned_abs())
        );
        return problem(
            text,
            "set the clock of this machine, or of the one that made it",
        );
    }
    let age = u64::try_from(age).unwrap_or(0);
    let mut gaps: Vec<u64> = times
        .windows(2)
        .filter_map(|pair| match pair {
            [one, other] => Some(other.abs_diff(*one)),
            _ => None,
        })
        .collect();
    gaps.sort_unstable();
    // One or two may have been made by hand.
    let usual = gaps.get(gaps.len() / 2).filter(|_| gaps.len() >= 3);
    let (limit, rhythm) = match usual {
        Some(gap) => {
            let gap = (*gap).max(SHORTEST);
            (
                gap * 2,
                format!("; usually there is one every {}", ago(gap)),
            )
        }
        None => (STALE, String::new()),
    };
    let text = format!("the newest archive is {} old{rhythm}", ago(age));
    let cure = "see why no backup runs: systemctl list-timers, journalctl -u 'fastness-*'";
    match age {
        age if age > limit.saturating_mul(2) => problem(text, cure),
        age if age > limit => warning(text, cure),
        _ => ok(text),
    }
}

/// A time as `list --json` has it: in the zone of this machine.
fn seconds(text: &str) -> Option<i64> {
    let time: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_second())
}

/// Whether the key is kept well, and whether somebody proved that there is a copy.
pub fn key(patient: &mut Patient<'_>) -> Vec<Said> {
    let Some(listed) = &patient.listed else {
        return Vec::new();
    };
    let text = |outer: &str, inner: &str| {
        let value = listed.get(outer)?.get(inner)?.as_str()?;
        Some(value.to_owned())
    };
    let mode = text("encryption", "mode").unwrap_or_default();
    if mode == "none" {
        let text = "not encrypted: whoever gets the repository can read everything";
        return match patient.local() {
            Some(_) => vec![ok("not encrypted, so no key can be lost")],
            None => vec![warning(
                text,
                "make a new one: repo-create --encryption repokey-blake2",
            )],
        };
    }
    let mut said = Vec::new();
    if let Some(file) = text("encryption", "keyfile") {
        said.extend(judge_file(Path::new(&file)));
    }
    let copies =
        Confirmations::new(patient.state).of(&text("repository", "id").unwrap_or_default());
    said.push(match copies.confirmed {
        Some(event) => {
            let day = event.at.strftime("%Y-%m-%d");
            ok(format!(
                "{mode}; a copy ({}) was proved on {day}",
                event.kind.name()
            ))
        }
        None => {
            let text = format!("{mode}; nobody has proved that a copy of it works");
            let cure = match copies.exported {
                Some(_) => "fastness key confirm",
                None => "print it (fastness key export --paper), then: fastness key confirm",
            };
            warning(text, cure)
        }
    });
    said
}

fn judge_file(file: &Path) -> Option<Said> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    let name = file.display();
    (mode & 0o077 != 0).then(|| {
        let text = format!("the key file {name} can be read by others (mode {mode:o})");
        (Verdict::Problem, text, Some(format!("chmod 600 {name}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(hours: &[i64], now: Timestamp) -> Value {
        let archives: Vec<Value> = hours
            .iter()
            .map(|hours| {
                let time = Timestamp::from_second(now.as_second() - hours * 3600).unwrap();
                let time = time.to_zoned(jiff::tz::TimeZone::system());
                let text = time.strftime("%Y-%m-%dT%H:%M:%S.000000").to_string();
                serde_json::json!({ "start": text })
            })
            .collect();
        serde_json::json!({ "archives": archives })
    }

    #[test]
    fn age_is_judged_by_the_rhythm_of_the_archives() {
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let verdict = |hours: &[i64]| judge_age(&listed(hours, now), now).0;
        assert_eq!(verdict(&[]), Verdict::Warning);
        // Every six hours.
        assert_eq!(verdict(&[5, 11, 17, 23]), Verdict::Ok);
        assert_eq!(verdict(&[13, 19, 25, 31]), Verdict::Warning);
        assert_eq!(verdict(&[25, 31, 37, 43]), Verdict::Problem);
        // Every week.
        assert_eq!(verdict(&[160, 328, 496, 664]), Verdict::Ok);
        // No rhythm yet.
        assert_eq!(verdict(&[30]), Verdict::Ok);
        assert_eq!(verdict(&[70]), Verdict::Warning);
        // From the future.
        assert_eq!(verdict(&[-2]), Verdict::Problem);
    }
}
