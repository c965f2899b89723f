//! Records over several runs.

use super::*;
use crate::config::typed::Options;
use crate::report::{ActionReport, DatabaseReport, Failure};

fn place(state: &Path) -> Place {
    let tree = crate::config::load::load_text("{}", "x").unwrap();
    let repository = Repository {
        path: "/backup".to_owned(),
        label: Some("nas".to_owned()),
        encryption: None,
        append_only: None,
        storage_quota: None,
        make_parent_directories: None,
        borg2_choice: None,
        options: Options::read(&tree, None),
    };
    Place::new(
        &state.join("borgmatic"),
        Path::new("/etc/c.yaml"),
        &repository,
    )
}

fn create(begin: i64, outcome: Outcome) -> RepositoryReport {
    let done = outcome == Outcome::Done;
    RepositoryReport {
        path: "/backup".to_owned(),
        id: done.then(|| "ab".to_owned()),
        begin: Time(begin),
        end: Time(begin + 9),
        actions: vec![ActionReport {
            action: "create".to_owned(),
            outcome,
            begin: Some(Time(begin)),
            milliseconds: 2000,
            archive: done.then(|| ArchiveReport {
                name: format!("host-{begin}"),
                ..ArchiveReport::default()
            }),
            databases: vec![DatabaseReport {
                name: "sqlite_databases/localhost/shop".to_owned(),
                bytes: Some(7),
                error: (!done).then(|| "locked".to_owned()),
            }],
            ..ActionReport::default()
        }],
        error: (!done).then(|| Failure {
            kind: "connection".to_owned(),
            ..Failure::default()
        }),
        ..RepositoryReport::default()
    }
}

#[test]
fn a_failure_keeps_what_the_last_success_was() {
    let state = tempfile::tempdir().unwrap();
    let place = place(state.path());
    assert_eq!(place.read().unwrap(), None);
    place.begin(Running::default()).unwrap();
    assert!(place.read().unwrap().unwrap().running.is_some());
    for (begin, outcome) in [
        (100, Outcome::Done),
        (200, Outcome::Failed),
        (300, Outcome::Failed),
    ] {
        place.finish(&create(begin, outcome)).unwrap();
    }
    let record = place.read().unwrap().unwrap();
    assert_eq!(record.running, None);
    assert_eq!(record.last_success("create"), Some(Time(102)));
    assert_eq!(record.actions["create"].failures, 2);
    assert_eq!(record.actions["create"].last_begin, Some(Time(300)));
    assert_eq!(record.archive.as_ref().unwrap().facts.name, "host-100");
    assert_eq!(record.failures.kinds["connection"], 2);
    assert_eq!(record.failures.since, Some(Time(209)));
    assert_eq!(record.repository.id.as_deref(), Some("ab"));
    let database = &record.databases["sqlite_databases/localhost/shop"];
    assert_eq!(database.last_success, Some(Time(102)));
    assert_eq!(database.error.as_deref(), Some("locked"));
    assert_eq!(history::read(&place.history()).unwrap().len(), 3);
    place.finish(&create(400, Outcome::Done)).unwrap();
    let record = place.read().unwrap().unwrap();
    assert_eq!(record.failures, Failures::default());
    assert_eq!(record.actions["create"].failures, 0);
}

#[test]
fn a_damaged_record_is_begun_anew_and_one_of_a_later_version_stays() {
    let state = tempfile::tempdir().unwrap();
    let place = place(state.path());
    place.finish(&create(100, Outcome::Done)).unwrap();
    std::fs::write(place.file(), "{").unwrap();
    assert!(matches!(place.read(), Err(RecordError::Damaged { .. })));
    place.finish(&create(200, Outcome::Done)).unwrap();
    assert_eq!(place.read().unwrap().unwrap().schema, SCHEMA);
    std::fs::write(place.file(), r#"{"schema": 99}"#).unwrap();
    let error = place.finish(&create(300, Outcome::Done)).unwrap_err();
    assert!(error.to_string().contains("structure 99"), "{error}");
}

#[test]
fn a_record_is_private_and_says_which_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    let place = place(state.path());
    place.finish(&create(100, Outcome::Done)).unwrap();
    let mode = std::fs::metadata(place.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(place.file()).unwrap();
    for part in [
        "\"schema\": 1",
        "\"configuration\": \"/etc/c.yaml\"",
        "\"label\": \"nas\"",
        "\"begin\": \"1970-01-01T00:01:40Z\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
