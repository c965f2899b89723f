//! Whole runs against a Borg that only writes down what it is asked: the same commands as real
//! borgmatic (`testdata/borgmatic/calls`), and what people see.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::borg::Invocation;
use super::*;
use crate::output::log::tests::Buffer;
use crate::plan::call::quoted;

/// Writes down what it is asked, and answers like the fake Borg of `testdata/borgmatic/record`.
#[derive(Clone, Default)]
struct Recorder {
    calls: Arc<Mutex<Vec<String>>>,
    /// Exit codes and words on stderr for commands that begin so.
    answers: Vec<(&'static str, u8, &'static str)>,
    top: PathBuf,
}

impl Recorder {
    fn note(&self, invocation: &Invocation) {
        let mut words: Vec<String> = invocation
            .variables
            .iter()
            .filter(|(name, _)| name.as_bytes().starts_with(b"BORG_") || *name == "TMPDIR")
            .filter(|(name, _)| *name != "BORG_EXIT_CODES")
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        if let Some(passphrase) = &invocation.passphrase {
            words.push(format!("(passphrase {})", passphrase.reveal()));
        }
        words.push("borg".into());
        words.extend(invocation.arguments.iter().map(|word| quoted(word)));
        let mut calls = self.calls.lock().unwrap();
        calls.push(words.join(" "));
        let mut arguments = invocation.arguments.iter();
        while let Some(word) = arguments.next() {
            if word == "--patterns-from" {
                let text = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
                calls.extend(text.lines().map(|line| format!("| {line}")));
            }
        }
        if let Some(directory) = invocation
            .directory
            .as_ref()
            .filter(|path| **path != self.top)
        {
            calls.push(format!("in {}", directory.display()));
        }
    }

