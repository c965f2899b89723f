//! Standings, and their views for people and for Prometheus.

use super::*;
use crate::config::LoadContext;
use crate::config::load::load_text;
use crate::report::{ActionReport, ArchiveReport, Failure, Outcome, digest, metrics, table};

const NOW: &str = "2026-11-23T12:00:00Z";

struct State {
    directory: tempfile::TempDir,
    timers: bool,
}

impl State {
    fn new(timers: bool) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            timers,
        }
    }

    fn configuration(&self, extra: &str) -> Configuration {
        let state = self.directory.path().display();
        let text = format!(
            "source_directories: [/x]\nrepositories: [{{path: /r, label: nas}}]\nuser_state_directory: {state}\n{extra}"
        );
        let context = LoadContext {
            variable: &|_| None,
            interpolate_environment: false,
            overrides: &[],
        };
        let tree = load_text(&text, "/c.yaml").unwrap();
        Configuration::from_tree(vec!["/c.yaml".into()], tree, context).unwrap()
    }

    fn look(&self, configuration: &Configuration) -> Standing {
        let observer = Observer {
            now: NOW.parse().unwrap(),
            zone: &TimeZone::UTC,
            variable: &|_| None,
            has_timers: &|_| self.timers,
            max_age: MAX_AGE,
        };
        observer.look(configuration, &configuration.repositories[0])
    }

    fn remember(&self, configuration: &Configuration, run: &RepositoryReport) {
        let place = Place::of(configuration, &configuration.repositories[0], &|_| None);
        place.finish(run).unwrap();
    }
}

fn run(begin: &str, error: Option<&str>, stored: u64) -> RepositoryReport {
    let begin: Time = begin.parse().unwrap();
    let create = ActionReport {
        action: "create".to_owned(),
        outcome: match error {
            None => Outcome::Done,
            Some(_) => Outcome::Failed,
        },
        begin: Some(begin),
        milliseconds: 60_000,
        archive: error.is_none().then(|| ArchiveReport {
            name: "host-1".to_owned(),
            files: 1234,
            original_bytes: 5_000_000_000,
            deduplicated_bytes: 14_100_000,
            repository_bytes: stored,
            ..ArchiveReport::default()
        }),
        ..ActionReport::default()
    };
    RepositoryReport {
        name: "nas".to_owned(),
        path: "/r".to_owned(),
        begin,
        end: begin.after(Duration::from_secs(90)),
        tries: 1,
        actions: vec![create],
        error: error.map(|text| Failure {
            kind: "connection".to_owned(),
            exit_code: Some(80),
            summary: text.to_owned(),
            text: text.to_owned(),
        }),
        ..RepositoryReport::default()
    }
}

fn kinds(standing: &Standing) -> Vec<&'static str> {
    standing.findings.iter().map(|one| one.kind).collect()
}

#[test]
fn a_repository_that_was_never_saved_has_failed() {
    let state = State::new(false);
    let standing = state.look(&state.configuration(""));
    assert_eq!(kinds(&standing), ["never"]);
    assert_eq!(standing.health, Health::Failed);
}

#[test]
fn without_a_schedule_age_alone_counts() {
    let state = State::new(false);
    let configuration = state.configuration("checks: [{name: disabled}]\n");
    state.remember(&configuration, &run("2026-11-21T13:00:00Z", None, 1));
    let standing = state.look(&configuration);
    assert_eq!((standing.health, standing.next_run), (Health::Ok, None));
    let configuration = state.configuration("");
    state.remember(&configuration, &run("2026-11-21T11:00:00Z", None, 1));
    let standing = state.look(&configuration);
    assert_eq!(kinds(&standing), ["stale"]);
    assert_eq!(standing.health, Health::Warning);
}

#[test]
fn with_timers_missed_runs_and_the_next_one_are_known() {
    let state = State::new(true);
    let configuration = state.configuration("");
    state.remember(&configuration, &run("2026-11-22T18:10:00Z", None, 1));
    let standing = state.look(&configuration);
    assert_eq!(standing.missed_runs, 2);
    assert_eq!(kinds(&standing), ["missed"]);
    assert_eq!(
        standing.next_run,
        Some("2026-11-23T18:00:00Z".parse().unwrap())
    );
    let state = State::new(false);
    let configuration = state.configuration("fastness: {schedule: {create: daily}}\n");
    state.remember(&configuration, &run("2026-11-23T00:10:00Z", None, 1));
    assert_eq!(kinds(&state.look(&configuration)), ["timers"]);
}

