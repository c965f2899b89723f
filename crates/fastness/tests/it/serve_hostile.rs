//! Clients that want more than they may have, at our `serve` and at official Borg's.
//!
//! Each row runs against both servers in worlds of the same shape; what they answer, how they end
//! and what is on the disk afterwards must agree. Deviations are named in the rows.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};

use fastness_format::id::ChunkId;
use fastness_format::rpc::{Answer, Call, Form, Inbox, Open, Request, Response, Version};
use fastness_testkit::{Borg, Sandbox, Tree};

use crate::{ours, reference};

/// What a server said to one call.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    /// It did it.
    Done,
    /// It gave these bytes, or this number.
    Gave(Vec<u8>),
    /// It refused with an exception of this class.
    Refused(String),
    /// It was gone.
    Nothing,
}

/// A server and the pipes to it.
struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    inbox: Inbox,
    next: i64,
}

/// A directory with what a client may have, and what it may not.
///
/// ```text
/// allowed/repo  allowed/way-out -> ../secret   alias -> allowed
/// allowed-too/repo  secret/repo
/// ```
struct World {
    sandbox: Sandbox,
    server: Borg,
}

impl World {
    fn new(server: Borg) -> World {
        let sandbox = Sandbox::new();
        for directory in ["allowed", "allowed-too", "secret"] {
            let place = sandbox.directory(directory).join("repo");
            let place = place.display().to_string();
            let init = ["init", "--encryption", "none", &place];
            drop(sandbox.run(&reference(), &init).ok());
        }
        symlink("../secret", sandbox.path("allowed/way-out")).unwrap();
        symlink("allowed", sandbox.path("alias")).unwrap();
        World { sandbox, server }
    }

    /// Worlds of the same shape, with Borg's server and with ours.
    fn both() -> [World; 2] {
        [World::new(reference()), World::new(ours())]
    }

    fn is_ours(&self) -> bool {
        !self.server.is_official()
    }

    /// Starts a server. `@` in its arguments and in the client's command is the world's directory.
    fn serve(&self, arguments: &str, wanted: Option<&str>) -> Session {
        let here = self.sandbox.root().display().to_string();
        let words = arguments.replace('@', &here);
        let mut run = self.sandbox.run_of(self.server.path()).arg("serve");
        run = run.args(words.split_whitespace());
        if let Some(wanted) = wanted {
            run = run.env("SSH_ORIGINAL_COMMAND", wanted.replace('@', &here));
        }
        let mut child = run.spawn();
        Session {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().expect("stdout is piped"),
            child,
            inbox: Inbox::new(),
            next: 0,
        }
    }

    fn path(&self, path: &str) -> Vec<u8> {
        let here = self.sandbox.root().display().to_string();
        path.replace('@', &here).into_bytes()
    }

    /// What nobody may touch.
    fn forbidden(&self) -> [Tree; 2] {
        ["secret", "allowed-too"].map(|name| Tree::read(&self.sandbox.path(name)))
    }
}

impl Session {
    fn send(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            // A server that has ended takes nothing.
            let _ = stdin.write_all(bytes);
        }
    }

    fn call(&mut self, call: &Call<'_>) -> Said {
        let form = match call {
            Call::Negotiate(_) => Form::Positional,
            _ => Form::Named,
        };
        self.next += 1;
        let mut message = Vec::new();
        Request::encode(form, self.next, call, &mut message);
        self.send(&message);
        self.answer()
    }

    fn answer(&mut self) -> Said {
        loop {
            match self.inbox.next_message() {
                Ok(Some(message)) => {
                    let Ok(response) = Response::decode(message) else {
                        return Said::Nothing;
                    };
                    return match response.outcome {
                        Ok(Answer::Nil | Answer::Negotiated(_)) => Said::Done,
                        Ok(Answer::Raw(bytes)) => Said::Gave(bytes.to_vec()),
                        Ok(other) => Said::Gave(format!("{other:?}").into_bytes()),
                        Err(failure) => Said::Refused(failure.class),
                    };
                }
                Ok(None) => {}
                Err(_) => return Said::Nothing,
            }
            match self.stdout.read(self.inbox.room()) {
                Ok(0) | Err(_) => return Said::Nothing,
                Ok(count) => self.inbox.arrived(count),
            }
        }
    }

    fn greet(&mut self) -> Said {
        self.call(&Call::Negotiate(Some(Version::release(1, 4, 5))))
    }

    fn open(&mut self, path: &[u8], create: bool) -> Said {
        self.call(&Call::Open(Open {
            create,
            exclusive: Some(true),
            lock_wait: Some(1.0),
            ..Open::of(path)
        }))
    }

    /// Closes the pipe and returns the exit code and what went to stderr.
    fn end(mut self) -> (i32, String) {
        drop(self.stdin.take());
        let mut text = String::new();
        let stderr = self.child.stderr.as_mut().expect("stderr is piped");
        let _ = stderr.read_to_string(&mut text);
        let status = self.child.wait().unwrap();
        assert!(!text.contains("panicked"), "{text}");
        (status.code().unwrap_or(-1), text)
    }
}

