//! What a create leaves behind when a signal ends it, and what checkpoints are, as official Borg
//! sees them.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastness_testkit::{Borg, Sandbox, Version};
use serde_json::Value;

use crate::ours;

const PARAMS: &str = "12,16,14,4095";

/// A sandbox with a repository and a small source, and bytes that nothing compresses.
fn scene() -> (Sandbox, Borg, Vec<u8>) {
    let (mut sandbox, official) = (Sandbox::new(), Borg::official(Version::V14));
    // A test looks at a copy.
    sandbox.set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    let init = ["init", "-e", "repokey-blake2", "repository"];
    let _ = sandbox.run(&official, &init).ok();
    std::fs::create_dir(sandbox.path("source")).unwrap();
    std::fs::write(sandbox.path("source/file"), "file").unwrap();
    let mut state = 1u64;
    let mut bytes = Vec::new();
    while bytes.len() < 12 << 20 {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&(state >> 24).to_le_bytes()[..5]);
    }
    (sandbox, official, bytes)
}

/// Bytes on disk below the repository's data.
fn stored_bytes(sandbox: &Sandbox) -> u64 {
    let files = std::fs::read_dir(sandbox.path("repository/data/0")).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waiting for {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Names of all archives, checkpoints included.
fn archives(sandbox: &Sandbox, official: &Borg) -> Vec<String> {
    let list = ["list", "--consider-checkpoints", "--short", "repository"];
    sandbox.run(official, &list).ok().lines()
}

/// Ends a create by a signal while half of its input is read; returns its exit code and the last
/// line of its log.
fn ended_by(signal: &str, sandbox: &Sandbox, bytes: &[u8]) -> (i32, Value) {
    // Whoever runs the tests in the background may have them ignore the signals.
    let heard = ["env", "--default-signal=INT", "--default-signal=HUP"];
    let run = sandbox.command(&ours()).under(heard).args([
        "create",
        "--log-json",
        "--chunker-params",
        PARAMS,
        "repository::archive",
        "source",
        "-",
    ]);
    let empty = stored_bytes(sandbox);
    let mut child = run.spawn();
    let mut stdin = child.stdin.take().unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    stdin.write_all(first).unwrap();
    // A part of it is in the repository, though not committed.
    thread::sleep(Duration::from_millis(1500));
    send(signal, &child);
    thread::sleep(Duration::from_millis(300));
    // What it no longer wants breaks the pipe.
    let _ = stdin.write_all(second);
    drop(stdin);
    wait_for("the end", || child.try_wait().unwrap().is_some());
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(stored_bytes(sandbox) > empty, "{signal}: {log}");
    let last = log.lines().last().unwrap_or_default();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (
        code,
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{log}")),
    )
}

fn a_signal_leaves_a_checkpoint(signal: &str, code: i32, msgid: &str, message: &str) {
    let (sandbox, official, bytes) = scene();
    let (exit, told) = ended_by(signal, &sandbox, &bytes);
    assert_eq!(
        (exit, told["msgid"].as_str()),
        (code, Some(msgid)),
        "{told}"
    );
    assert_eq!(told["message"], message);
    assert_eq!(archives(&sandbox, &official), ["archive.checkpoint"]);
    let parts = [
        "list",
        "--consider-part-files",
        "--short",
        "repository::archive.checkpoint",
    ];
    let listed = sandbox.run(&official, &parts).ok().lines();
    assert_eq!(listed, ["source", "source/file", "stdin.borg_part_1"]);

    let again = sandbox.command(&ours()).stdin(&bytes).args([
        "create",
        "--json",
        "--chunker-params",
        PARAMS,
        "repository::archive",
        "source",
        "-",
    ]);
    let stats = again.go().ok().json()["archive"]["stats"].clone();
    let added = stats["deduplicated_size"].as_u64().unwrap();
    // Half was read, and all but the chunk under way is there already.
    assert!(added < bytes.len() as u64 * 5 / 8, "{stats}");
    // As with official Borg, the checkpoint of the run that was ended stays until it is deleted.
    assert_eq!(
        archives(&sandbox, &official),
        ["archive.checkpoint", "archive"]
    );
    let _ = sandbox
        .run(&official, &["check", "--verify-data", "repository"])
        .ok();
}

#[test]
fn an_interrupt_leaves_a_checkpoint_that_the_next_run_profits_from() {
    a_signal_leaves_a_checkpoint("-INT", 2, "Error", "Error: Got Ctrl-C / SIGINT.");
}

#[test]
fn sigterm_leaves_a_checkpoint_that_the_next_run_profits_from() {
    a_signal_leaves_a_checkpoint("-TERM", 143, "Signal.SIGTERM", "Received SIGTERM");
}

#[test]
fn sighup_leaves_a_checkpoint_that_the_next_run_profits_from() {
    a_signal_leaves_a_checkpoint("-HUP", 129, "Signal.SIGHUP", "Received SIGHUP.");
}

#[test]
fn checkpoints_of_a_big_file_are_parts_that_disappear_from_lists_with_the_end() {
    let (sandbox, official, bytes) = scene();
    let run = sandbox.command(&ours()).args([
        "create",
        "--checkpoint-interval",
        "1",
        "--chunker-params",
        PARAMS,
        "repository::archive",
        "-",
    ]);
    let mut child = run.spawn();
    let mut stdin = child.stdin.take().unwrap();
    let mut seen = Vec::new();
    for piece in bytes.chunks(bytes.len() / 4 + 1) {
        stdin.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(1200));
        // What a crash would leave: the repository as it is committed by now.
        let copy = sandbox.path("copy");
        let _ = std::fs::remove_dir_all(&copy);
        if Command::new("cp")
            .arg("-a")
            .arg(sandbox.path("repository"))
            .arg(&copy)
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {
            let list = [
                "--bypass-lock",
                "list",
                "--consider-checkpoints",
                "--short",
                "copy",
            ];
            let listed = sandbox.command(&official).args(list).go();
            seen.extend(listed.lines());
        }
    }
    drop(stdin);
    wait_for("the end", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    assert!(
        seen.iter().any(|name| name == "archive.checkpoint"),
        "{seen:?}"
    );
    assert_eq!(archives(&sandbox, &official), ["archive"]);
    let short = ["list", "--short", "repository::archive"];
    assert_eq!(sandbox.run(&official, &short).ok().lines(), ["stdin"]);
    let format = [
        "list",
        "--consider-part-files",
        "--format",
        "{path} {size}{NL}",
        "repository::archive",
    ];
    let listed = sandbox.run(&official, &format).ok().lines();
    let (parts, whole): (Vec<_>, Vec<_>) =
        listed.iter().partition(|line| line.contains(".borg_part_"));
    assert!(parts.len() >= 2 && whole.len() == 1, "{listed:?}");
    let size = |line: &String| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(parts.into_iter().map(size).sum::<u64>(), bytes.len() as u64);
    assert_eq!(size(whole[0]), bytes.len() as u64);
    let _ = sandbox
        .run(&official, &["check", "--verify-data", "repository"])
        .ok();
    let extract = ["extract", "--stdout", "repository::archive", "stdin"];
    assert!(sandbox.run(&official, &extract).ok().stdout == bytes);
}
