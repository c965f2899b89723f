//! `fastness setup`: from an empty home to a backup that real Borg and real borgmatic read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fastness_testkit::{Outcome, Run, Sandbox, Sshd};

use crate::reference;

/// A machine without anything but files to save.
fn machine() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let source = sandbox.directory("my files");
    fs::write(source.join("letter"), "dear reader").unwrap();
    fs::write(sandbox.home().join(".profile"), "").unwrap();
    let runtime = sandbox.directory("run");
    sandbox.set_env("XDG_RUNTIME_DIR", runtime);
    sandbox
}

/// Sets up; root's usual places are those of the real machine, so the file is always named.
fn setup(sandbox: &Sandbox) -> Run {
    setup_in(sandbox, "conf/config.yaml")
}

fn setup_in(sandbox: &Sandbox, config: &str) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let run = sandbox.run_of(program).without_env("BORG_PASSPHRASE");
    run.args(["setup", "--no-timer", "--config", config])
}

fn fastness(sandbox: &Sandbox, words: &[&str]) -> Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let run = sandbox.run_of(program).without_env("BORG_PASSPHRASE");
    run.args(words).args(["--config", "conf/config.yaml"]).go()
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What real Borg finds in a repository, with the passphrase that was stored.
fn archives(sandbox: &Sandbox, repository: &str) -> Vec<String> {
    let passphrase = fs::read_to_string(sandbox.path("conf/passphrase")).unwrap();
    let run = sandbox
        .command(&reference())
        .env("BORG_PASSPHRASE", passphrase.trim_end())
        .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    run.args(["list", "--short", repository]).go().ok().lines()
}

/// What is left in the sandbox beside what was there.
fn left(sandbox: &Sandbox) -> Vec<String> {
    let all = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let files = all(&sandbox.path("conf"))
        .chain(all(&sandbox.path("repo")))
        .chain(all(&sandbox.home().join("fastness-keys")));
    files.map(|path| path.display().to_string()).collect()
}

/// All questions with usual answers.
fn conversation(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let repository = sandbox.path("repo").display().to_string();
    vec![
        ("Save [", "'my files' nowhere\n".to_owned()),
        ("nowhere: No such file", String::new()),
        ("Save [", "'my files'\n".to_owned()),
        ("Repository: ", "home\n".to_owned()),
        ("not empty", String::new()),
        ("Repository: ", format!("{repository}\n")),
        ("One more", "\n".to_owned()),
        ("Choose [1]: ", "3\n".to_owned()),
        ("Choose [1]: ", "2\n".to_owned()),
        ("my own: ", "n\n".to_owned()),
        ("my own: ", "\n".to_owned()),
        ("Go ahead? [Y/n]: ", "\n".to_owned()),
    ]
}

#[test]
fn a_conversation_leads_from_an_empty_home_to_a_backup() {
    let sandbox = machine();
    let steps = conversation(&sandbox);
    let steps: Vec<(&str, &str)> = steps
        .iter()
        .map(|(text, typed)| (*text, &**typed))
        .collect();
    let screen = setup(&sandbox).in_terminal(&steps).ok().out();
    let passphrase = fs::read_to_string(sandbox.path("conf/passphrase")).unwrap();
    assert_eq!(passphrase.trim_end().split(' ').count(), 7);
    assert!(screen.contains(passphrase.trim_end()) && screen.contains("90.5 bits"));
    assert!(screen.contains("fastness key confirm -c "), "{screen}");
    // Its advice is given in other words.
    assert!(!screen.contains("IMPORTANT"), "{screen}");
    let long = screen
        .split(['\r', '\n'])
        .find(|line| line.trim_end().chars().count() > 80);
    assert!(
        long.is_none_or(|line| line.contains(sandbox.root().to_str().unwrap())),
        "{long:?}"
    );
    for secret in [
        "conf/config.yaml",
        "conf/passphrase",
        "home/fastness-keys/repo.txt",
    ] {
        assert_eq!(mode(sandbox.path(secret)), 0o600, "{secret}");
    }
    assert_eq!(archives(&sandbox, "repo").len(), 1);
    // borgmatic takes the file as it is.
    let borg = reference();
    let borgmatic = borg
        .path()
        .ancestors()
        .nth(3)
        .unwrap()
        .join("borgmatic-2.1.10/bin/borgmatic");
    let run = sandbox
        .run_of(&borgmatic)
        .args(["--config", "conf/config.yaml"]);
    let _ = run.args(["config", "validate"]).go().ok();
    // What was exported is enough.
    let words = [
        "key",
        "confirm",
        "home/fastness-keys/repo.html",
        "--passphrase-file=conf/passphrase",
    ];
    let _ = fastness(&sandbox, &words).ok();
    let outcome = fastness(&sandbox, &["doctor"]).ok();
    assert!(outcome.out().contains("All is well"), "{}", outcome.out());
}