/// Only tells whether it was done: ids of new repositories differ.
fn done(said: Said) -> Said {
    match said {
        Said::Gave(_) => Said::Done,
        other => other,
    }
}

/// Paths of clients, with the rules of the server, and whether they may open (`+`) or create (`*`).
const PATHS: [(&str, &[(&str, char)]); 4] = [
    (
        "--restrict-to-path @/allowed",
        &[
            ("@/allowed/repo", '+'),
            ("@/allowed//repo/", '+'),
            ("@/allowed/./repo", '+'),
            ("@/alias/repo", '+'),
            ("/./allowed/repo", '+'),
            ("allowed/repo", '+'),
            ("@/secret/../allowed/new/../repo", '+'),
            ("@/allowed/new", '*'),
            ("@/allowed-too/repo", '-'),
            ("@/allowed-too/new", '-'),
            ("@/secret/repo", '-'),
            ("@/allowed/../secret/repo", '-'),
            ("@/allowed/../secret/new", '-'),
            ("@/allowed/way-out/repo", '-'),
            ("@/allowed/way-out/new", '-'),
            ("@/alias/way-out/repo", '-'),
            ("@/allowed/missing/../../secret/repo", '-'),
            ("@//secret//repo", '-'),
            ("/./secret/repo", '-'),
            ("/./allowed/../secret/repo", '-'),
            ("/.//@/secret/repo", '-'),
            ("secret/repo", '-'),
            ("~/repo", '-'),
            ("/~/../secret/repo", '-'),
            ("/~root/repo", '-'),
            ("", '-'),
            ("/", '-'),
            (".", '-'),
        ],
    ),
    (
        "--restrict-to-repository @/alias/repo",
        &[
            ("@/allowed/repo", '+'),
            ("@/alias/../allowed/repo", '+'),
            ("@/allowed", '-'),
            ("@/allowed/repo/data", '-'),
            ("@/allowed/repo/below", '-'),
            ("@/allowed/repo2", '-'),
            ("@/secret/repo", '-'),
        ],
    ),
    (
        "--restrict-to-path @/allowed --restrict-to-repository @/secret/repo",
        &[("@/allowed/repo", '-'), ("@/secret/repo", '-')],
    ),
    (
        "--restrict-to-path @/nowhere --restrict-to-path @/allowed/",
        &[("@/allowed/repo", '+'), ("@/nowhere-else/x", '-')],
    ),
];

#[test]
fn no_path_leads_out_of_what_is_allowed() {
    for world in World::both() {
        let before = world.forbidden();
        for (rules, paths) in PATHS {
            let mut refusing = world.serve(rules, None);
            assert_eq!(refusing.greet(), Said::Done);
            for &(path, may) in paths {
                let about = format!("{} {rules}: {path}", world.server.label());
                let bytes = world.path(path);
                if may == '-' {
                    let refused = Said::Refused("PathNotAllowed".into());
                    for create in [false, true] {
                        assert_eq!(refusing.open(&bytes, create), refused, "{about}");
                    }
                    continue;
                }
                let mut session = world.serve(rules, None);
                let said = session.open(&bytes, may == '*');
                assert_eq!(done(said), Said::Done, "{about}");
                assert_eq!(session.end().0, 0, "{about}");
            }
            assert_eq!(refusing.end().0, 0, "{rules}");
        }
        for (before, after) in before.iter().zip(world.forbidden()) {
            before.assert_same(&after, world.server.label());
        }
    }
}

/// Commands of clients in place of which a forced one runs: whether the server runs at all, and
/// with which exit code it ends.
const WANTED: [&str; 17] = [
    "borg serve",
    "borg serve --restrict-to-path /",
    "borg serve --restrict-to-repository @/secret/repo",
    "borg serve --restrict-to-path=/ --restrict-to-path @/secret",
    "borg serve --append-only --storage-quota=0",
    "borg serve --umask 0000",
    "BORG_BASE_DIR=/ X=y /usr/local/bin/borg serve --restrict-to-path /",
    "borg --umask=0000 serve --debug",
    "borg serve --info --lock-wait 3 --debug-topic=repository.compaction",
    "borg list @/secret/repo",
    "borg init --encryption none @/secret/new",
    "borg serve --no-such-option",
    "borg serve --bypass-lock",
    "/bin/sh -c id",
    "scp -t /",
    "borg serve 'no end",
    "borg serve --storage-quota nonsense",
];

