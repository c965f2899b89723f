//! The rarer actions of a configuration, beside the real borgmatic driving the real Borg.

use std::fs;

use crate::borgmatic::Place;

/// A place with two archives that differ, one made by each program.
fn place() -> Place {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place
        .fastness(&["create", "--archive-name-format", "first"])
        .ok();
    fs::write(place.sandbox.path("source/added"), "new").unwrap();
    let _ = place
        .borgmatic(&["create", "--archive-name-format", "second"])
        .ok();
    place
}

fn names(place: &Place) -> Vec<String> {
    place.borg(&["list", "--short", "repository"]).lines()
}

#[test]
fn files_come_to_a_directory_that_is_not_there_yet() {
    let place = Place::new();
    let configuration = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&configuration).unwrap();
    let top = place.sandbox.root().to_str().unwrap();
    // The passphrase's command runs where the configuration says, not where files come to.
    let command = format!("encryption_passcommand: cat words\nworking_directory: {top}");
    let text = text.replace(
        "encryption_passphrase: words of the configuration",
        &command,
    );
    fs::write(&configuration, text).unwrap();
    fs::write(place.sandbox.path("words"), "words of the configuration\n").unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.borgmatic(&["create"]).ok();
    let new = place.sandbox.path("not/there/yet");
    let words = ["extract", "--archive", "latest", "--destination"];
    let words = [&words[..], &["not/there/yet"]].concat();
    let _ = place.fastness(&[&["--dry-run"][..], &words].concat()).ok();
    assert!(!new.exists(), "a rehearsal made the directory");
    let _ = place.fastness(&words).ok();
    let stored = place.sandbox.path("source");
    let there = new.join(stored.strip_prefix("/").unwrap());
    assert!(there.join("many").is_dir(), "{}", there.display());
}

#[test]
fn archives_are_compared_exported_and_listed_alike() {
    let place = place();
    let diff = ["diff", "--archive", "first", "--second-archive", "second"];
    let diff = [&diff[..], &["--content-only", "--sort-by", "path"]].concat();
    let ours = place.fastness(&diff).ok().out();
    assert!(ours.contains("source/added"), "{ours}");
    assert_eq!(ours, place.borgmatic(&diff).ok().out());
    let tar = |name: &str| {
        let path = place.sandbox.path(name);
        let destination = path.to_str().unwrap().to_owned();
        (path, destination)
    };
    let ((ours, to_ours), (theirs, to_theirs)) = (tar("ours.tar"), tar("theirs.tar"));
    let export = |destination| {
        [
            "export-tar",
            "--archive",
            "first",
            "--destination",
            destination,
        ]
    };
    let _ = place.fastness(&export(&to_ours)).ok();
    let _ = place.borgmatic(&export(&to_theirs)).ok();
    assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap());
    fs::remove_file(&ours).unwrap();
    let _ = place
        .fastness(&[&["--dry-run"][..], &export(&to_ours)].concat())
        .ok();
    assert!(!ours.exists());
    let streamed = place.fastness(&export("-")).ok();
    assert!(streamed.out().len() > 1000);
}

#[test]
fn only_what_is_chosen_is_deleted() {
    let place = place();
    let _ = place
        .fastness(&["--dry-run", "delete", "--archive", "first"])
        .ok();
    assert_eq!(names(&place), ["first", "second"]);
    let _ = place
        .fastness(&[
            "delete",
            "--archive",
            "latest",
            "--archive-name-format",
            "{now}",
        ])
        .ok();
    assert_eq!(names(&place), ["first"]);
    let _ = place
        .fastness(&["delete", "--match-archives", "sh:other-*"])
        .ok();
    assert_eq!(names(&place), ["first"]);
    let _ = place.borg(&["check", "repository"]);
    let _ = place.fastness(&["repo-delete", "--force"]).ok();
    assert!(!place.sandbox.path("repository").exists());
}

