//! What is installed on a machine, as text files in each of its archives: package sources and lists,
//! Python packages, units, accounts, disks, crontabs (`fastness: system_inventory:`).
//!
//! [`parts`] says what there is to know, [`collect`] finds it out; here it goes into the archive that
//! is being made, without a file on this machine. Whatever is missing or fails is noted in the
//! inventory; it never costs the backup.

mod collect;
mod parts;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_engine::create::{FileProducer, NextFile, ProducedFile, ProducerError};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Value, json};

use crate::config::tree::Node;
use crate::output::log::{Level, Log};
use collect::{Collector, Found};
use parts::PARTS;

/// The name of its directory in archives, below that of borgmatic.
pub const DIRECTORY: &str = "system_inventory";

/// The file that says what the others are; it comes last.
pub const INDEX: &str = "inventory.json";

/// How long the archive waits for the next file before it looks around.
const MOMENT: Duration = Duration::from_millis(50);

/// Files that may wait until the archive takes them.
const WAITING_FILES: usize = 4;

/// How long one program may take, unless it is configured.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names of parts; empty for all.
    pub parts: Vec<String>,
    /// Directories of Python's virtual environments.
    pub virtual_environments: Vec<String>,
    /// How long one program may take.
    pub timeout: Duration,
}

impl Settings {
    /// Reads the option of a section that was validated; none when it is off.
    pub fn read(section: Option<&Node>) -> Option<Self> {
        let node = section?.get(DIRECTORY)?;
        if node.as_boolean() == Some(false) {
            return None;
        }
        let texts = |key: &str| {
            let elements = node.get(key).map(Node::elements).unwrap_or_default();
            let texts = elements.iter().filter_map(Node::as_text);
            texts.map(str::to_owned).collect()
        };
        let seconds = node.get("timeout").and_then(Node::as_integer);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Some(Self {
            parts: texts("parts"),
            virtual_environments: texts("virtual_environments"),
            timeout: seconds.map_or(TIMEOUT, Duration::from_secs),
        })
    }
}

/// The inventory that goes into an archive.
pub struct Inventory {
    settings: Settings,
    log: Log,
    environment: BTreeMap<OsString, OsString>,
    work: Mutex<Option<Work>>,
}

/// The thread that collects.
struct Work {
    messages: Receiver<ProducedFile>,
    abandoned: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let (_, nobody) = sync_channel(1);
        drop(std::mem::replace(&mut self.messages, nobody));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inventory {
    /// Prepares one; nothing is looked at yet.
    pub fn new(settings: &Settings, log: &Log, environment: &BTreeMap<OsString, OsString>) -> Self {
        Self {
            settings: settings.clone(),
            log: log.clone(),
            environment: collect::environment(environment),
            work: Mutex::default(),
        }
    }

    fn start(&self) -> Work {
        let text = "Taking the inventory of the system";
        self.log.record(Level::Info, text);
        let abandoned = Arc::new(AtomicBool::new(false));
        let (sender, messages) = sync_channel(WAITING_FILES);
        let collector = Collector {
            log: self.log.clone(),
            environment: Arc::new(self.environment.clone()),
            timeout: self.settings.timeout,
            abandoned: Arc::clone(&abandoned),
        };
        let settings = self.settings.clone();
        let thread = std::thread::spawn(move || take(&settings, &collector, &sender));
        Work {
            messages,
            abandoned,
            thread: Some(thread),
        }
    }
}

impl FileProducer for Inventory {
    fn next(&self) -> Result<NextFile, ProducerError> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let work = work.get_or_insert_with(|| self.start());
        Ok(match work.messages.recv_timeout(MOMENT) {
            Ok(file) => NextFile::File(file),
            Err(RecvTimeoutError::Timeout) => NextFile::NotYet,
            Err(RecvTimeoutError::Disconnected) => NextFile::End,
        })
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inventory").field(&self.settings).finish()
    }
}

/// Collects all parts, and says in the end what became of each. Ends early when nobody listens.
fn take(settings: &Settings, collector: &Collector, sender: &SyncSender<ProducedFile>) {
    let mut entries: Vec<Value> = Vec::new();
    let wanted = |name: &str| settings.parts.is_empty() || settings.parts.iter().any(|p| p == name);
    for part in PARTS.iter().filter(|part| wanted(part.name)) {
        for want in (part.wants)(settings) {
            for (name, found) in collector.find(&want) {
                let (state, note) = match &found {
                    Found::Content(_) => ("saved", None),
                    Found::Missing(note) => ("missing", Some(note.clone())),
                    Found::Failed(note) => ("failed", Some(note.clone())),
                };
                if let Found::Failed(note) = &found {
                    let text = format!("The inventory of the system has no {name}: {note}");
                    collector.log.record(Level::Warning, &text);
                }
                entries
                    .push(json!({"part": part.name, "name": name, "state": state, "note": note}));
                if let Found::Content(content) = found
                    && sender.send(file(name, content)).is_err()
                {
                    return;
                }
            }
        }
    }
    let index = json!({"version": 1, "entries": entries});
    if let Ok(content) = in_memory(format!("{index:#}\n").as_bytes()) {
        // Nobody may listen any more.
        let _ = sender.send(file(INDEX.to_owned(), content));
    }
}

fn file(name: String, content: OwnedFd) -> ProducedFile {
    ProducedFile {
        path: name.into_bytes(),
        content,
    }
}

/// A file in memory, to be read from its beginning.
fn in_memory(content: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("fastness-inventory", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::config::load::load_text;
    use crate::output::log::tests::log;

    fn settings(text: &str) -> Option<Settings> {
        Settings::read(load_text(text, "test").unwrap().get("fastness"))
    }

    #[test]
    fn the_option_is_a_switch_or_says_more() {
        assert_eq!(settings("fastness: {system_inventory: false}"), None);
        assert_eq!(settings("fastness: {}"), None);
        let all = settings("fastness: {system_inventory: true}").unwrap();
        assert_eq!((all.parts.len(), all.timeout), (0, TIMEOUT));
        let text =
            "fastness: {system_inventory: {parts: [apt], virtual_environments: [/v], timeout: 5}}";
        let some = settings(text).unwrap();
        assert_eq!(some.parts, ["apt"]);
        assert_eq!(some.virtual_environments, ["/v"]);
        assert_eq!(some.timeout, Duration::from_secs(5));
    }

    #[test]
    fn names_of_parts_are_those_of_the_configuration() {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        let table = include_str!("../../config/options.yaml");
        let words = format!("words: [{}]", names.join(", "));
        assert!(table.contains(&words), "{words}");
    }

    #[test]
    fn the_index_comes_last_and_names_all_others() {
        let (log, _, _) = log(0);
        let settings = settings("fastness: {system_inventory: {parts: [accounts]}}").unwrap();
        let inventory = Inventory::new(&settings, &log, &BTreeMap::new());
        let mut files = Vec::new();
        loop {
            match inventory.next().unwrap() {
                NextFile::File(file) => {
                    let mut content = String::new();
                    File::from(file.content)
                        .read_to_string(&mut content)
                        .unwrap();
                    files.push((String::from_utf8(file.path).unwrap(), content));
                }
                NextFile::NotYet => {}
                NextFile::End => break,
            }
        }
        let (name, index) = files.pop().unwrap();
        assert_eq!(name, INDEX);
        let index: Value = serde_json::from_str(&index).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["files/etc/passwd", "files/etc/group"]);
        assert_eq!(index["entries"][0]["state"], "saved");
        assert_eq!(files[0].1, std::fs::read_to_string("/etc/passwd").unwrap());
    }
}
