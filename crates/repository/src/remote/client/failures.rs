//! What servers and ends of sessions mean, as errors of this side.
//!
//! A server tells the name of an exception and what it was made of; texts are put together here,
//! with the address that the user knows in place of the path there.

use fastness_format::id::ChunkId;
use fastness_format::rpc::Failure;

use super::ssh::Ending;
use crate::error::RepositoryError;

/// What Borg says in place of what servers before 1.1 do not tell.
const UNKNOWN: &str = "(not available)";

/// Why nothing more comes from a server.
#[derive(Debug, Clone)]
pub enum Death {
    /// The session ended.
    Closed(Ending),
    /// What came is no answer.
    Unexpected(String),
}

impl Death {
    /// Returns the error of a call that was not answered; `hint` is Borg's, for the first one.
    pub fn error(&self, hint: Option<&'static str>) -> RepositoryError {
        match self {
            Self::Closed(ending) => RepositoryError::ConnectionClosed {
                hint,
                ending: Box::new(ending.clone()),
            },
            Self::Unexpected(data) => RepositoryError::Remote {
                class: "UnexpectedRPCDataFormatFromServer".to_owned(),
                message: format!("Got unexpected RPC data format from server:\n{data}"),
            },
        }
    }

    /// Tells of bytes that are no answer, as Borg does: text as it is, anything else in hexadecimal.
    pub fn unexpected(bytes: &[u8]) -> Self {
        const SHOWN: usize = 128;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.chars().take(SHOWN).collect(),
            Err(_) => {
                let bytes: Vec<String> = bytes
                    .iter()
                    .take(SHOWN)
                    .map(|byte| format!("{byte:02X}"))
                    .collect();
                let lines: Vec<String> = bytes.chunks(16).map(|line| line.join(" ")).collect();
                lines.join("\n")
            }
        };
        Self::Unexpected(text)
    }
}

/// Turns what a server told into an error. `location` is the address of the repository, `wanted`
/// the object that the call was about.
pub fn error(failure: &Failure, location: &str, wanted: Option<&ChunkId>) -> RepositoryError {
    let location = location.to_owned();
    let text = |place: usize| failure.text(place).unwrap_or_else(|| UNKNOWN.to_owned());
    let told = failure.short.join("\n");
    let remote = |class: &str, message: String| RepositoryError::Remote {
        class: class.to_owned(),
        // Our own servers tell more than what the exception was made of: who holds a lock.
        message: match told.starts_with(&message) {
            true => told.clone(),
            false => message,
        },
    };
    match failure.class.as_str() {
        "InvalidRepository" => RepositoryError::InvalidRepository(location),
        "DoesNotExist" => RepositoryError::DoesNotExist(location),
        "AlreadyExists" => RepositoryError::AlreadyExists(location),
        "CheckNeeded" => RepositoryError::CheckNeeded {
            location,
            reason: failure.short.join(" "),
        },
        "IntegrityError" => RepositoryError::Integrity(text(0)),
        "AtticRepository" => RepositoryError::AtticRepository(text(0)),
        "PathPermissionDenied" => RepositoryError::PathPermissionDenied(text(0)),
        "PathAlreadyExists" => RepositoryError::PathAlreadyExists(text(0)),
        "ParentPathDoesNotExist" => RepositoryError::ParentPathDoesNotExist(text(0)),
        "ObjectNotFound" => RepositoryError::ObjectNotFound {
            id: ChunkId::from_hex(&text(0))
                .ok()
                .or(wanted.copied())
                .unwrap_or(ChunkId::MANIFEST),
            location,
        },
        "InvalidRepositoryConfig" => RepositoryError::InvalidRepositoryConfig {
            location,
            reason: text(1),
        },
        "PathNotAllowed" => remote(
            "PathNotAllowed",
            format!("Repository path not allowed: {}", text(0)),
        ),
        "InvalidRPCMethod" => remote(
            "InvalidRPCMethod",
            format!("RPC method {} is not valid.", text(0)),
        ),
        "LockTimeout" => remote(
            "LockTimeout",
            format!("Failed to create/acquire the lock {} (timeout).", text(0)),
        ),
        "LockFailed" => remote(
            "LockFailed",
            format!(
                "Failed to create/acquire the lock {} ({}).",
                text(0),
                text(1)
            ),
        ),
        "NotLocked" => remote(
            "NotLocked",
            format!("Failed to release the lock {} (was not locked).", text(0)),
        ),
        "NotMyLock" => remote(
            "NotMyLock",
            format!(
                "Failed to release the lock {} (was/is locked, but not by me).",
                text(0)
            ),
        ),
        "InsufficientFreeSpaceError" => remote(
            "Repository.InsufficientFreeSpaceError",
            format!(
                "Insufficient free space to complete transaction (required: {}, available: {}).",
                text(0),
                text(1)
            ),
        ),
        "StorageQuotaExceeded" => remote(
            "Repository.StorageQuotaExceeded",
            format!(
                "The storage quota ({}) has been exceeded ({}). Try deleting some archives.",
                text(0),
                text(1)
            ),
        ),
        // The edge puts the word in front of what has no name of its own.
        "Error" => remote("Error", text(0)),
        "ErrorWithTraceback" => remote("ErrorWithTraceback", format!("Error: {}", text(0))),
        class => other(failure, class),
    }
}

