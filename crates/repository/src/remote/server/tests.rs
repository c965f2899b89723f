//! A server over pipes, with good and with hostile clients.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastness_format::id::ChunkId;
use fastness_format::rpc::{Call, Failure, Form, Inbox, Open};

use super::*;
use crate::monitor::{Event, Level};

/// Keeps what the server says, and ends it.
#[derive(Default)]
struct Listener {
    lines: Mutex<Vec<String>>,
    client: Mutex<Option<Version>>,
    end: AtomicBool,
    kept_alive: AtomicUsize,
}

impl Monitor for Listener {
    fn event(&self, event: Event<'_>) {
        if let Event::Log { level, message } = event
            && level >= Level::Warning
        {
            self.lines.lock().unwrap().push(message.to_owned());
        }
    }
}

impl Host for Listener {
    fn client_is(&self, version: &Version) {
        *self.client.lock().unwrap() = Some(version.clone());
    }

    fn still_here(&self) {
        self.kept_alive.fetch_add(1, Ordering::Relaxed);
    }

    fn end_wanted(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }
}

/// A client with a server of its own.
struct Client {
    to_server: Option<File>,
    from_server: File,
    inbox: Inbox,
    next: i64,
    listener: Arc<Listener>,
    server: Option<JoinHandle<Result<(), ServeError>>>,
}

#[derive(Default)]
struct Policy {
    paths: Vec<PathBuf>,
    append_only: bool,
    quota: Option<u64>,
    keep_alive: Option<Duration>,
}

fn start(policy: Policy) -> Client {
    let (server_input, to_server) = pipe();
    let (from_server, server_output) = pipe();
    let listener = Arc::new(Listener::default());
    let host: Arc<dyn Host> = Arc::<Listener>::clone(&listener);
    let server = std::thread::spawn(move || {
        let options = ServeOptions {
            restrictions: Restrictions {
                paths: policy.paths,
                repositories: Vec::new(),
            },
            places: Places {
                base: "/nowhere".into(),
                home: "/nowhere".into(),
                directory: "/".into(),
                home_of: |_| None,
            },
            append_only: policy.append_only,
            storage_quota: policy.quota,
            version: Version::release(1, 4, 5),
            identity: LockIdentity {
                host_id: "here@1".into(),
                pid: std::process::id(),
                thread: 0,
            },
            sysinfo: "a test".into(),
            now: SystemTime::now,
            keep_alive: policy.keep_alive.unwrap_or(Duration::MAX),
            new_id: || Ok(RepositoryId::new([9; 32])),
        };
        serve(&options, &host, server_input, server_output)
    });
    Client {
        to_server: Some(to_server),
        from_server,
        inbox: Inbox::new(),
        next: 0,
        listener,
        server: Some(server),
    }
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
}

impl Client {
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.to_server.as_mut().unwrap().write_all(bytes).is_ok()
    }

    fn request(&mut self, form: Form, call: &Call<'_>) {
        self.next += 1;
        let mut message = Vec::new();
        Request::encode(form, self.next, call, &mut message);
        assert!(self.send(&message));
    }

    /// What the server answers: the bytes of a value, or of nothing.
    fn answer(&mut self) -> Result<Vec<u8>, Box<Failure>> {
        loop {
            if let Some(message) = self.inbox.next_message().unwrap() {
                let response = Response::decode(message).unwrap();
                let answer = response.outcome.map_err(Box::new)?;
                return Ok(match answer {
                    Answer::Raw(bytes) => bytes.to_vec(),
                    Answer::Nil => Vec::new(),
                    other => format!("{other:?}").into_bytes(),
                });
            }
            let count = self.from_server.read(self.inbox.room()).unwrap();
            assert!(count > 0, "the server went away");
            self.inbox.arrived(count);
        }
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Vec<u8>, Box<Failure>> {
        self.request(Form::Named, call);
        self.answer()
    }

    fn class(&mut self, call: &Call<'_>) -> String {
        self.call(call).unwrap_err().class
    }

    fn open(&mut self, path: &Path, create: bool) -> Result<Vec<u8>, Box<Failure>> {
        self.call(&Call::Open(Open {
            create,
            exclusive: Some(true),
            lock_wait: Some(0.0),
            ..Open::of(path.as_os_str().as_encoded_bytes())
        }))
    }

    /// Closes the client's side and waits for the server, which must end soon.
    fn leave(mut self) -> Result<(), ServeError> {
        self.to_server = None;
        let mut rest = Vec::new();
        self.from_server.read_to_end(&mut rest).unwrap();
        self.ended()
    }

    fn ended(&mut self) -> Result<(), ServeError> {
        let server = self.server.take().unwrap();
        let begun = Instant::now();
        while !server.is_finished() {
            assert!(begun.elapsed() < Duration::from_secs(10), "still there");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.join().unwrap()
    }
}

fn id(number: u8) -> ChunkId {
    ChunkId::new([number; 32])
}

fn put(number: u8, data: &[u8]) -> Call<'_> {
    Call::Put {
        id: id(number),
        data,
    }
}

