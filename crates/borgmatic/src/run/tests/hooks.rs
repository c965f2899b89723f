//! Hooks around a run, in the order in which borgmatic 2.1.10 ran the same ones, and credentials.

use super::*;

const HOOKED: &str = "repositories:\n    - path: TOP/one\n      label: one\n    - path: TOP/two\nsource_directories: [TOP/tree]\ncommands:\n";

/// A hook at every point, each of which tells where it stands; `extra` comes first.
fn hooked(extra: &str) -> String {
    let mut text = HOOKED.to_owned();
    text.push_str(extra);
    for scope in ["everything", "configuration", "repository", "action"] {
        text.push_str(&format!(
            "    - before: {scope}\n      run: ['echo before {scope}']\n    - after: {scope}\n      states: [finish]\n      run: ['echo after {scope}']\n    - after: {scope}\n      states: [fail]\n      run: ['echo failed {scope}']\n"
        ));
    }
    text.push_str(
        "    - after: error\n      run: ['echo error in {repository_label}: {error} {output}']\n",
    );
    text
}

#[test]
fn hooks_run_around_everything_file_repository_and_action() {
    let ran = Place::new(&hooked("")).run("create --repository one");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ran.stdout, @r"
        before everything
        before configuration
        before repository
        before action
        after action
        after repository
        after configuration
        after everything
        ");
}

#[test]
fn a_failing_action_runs_the_hooks_for_failures_and_errors() {
    let place = Place::new(&hooked("")).answering("create", 2, "no space left\n");
    let ran = place.run("create --repository one");
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.stdout, @r"
        before everything
        before configuration
        before repository
        before action
        failed action
        failed repository
        failed configuration
        failed everything
        ");
    let told = "error in one: Command 'borg create";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("returned non-zero exit status 2. no space left\n")
    );
}

#[test]
fn a_soft_failure_skips_one_repository_and_is_no_error() {
    let soft = "    - before: action\n      run: ['test {repository} != TOP/one || exit 75']\n";
    let ran = Place::new(&hooked(soft)).run("create");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(!ran.calls.contains("TOP/one::"), "{}", ran.calls);
    assert!(ran.calls.contains("TOP/two::"), "{}", ran.calls);
    insta::assert_snapshot!(ran.stdout, @r"
        before everything
        before configuration
        before repository
        failed repository
        before repository
        before action
        after action
        after repository
        after configuration
        after everything
        ");
}

#[test]
fn a_failing_hook_fails_the_run_after_its_retries_and_cleans_up() {
    let failing = "    - before: action\n      run: ['echo broken; exit 3']\n";
    let text = hooked(failing) + "retries: 1\n";
    let ran = Place::new(&text).run("create --repository one");
    assert_eq!(ran.code, 1);
    assert_eq!(ran.calls, "");
    assert_eq!(ran.stdout.matches("failed action").count(), 2);
    assert!(ran.stderr.contains("Retrying... attempt 1/1"));
    let told = "Error running before action hook: Command 'echo broken; exit 3' returned non-zero exit status 3.";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
}

#[test]
fn dry_runs_run_no_hooks() {
    let ran = Place::new(&hooked("")).run("--dry-run create");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
}

#[test]
fn a_credential_is_the_passphrase_and_its_failure_is_told() {
    let config = "encryption_passphrase: '{credential file TOP/excludes}'\nrepositories: [{path: TOP/one}]\nsource_directories: [TOP/tree]\n";
    let ran = Place::new(config).run("create");
    assert!(
        ran.calls.contains("(passphrase # comment\n"),
        "{}",
        ran.calls
    );
    let ran = Place::new(&config.replace("excludes", "nowhere")).run("create");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("Cannot load credential file TOP/nowhere"),
        "{}",
        ran.stderr
    );
}