#[test]
fn what_clients_ask_for_changes_nothing_that_the_forced_command_says() {
    let forced = "--restrict-to-repository @/allowed/repo --umask 0027";
    let [reference, ours] = World::both();
    for wanted in WANTED {
        let [theirs, own] = [&reference, &ours].map(|world| {
            let before = world.forbidden();
            let mut session = world.serve(forced, Some(wanted));
            let greeting = session.greet();
            let secret = session.open(&world.path("@/secret/repo"), false);
            let allowed = done(session.open(&world.path("@/allowed/repo"), false));
            let (code, log) = session.end();
            for (before, after) in before.iter().zip(world.forbidden()) {
                before.assert_same(&after, wanted);
            }
            let detailed = greeting == Said::Done && log.contains("\"levelname\": \"DEBUG\"");
            (greeting, secret, allowed, code, detailed)
        });
        assert_eq!(own, theirs, "{wanted}");
        assert_ne!(own.1, Said::Done, "{wanted}");
    }
}

#[test]
fn a_client_that_names_this_program_in_full_is_understood() {
    let world = World::new(ours());
    let wanted = "fastness borg serve --debug --restrict-to-path /";
    let mut session = world.serve("--restrict-to-path @/allowed", Some(wanted));
    assert_eq!(session.greet(), Said::Done);
    let refused = Said::Refused("PathNotAllowed".into());
    assert_eq!(session.open(&world.path("@/secret/repo"), false), refused);
    let (code, log) = session.end();
    assert_eq!(code, 0);
    assert!(log.contains("\"levelname\": \"DEBUG\""), "{log}");
}

#[test]
fn a_quota_and_append_only_mode_come_from_the_forced_command_alone() {
    let wanted = "borg serve --append-only --storage-quota=20M --umask=0000";
    for world in World::both() {
        let about = world.server.label().to_owned();
        let mut session = world.serve("--umask 0027", Some(wanted));
        let made = session.open(&world.path("@/allowed/mine"), true);
        assert_eq!(done(made), Said::Done, "{about}");
        assert_eq!(session.end().0, 0, "{about}");
        let place = world.sandbox.path("allowed/mine");
        let config = fs::read_to_string(place.join("config")).unwrap();
        for line in ["append_only = 0", "storage_quota = 0"] {
            assert!(config.contains(line), "{about}: {config}");
        }
        let mode = fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750, "{about}");
        // Neither is it append-only for this client.
        let mut session = world.serve("", Some(wanted));
        let _ = session.open(&world.path("@/allowed/mine"), false);
        assert_eq!(session.call(&Call::Destroy), Said::Done, "{about}");
        assert_eq!(session.end().0, 0, "{about}");
        assert!(!place.exists(), "{about}");
    }
}