const COMMIT: Call<'static> = Call::Commit {
    compact: false,
    threshold: 0.1,
    cleanup_commits: false,
};

#[test]
fn a_session_stores_reads_and_rolls_back_what_was_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    let version = Version::release(1, 4, 5);
    client.request(Form::Positional, &Call::Negotiate(Some(version.clone())));
    assert!(client.answer().unwrap().starts_with(b"Negotiated"));
    assert_eq!(*client.listener.client.lock().unwrap(), Some(version));
    assert_eq!(client.class(&Call::Get(id(1))), "Error");
    assert_eq!(client.open(&path, true).unwrap(), [9; 32]);
    let long = vec![7; 300_000];
    for (number, data) in [(1, &b"one"[..]), (2, &long)] {
        client.request(Form::Named, &put(number, data));
    }
    client.request(Form::Named, &COMMIT);
    client.request(Form::Positional, &Call::Get(id(1)));
    client.request(Form::Named, &Call::Get(id(2)));
    client.request(Form::Named, &Call::Len);
    for expected in [&b""[..], b"", b"", b"one", &long, b"Int(2)"] {
        assert_eq!(client.answer().unwrap(), expected);
    }
    client.call(&put(3, b"never committed")).unwrap();
    let missing = client.call(&Call::Get(id(4))).unwrap_err();
    assert_eq!(missing.class, "ObjectNotFound");
    assert_eq!(missing.text(0), Some(id(4).to_string()));
    client.leave().unwrap();
    assert!(!path.join("lock.exclusive").exists());

    let mut client = start(Policy::default());
    client.open(&path, false).unwrap();
    assert_eq!(client.class(&Call::Get(id(3))), "ObjectNotFound");
    client.call(&Call::Destroy).unwrap();
    assert!(!path.exists());
    client.leave().unwrap();
}

#[test]
fn a_closed_repository_is_free_and_the_session_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    client.call(&Call::Close).unwrap();
    client.open(&path, true).unwrap();
    client.call(&put(1, b"one")).unwrap();
    client.call(&COMMIT).unwrap();
    client.call(&put(2, b"two")).unwrap();
    client.call(&Call::Close).unwrap();
    assert!(!path.join("lock.exclusive").exists());
    assert_eq!(client.class(&Call::Get(id(1))), "Error");
    client.open(&path, false).unwrap();
    assert!(path.join("lock.exclusive").exists());
    assert_eq!(client.call(&Call::Get(id(1))).unwrap(), b"one");
    assert_eq!(client.class(&Call::Get(id(2))), "ObjectNotFound");
    client.leave().unwrap();
    assert!(!path.join("lock.exclusive").exists());
}

#[test]
fn a_session_without_an_exclusive_lock_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    client.open(&path, true).unwrap();
    client.call(&put(1, b"one")).unwrap();
    client.call(&COMMIT).unwrap();
    for (lock, exclusive) in [(true, Some(false)), (false, None)] {
        let open = Open {
            lock,
            exclusive,
            ..Open::of(path.as_os_str().as_encoded_bytes())
        };
        client.call(&Call::Open(open)).unwrap();
        let reserve = Call::CommitNonceReservation {
            next_unreserved: 5,
            start_nonce: None,
        };
        for call in [put(2, b"x"), Call::Delete(id(1)), COMMIT, Call::Destroy] {
            assert_eq!(client.class(&call), "Error", "{call:?}");
        }
        // `borg check --bypass-lock` reserves counter values for what it does not keep.
        assert_eq!(client.call(&reserve).is_ok(), !lock && exclusive.is_none());
        assert_eq!(client.call(&Call::Get(id(1))).unwrap(), b"one");
    }
    // Clients of Borg 1.0 leave it to the first write.
    let open = Open::of(path.as_os_str().as_encoded_bytes());
    client.call(&Call::Open(open)).unwrap();
    client.call(&Call::Delete(id(1))).unwrap();
    assert!(path.join("lock.exclusive").exists());
    client.leave().unwrap();
    assert!(!path.join("lock.exclusive").exists());
}