    fn answer(arguments: &[String]) -> String {
        let has = |flag: &str| arguments.iter().any(|word| word == flag);
        match (arguments[0].as_str(), has("--json")) {
            ("info", true) => {
                let id = "ab".repeat(32);
                format!(r#"{{"repository": {{"id": "{id}"}}, "encryption": {{"mode": "none"}}}}"#)
            }
            ("list", true) => {
                r#"{"archives": [{"name": "host-newest"}], "repository": {"id": "x"}}"#.into()
            }
            ("list", false) if has("--short") => "host-one\nhost-two\n".into(),
            ("create", true) => r#"{"archive": {"name": "host-new", "stats": {"nfiles": 3210, "original_size": 1200000000, "deduplicated_size": 14100000}}}"#.into(),
            (_, true) => "{}".into(),
            _ => String::new(),
        }
    }
}

impl Borg for Recorder {
    fn run(&self, mut invocation: Invocation) -> std::io::Result<u8> {
        self.note(&invocation);
        let line = invocation.arguments.join(" ");
        for (start, code, said) in &self.answers {
            if line.starts_with(start) {
                invocation.stderr.write_all(said.as_bytes())?;
                return Ok(*code);
            }
        }
        let answer = Self::answer(&invocation.arguments);
        invocation.stdout.write_all(answer.as_bytes())?;
        Ok(0)
    }
}

/// A place for one run: a home, a tree to save, a configuration.
struct Place {
    directory: tempfile::TempDir,
    recorder: Recorder,
    person: bool,
    slept: Arc<Mutex<Vec<u64>>>,
    now: SystemTime,
}

struct Ran {
    code: u8,
    calls: String,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().to_owned();
        for name in ["home", "run", "tree/one", "tree/two", "tree/.hidden"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        std::fs::write(top.join("excludes"), "# comment\n*.bak\n\nsh:**/x\n").unwrap();
        let place = Self {
            directory,
            recorder: Recorder {
                top,
                ..Recorder::default()
            },
            person: false,
            slept: Arc::default(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
        };
        std::fs::write(place.config(), config.replace("TOP", &place.top())).unwrap();
        place
    }

    fn top(&self) -> String {
        self.directory.path().to_str().unwrap().to_owned()
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config.yaml")
    }

    fn answering(mut self, start: &'static str, code: u8, said: &'static str) -> Self {
        self.recorder.answers.push((start, code, said));
        self
    }

    fn world(&self) -> World {
        let (slept, now) = (Arc::clone(&self.slept), self.now);
        let top = self.top();
        let variables = [
            ("HOME", format!("{top}/home")),
            ("XDG_RUNTIME_DIR", format!("{top}/run")),
            ("SECRET", "from the environment".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        World {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            borg: Box::new(self.recorder.clone()),
            person: self.person,
            columns: None,
            now: Box::new(move || now),
            weekday: Box::new(|| "Monday".to_owned()),
            random: Box::new(|| 0),
            sleep: Box::new(move |time| slept.lock().unwrap().push(time.as_secs())),
            unique: Box::new(|| "x".to_owned()),
        }
    }

    fn run(&self, arguments: &str) -> Ran {
        let top = self.top();
        let config = self.config();
        let mut words = vec!["-c".to_owned(), config.to_str().unwrap().to_owned()];
        words.extend(shlex::split(&arguments.replace("TOP", &top)).unwrap());
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let outputs = (Box::new(stdout.clone()), Box::new(stderr.clone()));
        self.recorder.calls.lock().unwrap().clear();
        let code = run("fastness", &words, &self.world(), outputs.0, outputs.1);
        let tidy = |text: String| {
            text.replace(
                &format!("{top}/run/borgmatic-x/./borgmatic/patterns-x"),
                "PATTERNS",
            )
            .replace(&format!("{top}/run/borgmatic-x"), "RUNTIME")
            .replace(&top, "TOP")
        };
        let calls = self.recorder.calls.lock().unwrap().join("\n");
        Ran {
            code,
            calls: tidy(calls),
            stdout: tidy(stdout.text()),
            stderr: tidy(stderr.text()),
        }
    }
}

/// The three parts of a recorded case.
fn parts(text: &str) -> [String; 3] {
    let (arguments, rest) = text.split_once("config:\n").unwrap();
    let (config, calls) = rest.split_once("calls:\n").unwrap();
    [
        arguments.strip_prefix("arguments:\n").unwrap(),
        config,
        calls,
    ]
    .map(|part| {
        let lines = part
            .lines()
            .map(|line| line.strip_prefix("    ").unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn borg_is_called_as_borgmatic_calls_it() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/borgmatic/calls");
    let mut compared = 0;
    for entry in std::fs::read_dir(cases).unwrap() {
        let path = entry.unwrap().path();
        let [arguments, config, expected] = parts(&std::fs::read_to_string(&path).unwrap());
        let mut place = Place::new(&config);
        if arguments.starts_with("repo-create") {
            place = place.answering("info", 2, "");
        }
        let ran = place.run(&arguments);
        assert_eq!(
            ran.calls.trim_end(),
            expected.trim_end(),
            "{}\n{}",
            path.display(),
            ran.stderr
        );
        assert_eq!(ran.code, 0, "{}\n{}", path.display(), ran.stderr);
        compared += 1;
    }
    assert!(compared >= 26, "{compared}");
}

const TWO: &str = "repositories:\n    - path: TOP/one\n      label: one\n    - path: TOP/two\n      label: two\nsource_directories: [TOP/tree]\n";

#[test]
fn a_run_without_trouble_is_silent() {
    let ran = Place::new(TWO).run("");
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "")
    );
}

#[test]
fn a_run_tells_its_steps_when_asked() {
    let ran = Place::new(TWO).run("-v 1 --repository one");
    insta::assert_snapshot!(ran.stdout, @r"
        one: Creating archive
        one: Compacting segments
        one: Running consistency checks

        summary:
        TOP/config.yaml: Successfully ran configuration file
        ");
}

#[test]
fn a_person_is_told_what_was_done() {
    let mut place = Place::new(TWO);
    place.person = true;
    let ran = place.run("");
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(ran.stdout, @r"
        one (TOP/one)
          create      host-new: 3,210 files, 1.20 GB, 14.1 MB new  (0:00)
          compact     done  (0:00)
          check       repository, archives: no problems found  (0:00)
        two (TOP/two)
          create      host-new: 3,210 files, 1.20 GB, 14.1 MB new  (0:00)
          compact     done  (0:00)
          check       nothing due for 30 days  (0:00)
        ");
}

#[test]
fn a_repository_that_fails_does_not_stop_the_other() {
    let said = "{\"type\": \"log_message\", \"levelname\": \"ERROR\", \"message\": \"Repository TOP/one does not exist.\", \"msgid\": \"Repository.DoesNotExist\"}\n";
    let mut place = Place::new(TWO);
    let top: &'static str = Box::leak(place.top().into_boxed_str());
    let start: &'static str = Box::leak(
        format!("prune --glob-archives {{hostname}}-* --log-json {top}/one").into_boxed_str(),
    );
    place = place.answering(start, 13, said);
    let ran = place.run("prune");
    assert_eq!(ran.code, 1);
    assert!(ran.calls.contains("TOP/two"), "{}", ran.calls);
    insta::assert_snapshot!(ran.stderr, @r#"
        Repository TOP/one does not exist.
        one: Error running actions for repository
        one: Command 'borg prune --glob-archives '{hostname}-*' --log-json TOP/one' returned non-zero exit status 13.

        summary:
        TOP/config.yaml: An error occurred
        one: Error running actions for repository
        Repository TOP/one does not exist.
        Command 'borg prune --glob-archives '{hostname}-*' --log-json TOP/one' returned non-zero exit status 13.
        The action repo-create makes the repository; a wrong path is corrected in "repositories".
        "#);
}

#[test]
fn a_failing_repository_is_tried_again_later_each_time() {
    let config = format!("{TWO}retries: 2\nretry_wait: 10\n");
    let place = Place::new(&config).answering("prune", 2, "");
    let ran = place.run("prune --repository one");
    assert_eq!(ran.code, 1);
    assert_eq!(ran.calls.lines().count(), 3);
    assert_eq!(*place.slept.lock().unwrap(), [10, 20]);
}

#[test]
fn a_failing_action_ends_those_after_it_for_its_repository() {
    let ran = Place::new(TWO).answering("create", 2, "").run("");
    assert_eq!(ran.code, 1);
    let lines: Vec<_> = ran
        .calls
        .lines()
        .filter(|line| line.starts_with("borg"))
        .collect();
    assert_eq!(lines.len(), 2, "{}", ran.calls);
}

#[test]
fn warnings_of_borg_are_told_and_are_no_errors() {
    let ran = Place::new(TWO).answering("create", 100, "").run("create");
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.contains("Treating exit code 100"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_signal_ends_the_whole_run() {
    let ran = Place::new(TWO).answering("prune", 130, "").run("prune");
    assert_eq!(ran.code, 130);
    assert!(!ran.calls.contains("TOP/two"));
}

#[test]
fn checks_run_when_they_are_due_and_not_before() {
    let mut place = Place::new(&format!(
        "{TWO}checks:\n    - name: repository\n      frequency: 2 weeks\n    - name: archives\n      frequency: 1 day\n"
    ));
    let flags = |ran: &Ran| -> Vec<String> {
        let checks = ran
            .calls
            .lines()
            .filter(|line| line.starts_with("borg check"));
        checks
            .map(|line| line.split(' ').nth(2).unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        flags(&place.run("check --repository one")),
        ["--glob-archives"]
    );
    assert_eq!(flags(&place.run("check --repository one")), [""; 0]);
    let ran = place.run("check --repository one -v 1");
    insta::assert_snapshot!(ran.stdout, @r"
        one: Running consistency checks
        one: Skipping repository check due to configured frequency; 14 days until next check (use --force to check anyway)
        one: Skipping archives check due to configured frequency; 1 day until next check (use --force to check anyway)

        summary:
        TOP/config.yaml: Successfully ran configuration file
        ");
    place.now += Duration::from_secs(86_400);
    assert_eq!(
        flags(&place.run("check --repository one")),
        ["--archives-only"]
    );
    place.now += Duration::from_secs(14 * 86_400);
    assert_eq!(
        flags(&place.run("check --repository one")),
        ["--glob-archives"]
    );
    assert_eq!(
        flags(&place.run("check --repository one --force")),
        ["--glob-archives"]
    );
}

#[test]
fn a_failed_check_is_not_recorded_as_done() {
    let place = Place::new(TWO).answering("check", 1, "");
    assert_eq!(place.run("check --repository one").code, 1);
    let ran = place.run("check --repository one");
    assert!(ran.calls.contains("borg check"), "{}", ran.calls);
}

#[test]
fn json_results_are_one_array_with_labels() {
    let ran = Place::new(TWO).run("repo-list --json");
    insta::assert_snapshot!(ran.stdout, @r#"[{"archives": [{"name": "host-newest"}], "repository": {"id": "x", "label": "one"}}, {"archives": [{"name": "host-newest"}], "repository": {"id": "x", "label": "two"}}]"#);
}

#[test]
fn an_existing_repository_is_left_alone() {
    let place = Place::new(TWO);
    let ran = place.run("repo-create -e none -v 1 --repository one");
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(ran.stdout, @r"
        one: Creating repository
        one: Repository already exists. Skipping creation.

        summary:
        TOP/config.yaml: Successfully ran configuration file
        ");
    let ran = place.run("repo-create -e repokey --repository one");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("does not match existing"),
        "{}",
        ran.stderr
    );
}

#[test]
fn configuration_errors_are_told_and_end_with_one() {
    let ran = Place::new("keep_dayly: 3\n").run("");
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.stderr, @r#"

        summary:
        TOP/config.yaml: Error parsing configuration file
        TOP/config.yaml:1: unknown option "keep_dayly"; did you mean "keep_daily"?
        TOP/config.yaml:1: the option "repositories" is required
        TOP/config.yaml: No valid configuration files found
        "#);
}

#[test]
fn validation_tells_what_is_wrong_or_that_nothing_is() {
    let ran = Place::new(TWO).run("config validate --show");
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(ran.stdout, @r"
        repositories:
            - label: one
              path: TOP/one
            - label: two
              path: TOP/two
        source_directories:
            - TOP/tree

        summary:
        All configuration files are valid
        ");
    let ran = Place::new("repositories: 3\n").run("config validate");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("Configuration validation failed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_unknown_repository_is_an_error() {
    let ran = Place::new(TWO).run("list --repository three");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("Repository \"three\" not found"),
        "{}",
        ran.stderr
    );
}

#[test]
fn nothing_of_a_run_is_left_in_the_runtime_directory() {
    let place = Place::new(TWO);
    assert_eq!(place.run("create").code, 0);
    let left = std::fs::read_dir(place.directory.path().join("run"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn a_missing_source_ends_the_create_before_borg_begins() {
    let config = TWO.replace("TOP/tree", "TOP/nowhere");
    let ran = Place::new(&config).run("create --repository one");
    assert_eq!((ran.code, ran.calls.as_str()), (1, ""));
    assert!(
        ran.stderr.contains("do not exist: TOP/nowhere"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_failing_passphrase_command_is_an_error_without_its_output() {
    let config = format!("{TWO}encryption_passcommand: sh -c 'echo secret; exit 3'\n");
    let ran = Place::new(&config).run("repo-info --repository one");
    assert_eq!((ran.code, ran.calls.as_str()), (1, ""));
    assert!(ran.stderr.contains("exit status: 3"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret\n"), "{}", ran.stderr);
}

#[test]
fn default_actions_can_be_switched_off() {
    let ran = Place::new(&format!("{TWO}default_actions: false\n")).run("");
    assert_eq!((ran.code, ran.calls.as_str()), (0, ""));
    assert!(ran.stdout.contains("Usage:"));
}

mod hooks;