#[test]
fn an_append_only_server_removes_nothing_whoever_asks() {
    let wanted = "borg serve --storage-quota 0";
    for world in World::both() {
        let about = world.server.label().to_owned();
        let data = world.sandbox.path("allowed/repo/data/0");
        let kept = files(&data);
        let mut session = world.serve("--append-only", Some(wanted));
        let opened = session.open(&world.path("@/allowed/repo"), false);
        assert_eq!(done(opened), Said::Done, "{about}");
        let compact = Call::Commit {
            compact: true,
            threshold: 0.0,
            cleanup_commits: true,
        };
        for (call, may) in [
            (Call::Delete(ChunkId::MANIFEST), true),
            (compact, true),
            (Call::Destroy, false),
            (
                Call::Check {
                    repair: true,
                    max_duration: 0,
                },
                false,
            ),
        ] {
            let said = session.call(&call);
            assert_eq!(said == Said::Done, may, "{about}: {call:?}: {said:?}");
        }
        assert_eq!(session.end().0, 0, "{about}");
        for (name, bytes) in kept {
            assert_eq!(fs::read(data.join(name)).unwrap(), bytes, "{about}");
        }
        let log = fs::read_to_string(world.sandbox.path("allowed/repo/transactions"));
        assert!(log.unwrap().starts_with("transaction "), "{about}");
    }
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

#[test]
fn a_quota_of_the_server_wins_and_dooms_the_transaction() {
    for world in World::both() {
        let about = world.server.label().to_owned();
        let mut session = world.serve("--storage-quota 10M", None);
        let _ = session.open(&world.path("@/allowed/repo"), false);
        let exceeded = Said::Refused("StorageQuotaExceeded".into());
        let data = vec![1; 6_000_000];
        let put = |number: u8, data| Call::Put {
            id: ChunkId::new([number; 32]),
            data,
        };
        assert_eq!(session.call(&put(1, &data)), Said::Done, "{about}");
        assert_eq!(session.call(&put(2, &data)), exceeded, "{about}");
        assert_eq!(session.call(&put(3, b"small")), exceeded, "{about}");
        let commit = Call::Commit {
            compact: false,
            threshold: 0.1,
            cleanup_commits: false,
        };
        assert_eq!(session.call(&commit), exceeded, "{about}");
        let first = Call::Get(ChunkId::new([1; 32]));
        assert_eq!(
            session.call(&first),
            Said::Refused("ObjectNotFound".into()),
            "{about}"
        );
        let manifest = session.call(&Call::Get(ChunkId::MANIFEST));
        assert!(matches!(manifest, Said::Gave(_)), "{about}");
        assert_eq!(session.end().0, 0, "{about}");
    }
}

/// Messages that are no requests, or none that can be served, and whether the session goes on.
const MESSAGES: [(&[u8], bool); 13] = [
    (b"\x83\xa1i\x07\xa1m\xa5shell\xa1a\x80", true),
    (b"\x83\xa1i\x07\xa1m\xa9__class__\xa1a\x80", true),
    (b"\x83\xa1i\x07\xa1m\xa5close\xa1a\x80", true),
    (b"\x83\xa1i\x07\xa1m\xa8__init__\xa1a\x80", true),
    (b"\x83\xa1i\x07\xa1m\xa3get\xa1a\x80", true),
    (b"\x83\xa1i\x07\xa1m\xa3put\xa1a\x81\xa2id\xa1x", true),
    (b"\x83\xa1i\x07\xa1m\xa3get\xa1a\x81\xa2id\xc0", true),
    (b"\x91\x01", false),
    (b"\x95\x01\x02\x03\x04\x05", false),
    (b"Hello, is this a shell?\n", false),
    (b"\x2a", false),
    (b"\xdb\xff\xff\xff\xff", false),
    (b"\xdd\xff\xff\xff\xff", false),
];

#[test]
fn no_message_does_more_than_end_the_session() {
    for world in World::both() {
        let repository = world.sandbox.path("allowed/repo");
        let before = Tree::read(&repository);
        for (message, goes_on) in MESSAGES {
            let about = format!("{}: {message:?}", world.server.label());
            let mut session = world.serve("", None);
            let opened = session.open(&world.path("@/allowed/repo"), false);
            assert_eq!(done(opened), Said::Done, "{about}");
            session.send(message);
            if goes_on {
                let said = session.answer();
                assert!(matches!(said, Said::Refused(_)), "{about}: {said:?}");
                let manifest = session.call(&Call::Get(ChunkId::MANIFEST));
                assert!(matches!(manifest, Said::Gave(_)), "{about}: {manifest:?}");
                assert_eq!(session.end().0, 0, "{about}");
            } else {
                // Borg waits for the rest of what is only claimed, until the pipe is closed.
                let claimed = message.first() == Some(&0xdb);
                let code = session.end().0;
                let expected = if claimed && !world.is_ours() { 0 } else { 2 };
                assert_eq!(code, expected, "{about}");
            }
            if world.is_ours() {
                assert!(!repository.join("lock.exclusive").exists(), "{about}");
            }
            let _ = fs::remove_dir_all(repository.join("lock.exclusive"));
            let _ = fs::remove_file(repository.join("lock.roster"));
        }
        let after = Tree::read(&repository);
        let differences = before.differences(&after);
        let changed: Vec<_> = differences
            .iter()
            .filter(|line| !line.contains("lock.roster") && !line.contains("mtime"))
            .collect();
        assert!(changed.is_empty(), "{changed:?}");
    }
}

#[test]
fn a_message_cut_short_does_nothing() {
    for world in World::both() {
        let mut session = world.serve("", None);
        let _ = session.open(&world.path("@/allowed/repo"), false);
        let mut message = Vec::new();
        Request::encode(Form::Named, 2, &Call::Destroy, &mut message);
        message.pop();
        session.send(&message);
        assert_eq!(session.end().0, 0, "{}", world.server.label());
        assert!(world.sandbox.path("allowed/repo/config").exists());
    }
}