#[test]
fn nonsense_ends_the_server_and_frees_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xdb\xff\xff\xff\xff",
        b"\x91\x01",
        b"\x83\xa1i\x01\xa1m\xa3get\xa1b\x80",
        b"\x94\x01\x01\x02\x90",
        b"\xc1",
    ] {
        let path = dir.path().join("repo");
        let mut client = start(Policy::default());
        client.open(&path, true).unwrap();
        client.call(&put(1, b"one")).unwrap();
        client.send(nonsense);
        let error = client.ended().unwrap_err();
        assert!(matches!(error, ServeError::UnexpectedData(_)), "{error}");
        assert!(!path.join("lock.exclusive").exists(), "{nonsense:?}");
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn wrong_calls_are_answered_and_the_session_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut client = start(Policy::default());
    client.open(&dir.path().join("repo"), true).unwrap();
    let too_long = vec![0; crate::MAX_VALUE_BYTES + 1];
    assert_eq!(client.class(&put(1, &too_long)), "IntegrityError");
    for (message, class) in [
        (
            &b"\x83\xa1i\x07\xa1m\xa5shell\xa1a\x80"[..],
            "InvalidRPCMethod",
        ),
        (b"\x83\xa1i\x07\xa1m\xa3get\xa1a\x80", "Error"),
        (b"\x94\x01\x07\xa3get\x91\xa1x", "Error"),
        (
            b"\x83\xa1i\x07\xa1m\xa6commit\xa1a\x81\xa9threshold\xa1x",
            "Error",
        ),
        (
            b"\x83\xa1i\x07\xa1m\xa8save_key\xa1a\x81\xa7keydata\xa2\xff\xfe",
            "Error",
        ),
        (
            b"\x83\xa1i\x07\xa1m\xb0inject_exception\xa1a\x81\xa4kind\xa6divide",
            "ZeroDivisionError",
        ),
    ] {
        assert!(client.send(message));
        assert_eq!(client.answer().unwrap_err().class, class, "{message:?}");
    }
    assert_eq!(client.call(&Call::Len).unwrap(), b"Int(0)");
    client.leave().unwrap();
}

#[test]
fn what_happens_to_the_files_between_transactions_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    client.open(&path, true).unwrap();
    for number in [1, 2] {
        client.call(&put(number, b"data")).unwrap();
        client.call(&COMMIT).unwrap();
    }
    std::fs::rename(path.join("index.3"), path.join("index.100")).unwrap();
    assert_eq!(client.call(&Call::Len).unwrap(), b"Int(2)");
    assert!(path.join("index.3").exists() && !path.join("index.100").exists());
    client.call(&COMMIT).unwrap();
    let last = path.join("data/0/3");
    let mut bytes = std::fs::read(&last).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&last, bytes).unwrap();
    assert_eq!(client.class(&Call::Get(id(2))), "ObjectNotFound");
    assert_eq!(client.call(&Call::Get(id(1))).unwrap(), b"data");
    client.leave().unwrap();
}

#[test]
fn a_message_cut_short_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    client.open(&path, true).unwrap();
    let mut message = Vec::new();
    Request::encode(Form::Named, 9, &Call::Destroy, &mut message);
    client.send(&message[..message.len() - 1]);
    client.leave().unwrap();
    assert!(path.join("config").exists());
}

