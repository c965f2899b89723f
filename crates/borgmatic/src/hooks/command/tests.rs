//! Commands of hooks, run for real: what they get, what becomes of their output and their end.

use super::*;
use crate::config::load::load_text;
use crate::output::log::tests::{Buffer, log};

fn hook(text: &str) -> CommandHook {
    CommandHook::read(&load_text(text, "").unwrap()).unwrap()
}

struct Ran {
    result: Result<(), CommandError>,
    stdout: Buffer,
    stderr: Buffer,
}

fn run(text: &str, change: impl FnOnce(&mut Shell<'_>)) -> Ran {
    let (log, stdout, stderr) = log(0);
    let environment = std::env::vars_os().collect();
    let mut shell = Shell {
        directory: PathBuf::new(),
        umask: None,
        dry_run: false,
        environment: &environment,
        variables: vec![("repository", "a 'b'; c".to_owned())],
        log,
    };
    change(&mut shell);
    let result = shell.run(&hook(text));
    Ran {
        result,
        stdout,
        stderr,
    }
}

#[test]
fn output_goes_to_the_log_by_its_kind() {
    let ran = run(
        "{before: action, run: ['echo out; echo Warning: odd >&2; echo bad >&2', 'printf last']}",
        |_| {},
    );
    assert!(ran.result.is_ok());
    assert_eq!(ran.stdout.text(), "out\nlast\n");
    assert_eq!(ran.stderr.text(), "Warning: odd\nbad\n");
}

#[test]
fn values_are_quoted_and_unknown_names_stay() {
    let ran = run(
        r"{before: action, run: ['echo {repository} \{repository\} {nobody} {now}']}",
        |_| {},
    );
    assert_eq!(ran.stdout.text(), "a 'b'; c {repository} {nobody} {now}\n");
    assert_eq!(
        ran.stderr.text(),
        "Variable \"nobody\" is not supported in the before action hook\n"
    );
}

#[test]
fn a_failing_command_ends_its_hook() {
    let ran = run(
        "{after: error, run: ['echo why; exit 3', 'echo more']}",
        |_| {},
    );
    match ran.result {
        Err(CommandError::Failed { code, output, .. }) => {
            assert_eq!((code, output), (3, vec!["why".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(ran.stderr.text(), "why\n");
    let soft = run("{before: action, run: ['exit 75']}", |_| {});
    assert!(matches!(soft.result, Err(CommandError::Soft { .. })));
    let killed = run("{before: action, run: ['kill -9 $$']}", |_| {});
    assert!(matches!(killed.result, Err(CommandError::Killed { .. })));
}

#[test]
fn directory_and_umask_hold_for_commands_and_dry_runs_do_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let ran = run("{before: action, run: ['pwd; umask']}", |shell| {
        shell.directory = path.clone();
        shell.umask = Some(77);
    });
    assert_eq!(ran.stdout.text(), format!("{}\n0077\n", path.display()));
    let dry = run("{before: action, run: ['touch made']}", |shell| {
        shell.directory = path.clone();
        shell.dry_run = true;
    });
    assert!(dry.result.is_ok());
    assert!(!path.join("made").exists());
    let missing = run("{before: action, run: ['true']}", |shell| {
        shell.directory = path.join("nowhere");
    });
    assert!(matches!(missing.result, Err(CommandError::Start { .. })));
}

#[test]
fn megabytes_without_a_line_end_are_cut_and_something_left_running_holds_nothing_up() {
    let ran = run(
        "{before: action, run: ['head -c 300000 /dev/zero | tr \"\\0\" x', 'sleep 5 & echo done']}",
        |_| {},
    );
    assert!(ran.result.is_ok());
    let text = ran.stdout.text();
    let longest = text.lines().map(str::len).max().unwrap();
    assert_eq!(longest, LINE_BYTES);
    assert_eq!(text.len(), 300_000 + 5 + "done\n".len());
}

#[test]
fn hooks_apply_by_point_action_and_state() {
    let hook = hook("{after: action, when: [create, prune], states: [fail], run: ['true']}");
    let applies = |side, scope, actions: &[&str], state| hook.applies(side, scope, actions, state);
    assert!(applies(
        Side::After,
        Scope::Action,
        &["create"],
        State::Fail
    ));
    assert!(!applies(
        Side::After,
        Scope::Action,
        &["create"],
        State::Finish
    ));
    assert!(!applies(
        Side::After,
        Scope::Action,
        &["check"],
        State::Fail
    ));
    assert!(!applies(
        Side::Before,
        Scope::Action,
        &["create"],
        State::Fail
    ));
    assert!(!applies(
        Side::After,
        Scope::Repository,
        &["create"],
        State::Fail
    ));
    assert_eq!(hook.description(), "after create/prune action");
}
