//! Who holds a lock: holder names and the roster file `lock.roster`.
//!
//! A lock is a directory `lock.exclusive` that holds one empty file named after its holder, and a
//! JSON file that lists holders by kind:
//!
//! ```text
//! lock.exclusive/<host id>.<pid, decimal>-<thread, hexadecimal>
//! lock.roster     {"shared": [["<host id>", <pid>, <thread>], …], "exclusive": […]}
//! ```
//!
//! Either key may be absent; a missing, empty or damaged roster means that nobody is listed.
//! Entries this module cannot read are kept as they are and count as holders.

use serde_json::{Map, Value};
use std::fmt;

/// The largest roster file that is read: far above ten thousand holders.
pub const MAX_ROSTER_LEN: usize = 1 << 20;

/// One process as locks know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockIdentity {
    /// Name of the host, unique in the world: `<fqdn>@<hardware address as a decimal number>`.
    pub host_id: String,
    /// Process id on that host.
    pub pid: u32,
    /// Thread number; Borg always writes 0.
    pub thread: u64,
}

impl LockIdentity {
    /// Reads the name of a file in `lock.exclusive`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (rest, thread) = name.rsplit_once('-')?;
        let (host_id, pid) = rest.rsplit_once('.')?;
        Some(Self {
            host_id: host_id.to_owned(),
            pid: pid.parse().ok()?,
            thread: u64::from_str_radix(thread, 16).ok()?,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value.as_array()?.as_slice() {
            [host_id, pid, thread] => Some(Self {
                host_id: host_id.as_str()?.to_owned(),
                pid: u32::try_from(pid.as_u64()?).ok()?,
                thread: thread.as_u64()?,
            }),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        Value::from(vec![
            Value::from(self.host_id.as_str()),
            Value::from(self.pid),
            Value::from(self.thread),
        ])
    }
}

/// Writes the name of the holder's file in `lock.exclusive`.
impl fmt::Display for LockIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}-{:x}", self.host_id, self.pid, self.thread)
    }
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// One reader among others.
    Shared,
    /// The only holder.
    Exclusive,
}

impl LockKind {
    /// Returns the key of this kind in the roster file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

/// The content of `lock.roster`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LockRoster {
    entries: Map<String, Value>,
}

impl LockRoster {
    /// Reads a roster file; what is no roster is an empty one.
    pub fn parse(text: &[u8]) -> Self {
        match serde_json::from_slice(text) {
            Ok(Value::Object(entries)) => Self { entries },
            _ => Self::default(),
        }
    }

    /// Writes the roster as a file's content.
    pub fn encode(&self) -> Vec<u8> {
        Value::Object(self.entries.clone()).to_string().into_bytes()
    }

    fn list(&self, kind: LockKind) -> &[Value] {
        let list = self.entries.get(kind.key()).and_then(Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    /// Returns whether nobody holds the lock in this way.
    pub fn is_empty(&self, kind: LockKind) -> bool {
        self.list(kind).is_empty()
    }

    /// Returns the readable holders of a kind.
    pub fn holders(&self, kind: LockKind) -> impl Iterator<Item = LockIdentity> + '_ {
        self.list(kind).iter().filter_map(LockIdentity::from_json)
    }

    /// Adds a holder, once.
    pub fn add(&mut self, kind: LockKind, holder: &LockIdentity) {
        let mut list = self.list(kind).to_vec();
        let entry = holder.to_json();
        if !list.contains(&entry) {
            list.push(entry);
        }
        self.entries.insert(kind.key().to_owned(), list.into());
    }

    /// Removes a holder and returns whether it was listed.
    pub fn remove(&mut self, kind: LockKind, holder: &LockIdentity) -> bool {
        !self.retain(kind, |listed| listed != holder).is_empty()
    }

    /// Keeps the holders for which `keep` is true and those that cannot be read; returns the others.
    pub fn retain(
        &mut self,
        kind: LockKind,
        keep: impl Fn(&LockIdentity) -> bool,
    ) -> Vec<LockIdentity> {
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        for value in self.list(kind) {
            match LockIdentity::from_json(value) {
                Some(holder) if !keep(&holder) => removed.push(holder),
                _ => kept.push(value.clone()),
            }
        }
        if !removed.is_empty() {
            self.entries.insert(kind.key().to_owned(), kept.into());
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pid: u32) -> LockIdentity {
        LockIdentity {
            host_id: "my-host.example@123456".to_owned(),
            pid,
            thread: 0,
        }
    }

    #[test]
    fn file_names_read_back() {
        assert_eq!(identity(4242).to_string(), "my-host.example@123456.4242-0");
        let with_thread = LockIdentity {
            thread: 0xabc,
            ..identity(1)
        };
        for holder in [identity(4242), with_thread] {
            assert_eq!(
                LockIdentity::from_file_name(&holder.to_string()),
                Some(holder)
            );
        }
    }

    #[test]
    fn other_names_are_no_holders() {
        for name in [
            "",
            "x",
            "host-0",
            "host.-0",
            "host.1-",
            "host.1-g",
            "host.-1-0",
        ] {
            assert_eq!(LockIdentity::from_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn rosters_of_real_borg_are_read_and_written() {
        let text = br#"{"shared": [["h@1", 7, 0], ["h@1", 8, 0]], "exclusive": []}"#;
        let mut roster = LockRoster::parse(text);
        assert_eq!(roster.holders(LockKind::Shared).count(), 2);
        assert!(roster.is_empty(LockKind::Exclusive));
        let seven = LockIdentity {
            host_id: "h@1".to_owned(),
            pid: 7,
            thread: 0,
        };
        assert!(roster.remove(LockKind::Shared, &seven));
        assert!(!roster.remove(LockKind::Shared, &seven));
        roster.add(LockKind::Exclusive, &seven);
        roster.add(LockKind::Exclusive, &seven);
        let expected = br#"{"shared":[["h@1",8,0]],"exclusive":[["h@1",7,0]]}"#;
        assert_eq!(roster.encode(), expected);
    }

    #[test]
    fn damaged_rosters_are_empty() {
        for text in [&b""[..], b"{", b"[]", b"null", b"{\"shared\": 5}"] {
            assert!(LockRoster::parse(text).is_empty(LockKind::Shared));
        }
    }

    #[test]
    fn unreadable_entries_stay_and_count() {
        let text = br#"{"shared": [["h@1", -7, 0], ["h@1", 8, 0]], "else": 1}"#;
        let mut roster = LockRoster::parse(text);
        let removed = roster.retain(LockKind::Shared, |_| false);
        assert_eq!(removed.len(), 1);
        assert!(!roster.is_empty(LockKind::Shared));
        assert_eq!(roster.encode(), br#"{"shared":[["h@1",-7,0]],"else":1}"#);
    }
}