#[test]
fn append_only_and_quota_of_the_server_hold_whatever_the_client_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy {
        append_only: true,
        quota: Some(1_000_000),
        ..Policy::default()
    });
    client.open(&path, true).unwrap();
    client.call(&put(1, b"one")).unwrap();
    client.call(&COMMIT).unwrap();
    client.open(&path, false).unwrap();
    let full = vec![1; 1_100_000];
    let exceeded = client.call(&put(2, &full)).unwrap_err();
    assert_eq!(exceeded.class, "StorageQuotaExceeded");
    assert_eq!(exceeded.text(0).as_deref(), Some("1.00 MB"));
    assert_eq!(client.class(&COMMIT), "StorageQuotaExceeded");
    client.call(&Call::Delete(id(1))).unwrap();
    let compact = Call::Commit {
        compact: true,
        threshold: 0.0,
        cleanup_commits: true,
    };
    client.call(&compact).unwrap();
    for call in [
        Call::Destroy,
        Call::Check {
            repair: true,
            max_duration: 0,
        },
    ] {
        let refused = client.call(&call).unwrap_err();
        assert!(refused.short[0].contains("append-only"), "{refused:?}");
    }
    client.leave().unwrap();
    let segments = std::fs::read_dir(path.join("data/0")).unwrap();
    let kept = segments.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    assert!(kept.into_iter().any(|bytes| bytes.ends_with(b"one")));
}

#[test]
fn only_allowed_paths_are_opened_made_or_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("allowed")).unwrap();
    let mut client = start(Policy {
        paths: vec![root.join("allowed")],
        ..Policy::default()
    });
    for path in ["allowed2", "allowed/../other", "other"] {
        let refused = client.open(&root.join(path), true).unwrap_err();
        assert_eq!(refused.class, "PathNotAllowed", "{path}");
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);
    client.open(&root.join("allowed/repo"), true).unwrap();
    client.leave().unwrap();
}

#[test]
fn a_client_that_reads_nothing_is_not_read_either() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    client.open(&path, true).unwrap();
    client.call(&put(1, &[7; 1_000_000])).unwrap();
    let to_server = client.to_server.take().unwrap();
    rustix::io::ioctl_fionbio(&to_server, true).unwrap();
    let mut message = Vec::new();
    Request::encode(Form::Named, 9, &Call::Get(id(1)), &mut message);
    // The requests would fill the pipe and what the server reads at once many times.
    let requests = message.repeat(100_000);
    let (mut sent, mut stuck) = (0, 0);
    while stuck < 50 {
        match (&to_server).write(&requests[sent..]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(_) => {
                stuck += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    assert!(sent < 1_000_000, "{sent} bytes of requests were taken");
    // It is still at the first answers when its reader goes.
    let (nobody, _) = pipe();
    client.from_server = nobody;
    let error = client.ended().unwrap_err();
    assert!(matches!(error, ServeError::Connection(_)), "{error}");
    assert!(!path.join("lock.exclusive").exists());
}

#[test]
fn a_client_that_goes_while_it_waits_for_a_lock_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut holder = start(Policy::default());
    holder.open(&path, true).unwrap();
    let mut waiting = start(Policy::default());
    let open = Open::of(path.as_os_str().as_encoded_bytes());
    waiting.request(Form::Named, &Call::Open(open));
    std::thread::sleep(Duration::from_millis(50));
    waiting.leave().unwrap();
    holder.call(&COMMIT).unwrap();
    holder.leave().unwrap();
}

#[test]
fn a_host_ends_the_server_while_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut client = start(Policy::default());
    client.open(&path, true).unwrap();
    client.listener.end.store(true, Ordering::Relaxed);
    client.ended().unwrap();
    assert!(!path.join("lock.exclusive").exists());
    assert!(client.listener.lines.lock().unwrap().is_empty());
}

#[test]
fn a_silent_client_is_told_that_the_server_is_still_there() {
    let mut client = start(Policy {
        keep_alive: Some(Duration::from_millis(5)),
        ..Policy::default()
    });
    let begun = Instant::now();
    while client.listener.kept_alive.load(Ordering::Relaxed) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    client.request(Form::Positional, &Call::Negotiate(None));
    assert_eq!(client.answer().unwrap(), b"Int(2)");
    client.leave().unwrap();
}

#[test]
fn old_clients_are_told_the_reason_on_stderr() {
    let mut client = start(Policy::default());
    client.request(Form::Positional, &Call::Negotiate(None));
    assert_eq!(client.answer().unwrap(), b"Int(2)");
    client.request(Form::Positional, &Call::Len);
    assert_eq!(client.answer().unwrap_err().class, "Error");
    let lines = client.listener.lines.lock().unwrap().clone();
    assert_eq!(lines, ["no repository is open"]);
    client.leave().unwrap();
}