#[test]
fn a_failure_a_killed_run_and_an_overdue_check_are_told() {
    let state = State::new(false);
    let configuration = state.configuration("checks: [{name: archives, frequency: 2 weeks}]\n");
    state.remember(&configuration, &run("2026-10-20T11:00:00Z", None, 1));
    state.remember(
        &configuration,
        &run("2026-11-23T11:00:00Z", Some("no way"), 1),
    );
    let standing = state.look(&configuration);
    assert_eq!(kinds(&standing), ["failed", "stale", "check"]);
    let told = &standing.findings[0].text;
    assert_eq!(
        told,
        "the last run failed 58 minutes ago (connection): no way"
    );
    let place = Place::of(&configuration, &configuration.repositories[0], &|_| None);
    let running = |pid| Running {
        begin: "2026-11-23T11:30:00Z".parse().unwrap(),
        pid,
        ..Running::default()
    };
    // No process has a number as high as this.
    place.begin(running(u32::MAX)).unwrap();
    assert_eq!(kinds(&state.look(&configuration))[0], "interrupted");
    place.begin(running(std::process::id())).unwrap();
    let standing = state.look(&configuration);
    assert!(standing.running.is_some() && kinds(&standing)[0] == "failed");
}

#[test]
fn a_key_without_a_confirmed_copy_is_told_until_there_is_one() {
    let state = State::new(false);
    let configuration = state.configuration("");
    let id = "ab".repeat(32);
    let opened = RepositoryReport {
        id: Some(id.clone()),
        encryption: Some("keyfile-blake2".to_owned()),
        ..run("2026-11-23T11:00:00Z", None, 1)
    };
    state.remember(&configuration, &opened);
    let standing = state.look(&configuration);
    assert_eq!(
        (kinds(&standing), standing.key_confirmed),
        (vec!["key"], Some(false))
    );
    let plain = RepositoryReport {
        encryption: Some("none".to_owned()),
        ..opened
    };
    state.remember(&configuration, &plain);
    assert_eq!(state.look(&configuration).findings, []);
}

/// A day of runs: three went well, one failed.
fn day() -> (State, Configuration) {
    let state = State::new(true);
    let configuration = state.configuration("checks: [{name: repository, frequency: 2 weeks}]\n");
    for (begin, error, stored) in [
        ("2026-11-10T12:10:00Z", None, 40_000_000_000),
        ("2026-11-22T18:10:00Z", None, 41_000_000_000),
        (
            "2026-11-23T00:10:00Z",
            Some("Connection closed by remote host"),
            0,
        ),
        ("2026-11-23T06:10:00Z", None, 41_200_000_000),
    ] {
        state.remember(&configuration, &run(begin, error, stored));
    }
    (state, configuration)
}

#[test]
fn the_table_is_aligned_and_short() {
    let (state, configuration) = day();
    let mut other = state.look(&state.configuration("checks: [{name: disabled}]\n"));
    other.repository.label = Some("remote-nas".to_owned());
    other.find(Health::Failed, "failed", "it failed".to_owned());
    let all = [state.look(&configuration), other];
    insta::assert_snapshot!(table::table(&all, NOW.parse().unwrap()), @r"
    REPOSITORY  STATE   LAST ARCHIVE  STORED   LAST NEW  NEXT RUN    CHECKED
    nas         ok      5 hours ago   41.2 GB  14.1 MB   in 6 hours  repository never
    remote-nas  FAILED  5 hours ago   41.2 GB  14.1 MB   in 6 hours  -

    remote-nas
        it failed
    ");
}

#[test]
fn metrics_have_one_description_each_and_escaped_labels() {
    let (state, configuration) = day();
    let mut other = state.look(&configuration);
    other.repository.label = Some("a \"b\"\\\n".to_owned());
    let text = metrics::text(&[state.look(&configuration), other]);
    for line in [
        "# TYPE fastness_health gauge",
        "fastness_health{configuration=\"/c.yaml\",repository=\"nas\"} 0",
        "fastness_health{configuration=\"/c.yaml\",repository=\"a \\\"b\\\"\\\\\\n\"} 0",
        "fastness_last_success_timestamp_seconds{configuration=\"/c.yaml\",repository=\"nas\"} 1795414260",
        "fastness_action_duration_seconds{configuration=\"/c.yaml\",repository=\"nas\",action=\"create\"} 60",
        "fastness_repository_stored_bytes{configuration=\"/c.yaml\",repository=\"nas\"} 41200000000",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    let mut described: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let count = described.len();
    described.dedup();
    assert_eq!(described.len(), count);
    assert!(text.ends_with('\n'));
}

#[test]
fn the_digest_tells_what_was_saved_what_failed_and_how_to_look_closer() {
    let (state, configuration) = day();
    let place = Place::of(&configuration, &configuration.repositories[0], &|_| None);
    let told = digest::Told {
        standing: state.look(&configuration),
        runs: history::read(&place.history()).unwrap(),
    };
    let now = NOW.parse().unwrap();
    let [subject, body] = digest::message("server", digest::Period::Day, &[told], now);
    assert_eq!(subject, "Backups on server: all is well");
    insta::assert_snapshot!(body, @r"
    Backups on server in the last 24 hours.

    nas (/c.yaml)
        runs        3, 2 went well
        failed      2026-11-23T00:11:30Z (connection): Connection closed by remote host
        newest      host-1, 5 hours ago: 1,234 files, 5.00 GB
        saved       2 archives, 28.2 MB new
        stored      41.2 GB, 1.20 GB more than a week ago
        check       repository: never
        next run    in 6 hours

    To look closer:
        fastness status --config /c.yaml
        fastness --config /c.yaml repo-list --last 10
    ");
}