/// An exception that has no name on this side: shown with all that the server tells of it.
fn other(failure: &Failure, class: &str) -> RepositoryError {
    const MISMATCH: &str = "nonce space reservation with mismatched previous state";
    let short = failure.short.join("\n");
    if short.contains(MISMATCH) {
        return RepositoryError::NonceMismatch;
    }
    let mut message = match failure.trace && !failure.full.is_empty() {
        true => failure.full.join("\n"),
        false => short,
    };
    if message.trim().is_empty() {
        message = format!("{class}\nRemote Exception (see remote log for the traceback)");
    }
    if failure.trace {
        for line in failure.sysinfo.lines() {
            message = format!("{}\nBorg server: {line}", message.trim_end());
        }
    }
    RepositoryError::Remote {
        class: class.to_owned(),
        message,
    }
}

const NO_SERVER: &str =
    "install borg or fastness on the server, or name the program there by --remote-path";
const KILLED: &str =
    "the server was killed, perhaps because memory ran out: see the log of its kernel";

/// Words by which ways to fail are known, and what to do about each.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &["Permission denied", "Too many authentication failures"],
        "the server does not let you in: check the user name, and that your public key is in \
         ~/.ssh/authorized_keys there; try it with: ssh -v",
    ),
    (
        &["Host key verification failed", "REMOTE HOST IDENTIFICATION"],
        "connect once by hand with ssh and compare the fingerprint of the host key; a key that \
         changed without a reason you know is a danger",
    ),
    (
        &["Could not resolve hostname", "Name or service not known"],
        "check the name of the host",
    ),
    (
        &["Connection refused"],
        "check that the ssh server runs there, and the port",
    ),
    (
        &[
            "Connection timed out",
            "No route to host",
            "Network is unreachable",
            "Operation timed out",
        ],
        "check the network, and that the machine is on",
    ),
    (
        &[
            "command not found",
            "not found",
            "No such file or directory",
        ],
        NO_SERVER,
    ),
    (
        &["Killed", "Out of memory", "Cannot allocate memory"],
        KILLED,
    ),
    (
        &[
            "Broken pipe",
            "Connection reset",
            "Timeout, server",
            "client_loop",
            "closed by remote host",
        ],
        "the network failed in between: run the command again, what was saved by a checkpoint is \
         kept",
    ),
];

impl Ending {
    /// Tells how the session ended, for the end of a message; empty if nothing is known.
    pub fn reason(&self) -> String {
        use std::os::unix::process::ExitStatusExt;
        let how = match self.status {
            None => format!("{} did not end by itself", self.program),
            Some(status) => match (status.code(), status.signal()) {
                (Some(0), _) if self.last_words.is_empty() => return String::new(),
                (Some(code), _) => format!("{} ended with exit status {code}", self.program),
                (None, Some(signal)) => format!("{} was killed by signal {signal}", self.program),
                (None, None) => return String::new(),
            },
        };
        match self.last_words.last() {
            Some(words) => format!(" ({how}: {words})"),
            None => format!(" ({how})"),
        }
    }