#[test]
fn recreated_archives_follow_todays_rules_and_stay_recoverable() {
    let place = place();
    let more = ["--exclude-patterns", "[sh:**/many]", "--archive", "second"];
    let _ = place.fastness(&[&["recreate"][..], &more].concat()).ok();
    let _ = place
        .borgmatic(
            &[
                &["recreate"][..],
                &["--exclude-patterns", "[sh:**/many]", "--archive", "first"],
            ]
            .concat(),
        )
        .ok();
    let (ours, theirs) = (place.items("second"), place.items("first"));
    assert!(ours.iter().any(|item| item.contains("borgmatic/bootstrap")));
    assert!(!ours.iter().any(|item| item.contains("/many")), "{ours:?}");
    let added = |item: &&String| {
        // Another time; and ours keeps the configuration that archives are bootstrapped from.
        let other = ["/source/added", "/source", "/config.yaml"];
        !other.iter().any(|end| item.ends_with(end))
    };
    let ours: Vec<&String> = ours.iter().filter(added).collect();
    let theirs: Vec<&String> = theirs.iter().filter(added).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn keys_are_exported_and_come_back() {
    let place = place();
    let ours = place.fastness(&["key", "export"]).ok().out();
    assert!(ours.starts_with("BORG_KEY "), "{ours}");
    assert_eq!(ours, place.borgmatic(&["key", "export"]).ok().out());
    let file = place.sandbox.path("key.txt");
    let path = file.to_str().unwrap();
    let _ = place.fastness(&["key", "export", "--path", path]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), ours.trim());
    let refused = place.fastness(&["key", "export", "--path", path]);
    assert_eq!(refused.code(), 1);
    assert!(refused.err().contains("already exists. Aborting."));
    let _ = place.fastness(&["key", "import", "--path", path]).ok();
    let missing = place.fastness(&["key", "import", "--path", "/nowhere"]);
    assert_eq!(missing.code(), 1);
    assert!(missing.err().contains("Path /nowhere does not exist"));
    let _ = place.fastness(&["break-lock"]).ok();
    assert_eq!(names(&place).len(), 2);
}

#[test]
fn a_spot_check_finds_what_the_archive_does_not_have() {
    let place = place();
    let check = |sample: &str, tolerance: &str| {
        let checks = format!(
            "[{{name: spot, count_tolerance_percentage: 20, data_sample_percentage: {sample}, data_tolerance_percentage: {tolerance}}}]"
        );
        vec![
            "check".to_owned(),
            "--checks".to_owned(),
            checks,
            "--match-archives".to_owned(),
            "second".to_owned(),
        ]
    };
    let words = check("100", "0");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let told = place
        .fastness(&[&words[..], &["-v", "1"]].concat())
        .ok()
        .out();
    assert!(told.contains("and a 0.00% file data delta"), "{told}");
    fs::write(place.sandbox.path("source/added"), "changed").unwrap();
    let refused = place.fastness(&words);
    assert_eq!(refused.code(), 1);
    let told = refused.err();
    assert!(told.contains("Spot check failed"), "{told}");
    assert!(
        told.contains("with data not matching the latest archive; tolerance is 0%"),
        "{told}"
    );
    assert!(
        told.contains("non-matching data: ") && told.contains("source/added"),
        "{told}"
    );
}

#[test]
fn configuration_files_come_back_from_archives_of_both() {
    let place = place();
    let repository = place.sandbox.path("repository");
    for archive in ["first", "second"] {
        let target = place.sandbox.directory(archive);
        let arguments = [
            "config",
            "bootstrap",
            "--archive",
            archive,
            "--repository",
            repository.to_str().unwrap(),
            "--destination",
            target.to_str().unwrap(),
        ];
        let told = place.without_configuration(&arguments).ok();
        assert!(
            told.out().contains("Bootstrap successful"),
            "{}",
            told.out()
        );
        let config = place.sandbox.path("config.yaml");
        let back = target.join(config.strip_prefix("/").unwrap());
        assert_eq!(fs::read(back).unwrap(), fs::read(config).unwrap());
    }
}

#[test]
fn any_borg_command_runs_with_the_repository_of_the_configuration() {
    let place = place();
    let listed = place.fastness(&["borg", "list", "--short"]).ok();
    assert_eq!(listed.lines(), ["first", "second"]);
    let listed = place
        .fastness(&[
            "--archive-name-format",
            "{now}",
            "borg",
            "--archive",
            "latest",
            "list",
            "--short",
            "::$ARCHIVE",
        ])
        .ok();
    assert!(listed.out().contains("source/added"));
}

#[test]
fn exit_codes_and_further_words_follow_the_configuration() {
    let place = place();
    let missing = [
        "extract",
        "--archive",
        "first",
        "--path",
        "nowhere",
        "--dry-run",
    ];
    // A path that matches nothing is an error, unless the configuration sees it otherwise.
    assert_eq!(place.fastness(&missing).code(), 1);
    let lenient = ["--borg-exit-codes", "[{code: 101, treat_as: warning}]"];
    let told = place.fastness(&[&lenient[..], &missing].concat()).ok();
    assert!(
        told.err().contains("as a warning, as per configuration"),
        "{}",
        told.err()
    );
    let more = ["--extra-borg-options.create", "--comment words"];
    let _ = place
        .fastness(&[&more[..], &["create", "--archive-name-format", "third"]].concat())
        .ok();
    let comment = place.borg(&[
        "list",
        "--format={comment}{NL}",
        "--last",
        "1",
        "repository",
    ]);
    assert_eq!(comment.out().trim(), "words");
    // Only the repositories that are named are checked.
    let checked = [
        "check",
        "--only",
        "repository",
        "--force",
        "-v",
        "1",
        "--check-repositories",
    ];
    let told = place
        .fastness(&[&checked[..], &["[other]"]].concat())
        .ok()
        .out();
    assert!(!told.contains("borg check"), "{told}");
}