#[test]
fn an_interrupt_at_any_question_leaves_nothing() {
    let sandbox = machine();
    let all = conversation(&sandbox);
    for number in (0..all.len()).filter(|number| !all[*number].1.is_empty()) {
        let mut steps: Vec<(&str, &str)> = all[..=number]
            .iter()
            .map(|(text, typed)| (*text, &**typed))
            .collect();
        steps[number].1 = "\x03";
        let outcome = setup(&sandbox).in_terminal(&steps).exits(130);
        assert_eq!(left(&sandbox), [""; 0], "{}", outcome.out());
    }
}

#[test]
fn flags_alone_do_it_too_also_on_another_machine() {
    let sandbox = machine();
    let sshd = Sshd::start();
    let forced = format!("{} borg serve", env!("CARGO_BIN_EXE_fastness"));
    let rsh = sshd.rsh("client", Some(&forced));
    let address = sshd.address(sandbox.path("remote"));
    let words = [
        "--source=my files",
        "--encryption=keyfile-blake2",
        "--repository=repo",
    ];
    let run = setup(&sandbox)
        .args(words)
        .args(["--repository", &address, "--ssh-command", &rsh]);
    let outcome = run.go().ok();
    assert!(!outcome.out().contains("[Y/n]"), "{}", outcome.out());
    for repository in ["repo", "remote"] {
        assert_eq!(archives(&sandbox, repository).len(), 1, "{repository}");
    }
    let keys = fs::read_dir(sandbox.home().join("fastness-keys")).unwrap();
    assert_eq!(keys.count(), 4);
    // What is there stays.
    let before = fs::read_to_string(sandbox.path("conf/config.yaml")).unwrap();
    let again = setup(&sandbox).args(words).go().exits(2);
    assert!(again.err().contains("--overwrite"), "{}", again.err());
    let again = setup(&sandbox).args(words).arg("--overwrite").go().exits(2);
    assert!(
        again.err().contains("there is a repository already"),
        "{}",
        again.err()
    );
    let run = setup_in(&sandbox, "conf/other.yaml");
    let run = run.args(["--source=my files", "--encryption=none"]);
    let run = run.args(["--repository", &address, "--ssh-command", &rsh]);
    let again = run.go().exits(2);
    assert!(
        again.err().contains("there is a repository already"),
        "{}",
        again.err()
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("conf/config.yaml")).unwrap(),
        before
    );
}

#[test]
fn what_cannot_be_is_one_clear_error_and_nothing_is_written() {
    let sandbox = machine();
    let sshd = Sshd::start();
    let stranger = sshd.stranger("stranger");
    let refused = sshd.address("/x");
    fs::write(sandbox.path("file"), "").unwrap();
    let usual = [
        "--source=my files",
        "--repository=repo",
        "--encryption=none",
    ];
    for (words, told) in [
        (&[][..], "missing: --repository, --source, --encryption"),
        (&["--yes"], "missing: --repository"),
        (
            &["--yes", "--repository=ssh://127.0.0.1:1/./x"],
            "cannot be reached",
        ),
        (
            &[
                "--yes",
                "--repository",
                &refused,
                "--ssh-command",
                &stranger,
            ],
            "does not let the ssh key in",
        ),
        (
            &["--yes", "--repository=home"],
            "the directory is not empty",
        ),
        (&["--yes", "--repository=file"], "this is no directory"),
        (&["--yes", "--repository=file/x"], "nothing can be written"),
        (
            &["--yes", "--repository=repo", "--source=nowhere"],
            "nowhere: No such file",
        ),
        (
            &[
                "--yes",
                "--repository=repo",
                "--passphrase-file=/proc/passphrase",
            ],
            "/proc",
        ),
        (
            &["--yes", "--repository=repo", "--passphrase-file=file"],
            "there is no passphrase in it",
        ),
        (&["--encryption=rot13"], "rot13"),
    ] {
        fs::write(sandbox.home().join("full"), "").unwrap();
        let outcome = setup(&sandbox).args(words).go().exits(2);
        assert!(outcome.err().contains(told), "{told}: {}", outcome.err());
        assert_eq!(left(&sandbox), [""; 0], "{told}");
    }
    let outcome = setup_in(&sandbox, "file/config.yaml").args(usual).go();
    assert!(
        outcome
            .exits(2)
            .err()
            .contains("file/config.yaml: File exists")
    );
    let _ = setup(&sandbox).args(usual).arg("--no-backup").go().ok();
    assert!(!sandbox.path("conf/passphrase").exists());
}