    /// Returns what to do about it, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        let said = |words: &str| self.last_words.iter().any(|line| line.contains(words));
        let by_words = ADVICE
            .iter()
            .find(|(words, _)| words.iter().any(|words| said(words)));
        if let Some((_, advice)) = by_words {
            return Some(advice);
        }
        match self.status?.code() {
            Some(126 | 127) => Some(NO_SERVER),
            Some(137) => Some(KILLED),
            // ssh is silent when a signal ends what it runs there.
            Some(255) if self.last_words.is_empty() => Some(KILLED),
            Some(255) => Some("see what ssh says when you connect by hand with: ssh -v"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use fastness_format::msgpack::Value;

    use super::*;

    fn failure(class: &str, args: &[&str]) -> Failure {
        Failure {
            class: class.to_owned(),
            args: Some(args.iter().map(|arg| Value::text(arg)).collect()),
            short: vec!["short".to_owned()],
            full: vec!["Traceback".to_owned(), "full".to_owned()],
            sysinfo: "Linux".to_owned(),
            trace: false,
        }
    }

    #[test]
    fn known_failures_keep_their_names_and_words() {
        for (class, args, msgid, text) in [
            (
                "PathNotAllowed",
                &["/etc"][..],
                "PathNotAllowed",
                "Repository path not allowed: /etc",
            ),
            (
                "DoesNotExist",
                &["/srv/r"],
                "Repository.DoesNotExist",
                "Repository ssh://h/r does not exist.",
            ),
            (
                "StorageQuotaExceeded",
                &["10.00 MB", "11.00 MB"],
                "Repository.StorageQuotaExceeded",
                "The storage quota (10.00 MB) has been exceeded (11.00 MB). Try deleting some archives.",
            ),
            (
                "LockTimeout",
                &["/r/lock"],
                "LockTimeout",
                "Failed to create/acquire the lock /r/lock (timeout).",
            ),
            ("ValueError", &[], "ValueError", "short"),
        ] {
            let error = error(&failure(class, args), "ssh://h/r", None);
            assert_eq!((error.msgid(), error.to_string().as_str()), (msgid, text));
        }
    }

    #[test]
    fn unknown_failures_show_what_the_server_tells() {
        let traced = Failure {
            trace: true,
            ..failure("ValueError", &[])
        };
        let error = error(&traced, "ssh://h/r", None);
        assert_eq!(error.to_string(), "Traceback\nfull\nBorg server: Linux");
    }

    #[test]
    fn old_servers_tell_only_the_class() {
        let old = Failure {
            class: "ObjectNotFound".to_owned(),
            ..Failure::default()
        };
        let wanted = ChunkId::new([7; 32]);
        let error = error(&old, "ssh://h/r", Some(&wanted));
        assert!(matches!(error, RepositoryError::ObjectNotFound { id, .. } if id == wanted));
    }

    #[test]
    fn ends_are_explained() {
        let ending = |code: i32, words: &[&str]| Ending {
            program: "ssh".to_owned(),
            status: Some(ExitStatus::from_raw(code << 8)),
            last_words: words.iter().map(|&line| line.to_owned()).collect(),
        };
        let refused = ending(255, &["me@nas: Permission denied (publickey)."]);
        assert_eq!(
            refused.reason(),
            " (ssh ended with exit status 255: me@nas: Permission denied (publickey).)"
        );
        assert!(refused.advice().unwrap().contains("authorized_keys"));
        let missing = ending(127, &["bash: line 1: borg: command not found"]);
        assert!(missing.advice().unwrap().contains("--remote-path"));
        assert!(ending(137, &[]).advice().unwrap().contains("memory"));
        assert_eq!(ending(0, &[]).reason(), "");
        assert_eq!(ending(0, &[]).advice(), None);
    }

    #[test]
    fn bytes_that_are_no_answer_are_shown() {
        let Death::Unexpected(text) = Death::unexpected(b"Welcome to nas!\n") else {
            panic!("it is unexpected");
        };
        assert_eq!(text, "Welcome to nas!\n");
        let Death::Unexpected(text) = Death::unexpected(&[0xff; 17]) else {
            panic!("it is unexpected");
        };
        assert_eq!(text, format!("{}\nFF", ["FF"; 16].join(" ")));
    }
}
