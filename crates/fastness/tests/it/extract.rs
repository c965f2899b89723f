//! What `extract` tells while it works and what is in its way, beside official Borg doing the same.

use fastness_testkit::{Borg, Sandbox, Version};
use serde_json::Value;

use crate::ours;

/// A sandbox with an archive of two files and a symlink, made by official Borg.
fn with_archive() -> (Sandbox, Borg) {
    let (sandbox, official) = (Sandbox::new(), Borg::official(Version::V14));
    let source = sandbox.directory("source");
    std::fs::write(source.join("first"), vec![7; 3_000_000]).unwrap();
    std::fs::write(source.join("second"), "content").unwrap();
    std::os::unix::fs::symlink("first", source.join("link")).unwrap();
    for arguments in [
        &["init", "-e", "none", "repository"][..],
        &["create", "repository::archive", "source"],
    ] {
        let _ = sandbox.run(&official, arguments).ok();
    }
    (sandbox, official)
}

#[test]
fn progress_of_an_extraction_is_told_in_the_same_records() {
    let (sandbox, official) = with_archive();
    let told = |borg: &Borg, directory: &str| -> Vec<Value> {
        let target = sandbox.directory(directory);
        let arguments = [
            "extract",
            "--progress",
            "--log-json",
            "../repository::archive",
        ];
        let run = sandbox.command(borg).args(arguments);
        let records = run.in_directory(&target).go().ok().log_records();
        records
            .into_iter()
            .filter(|record| record["type"] == "progress_percent")
            .collect()
    };
    let (theirs, our) = (told(&official, "theirs"), told(&ours(), "ours"));
    // How far it is at a moment differs from run to run; begin, end and the whole do not.
    for records in [&theirs, &our] {
        assert_eq!(records.first().unwrap()["total"], 0);
        assert_eq!(records.last().unwrap()["finished"], true);
    }
    let without_time = |record: &Value| {
        let mut record = record.clone();
        record.as_object_mut().unwrap().remove("time");
        record
    };
    assert_eq!(without_time(&our[0]), without_time(&theirs[0]));
    assert_eq!(
        without_time(our.last().unwrap()),
        without_time(theirs.last().unwrap())
    );
    let totals = |records: &[Value]| -> Vec<Value> {
        let all = records.iter().map(|record| record["total"].clone());
        let mut totals: Vec<Value> = all.filter(|total| !total.is_null()).collect();
        totals.dedup();
        totals
    };
    assert_eq!(totals(&our), totals(&theirs));
}

#[test]
fn a_directory_that_is_not_empty_stays_where_a_file_should_be() {
    let (sandbox, official) = with_archive();
    for (borg, directory) in [(&official, "theirs"), (&ours(), "ours")] {
        let target = sandbox.directory(directory);
        std::fs::create_dir_all(target.join("source/first/kept")).unwrap();
        let run = sandbox
            .command(borg)
            .args(["extract", "../repository::archive"]);
        let outcome = run.in_directory(&target).go().exits(1);
        assert!(outcome.err().contains("[Errno 21]"), "{}", outcome.err());
        assert!(target.join("source/first/kept").is_dir());
        assert_eq!(
            std::fs::read(target.join("source/second")).unwrap(),
            b"content"
        );
    }
}
