//! The system's log: journald, by its own protocol with fields, or else syslog.
//!
//! Neither answers: a record that cannot be sent is lost, and the run goes on.

use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use super::log::{Entry, Fact, Level, Sink};

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where a syslog daemon may listen.
const SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// The facility of ordinary programs.
const USER: u8 = 1;

/// The longest text that is sent; a longer one is cut, for it must fit into a datagram.
const LONGEST: usize = 64 * 1024;

/// The system's log.
pub enum SystemLog {
    /// journald.
    Journal {
        /// Our end.
        socket: UnixDatagram,
        /// Its end.
        path: PathBuf,
    },
    /// A syslog daemon that takes datagrams.
    Datagrams {
        /// Our end.
        socket: UnixDatagram,
        /// Its end.
        path: PathBuf,
    },
    /// A syslog daemon that takes a stream.
    Stream(UnixStream),
}

impl SystemLog {
    /// Finds what listens on this machine, if anything does.
    pub fn find() -> Option<Self> {
        let journal = Path::new(JOURNAL);
        if journal.exists() {
            return Self::journal(journal);
        }
        let path = SYSLOG.iter().map(Path::new).find(|path| path.exists())?;
        Self::syslog(path)
    }

    fn journal(path: &Path) -> Option<Self> {
        Some(Self::Journal {
            socket: datagrams()?,
            path: path.to_owned(),
        })
    }

    fn syslog(path: &Path) -> Option<Self> {
        let socket = datagrams()?;
        match socket.connect(path) {
            Ok(()) => Some(Self::Datagrams {
                socket: datagrams()?,
                path: path.to_owned(),
            }),
            Err(_) => {
                let stream = UnixStream::connect(path).ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(Self::Stream(stream))
            }
        }
    }
}

/// A socket that drops what would have to wait.
fn datagrams() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    let limit = std::time::Duration::from_secs(1);
    socket.set_write_timeout(Some(limit)).ok()?;
    Some(socket)
}

/// The severity of a record, 0 the highest.
fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Answer => 5,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// What journald gets of a line: whom it is about, and Borg's name of the message, beside the text.
fn journal_entry(entry: &Entry<'_>) -> Vec<u8> {
    let about = entry.prefix.strip_suffix(": ").unwrap_or(entry.prefix);
    let mut fields = Vec::new();
    if !about.is_empty() {
        fields.push(("FASTNESS_ABOUT", about));
    }
    fields.extend(entry.msgid.map(|msgid| ("BORG_MSGID", msgid)));
    journal_message(entry.text, entry.level, &fields)
}

fn journal_message(text: &str, level: Level, more: &[(&str, &str)]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut field = |name: &str, value: &str| {
        message.extend_from_slice(name.as_bytes());
        match value.contains('\n') {
            false => {
                message.push(b'=');
            }
            // A value of several lines is told by its length.
            true => {
                message.push(b'\n');
                message.extend_from_slice(&(value.len() as u64).to_le_bytes());
            }
        }
        message.extend_from_slice(value.as_bytes());
        message.push(b'\n');
    };
    field("MESSAGE", cut(text));
    field("PRIORITY", &severity(level).to_string());
    field("SYSLOG_IDENTIFIER", "borgmatic");
    field("SYSLOG_PID", &std::process::id().to_string());
    for (name, value) in more {
        field(name, cut(value));
    }
    message
}

fn syslog_line(entry: &Entry<'_>) -> Vec<u8> {
    // Syslog daemons know no results; borgmatic sends them as warnings.
    let severity = match entry.level {
        Level::Answer => severity(Level::Warning),
        level => severity(level),
    };
    let priority = (USER << 3) | severity;
    let (name, text) = (entry.level.name(), cut(entry.text));
    format!("<{priority}>borgmatic: {name} {}{text}\0", entry.prefix).into_bytes()
}

fn cut(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len())).rev();
    let end = end.into_iter().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

impl Sink for SystemLog {
    fn take(&mut self, entry: &Entry<'_>) {
        let _ = match self {
            Self::Journal { socket, path } => socket.send_to(&journal_entry(entry), path),
            Self::Datagrams { socket, path } => socket.send_to(&syslog_line(entry), path),
            Self::Stream(stream) => stream.write(&syslog_line(entry)),
        };
    }

    fn take_fact(&mut self, fact: &Fact<'_>) {
        if let Self::Journal { socket, path } = self {
            let fields = fact.fields.iter();
            let fields: Vec<(&str, &str)> = fields
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let _ = socket.send_to(&journal_message(fact.text, fact.level, &fields), path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::tests::log;

    fn received(open: fn(&Path) -> Option<SystemLog>, text: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let (log, _, _) = log(-2);
        let attachment = log.attach(1, Box::new(open(&path).unwrap()));
        log.set_prefix("nas");
        log.record(Level::Debug, "unseen");
        log.record(Level::Answer, text);
        drop(attachment);
        let mut bytes = vec![0; 1 << 18];
        let count = daemon.recv(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn the_journal_gets_fields() {
        let pid = std::process::id();
        let told = received(SystemLog::journal, "one");
        let expected = format!(
            "MESSAGE=one\nPRIORITY=5\nSYSLOG_IDENTIFIER=borgmatic\nSYSLOG_PID={pid}\nFASTNESS_ABOUT=nas\n"
        );
        assert_eq!(String::from_utf8(told).unwrap(), expected);
        let told = received(SystemLog::journal, "one\ntwo");
        assert!(told.starts_with(b"MESSAGE\n\x07\0\0\0\0\0\0\0one\ntwo\nPRIORITY=5\n"));
    }

    #[test]
    fn the_journal_gets_facts_with_their_fields_and_syslog_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_nonblocking(true).unwrap();
        let fields = [("FASTNESS_ACTION", "create".to_owned())];
        let fact = Fact {
            level: Level::Info,
            text: "create: done",
            fields: &fields,
        };
        let told = |open: fn(&Path) -> Option<SystemLog>| {
            let (log, _, _) = log(-2);
            let _attachment = log.attach(1, Box::new(open(&path).unwrap()));
            log.fact(&fact);
            let mut bytes = vec![0; 1 << 16];
            let count = daemon.recv(&mut bytes).unwrap_or(0);
            bytes.truncate(count);
            String::from_utf8(bytes).unwrap()
        };
        let journal = told(SystemLog::journal);
        assert!(
            journal.starts_with("MESSAGE=create: done\nPRIORITY=6\n"),
            "{journal}"
        );
        assert!(journal.ends_with("\nFASTNESS_ACTION=create\n"), "{journal}");
        assert_eq!(told(SystemLog::syslog), "");
    }

    #[test]
    fn a_syslog_daemon_gets_a_line_of_bounded_length() {
        let told = received(SystemLog::syslog, "one");
        assert_eq!(told, b"<12>borgmatic: ANSWER nas: one\0");
        let told = received(SystemLog::syslog, &"\u{e4}".repeat(100_000));
        assert!(told.len() > LONGEST && told.len() < LONGEST + 100);
    }
}
