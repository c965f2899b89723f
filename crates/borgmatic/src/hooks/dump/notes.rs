//! What becomes of each dump of an archive, for the account of the run.
//!
//! The archive is made by the engine, which knows streams and no databases; so what produces a
//! stream is wrapped here in something that notes how it ended.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use fastness_engine::create::{
    Ended, FileProducer, NextFile, Producer, ProducerError, Stream, StreamSource,
};

use crate::report::DatabaseReport;

/// Dumps by name, shared with what produces them.
#[derive(Debug, Clone, Default)]
pub struct DumpNotes(Arc<Mutex<Vec<DatabaseReport>>>);

impl DumpNotes {
    /// Returns what became of the dumps so far.
    pub fn all(&self) -> Vec<DatabaseReport> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// Returns notes that begin with the same, for another archive.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.all())))
    }

    /// Notes a dump that is complete, with its size if that is known.
    pub fn done(&self, name: &str, bytes: Option<u64>) {
        self.change(name, |report| {
            report.bytes = bytes;
            report.error = None;
        });
    }

    /// Notes how the dump in `stream` ends; until then it counts as not saved.
    pub fn watch(&self, mut stream: Stream) -> Stream {
        let path = String::from_utf8_lossy(&stream.path);
        let name = path.strip_prefix("borgmatic/").unwrap_or(&path).to_owned();
        self.change(&name, |report| {
            report.error = Some("it was not begun".to_owned());
        });
        let notes = self.clone();
        stream.source = match stream.source {
            StreamSource::Produced(producer) => StreamSource::Produced(Box::new(Watched {
                producer,
                name,
                notes,
            })),
            StreamSource::Files(producer) => StreamSource::Files(Box::new(Watched {
                producer,
                name,
                notes,
            })),
            open @ StreamSource::Open(_) => open,
        };
        stream
    }

    fn failed(&self, name: &str, error: &ProducerError) {
        self.change(name, |report| report.error = Some(error.to_string()));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut DatabaseReport)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|known| known.name == name) {
            Some(known) => change(known),
            None => {
                let mut report = DatabaseReport {
                    name: name.to_owned(),
                    ..DatabaseReport::default()
                };
                change(&mut report);
                all.push(report);
            }
        }
    }
}

/// A producer that is watched.
#[derive(Debug)]
struct Watched<P: ?Sized> {
    name: String,
    notes: DumpNotes,
    producer: Box<P>,
}

impl Producer for Watched<dyn Producer> {
    fn begin(&self) -> Result<OwnedFd, ProducerError> {
        let begun = self.producer.begin();
        match &begun {
            Ok(_) => {
                let error = ProducerError("it was not completed".to_owned());
                self.notes.failed(&self.name, &error);
            }
            Err(error) => self.notes.failed(&self.name, error),
        }
        begun
    }

    fn finish(&self, ended: &Ended, abandoned: &dyn Fn() -> bool) -> Result<(), ProducerError> {
        let finished = self.producer.finish(ended, abandoned);
        match &finished {
            Ok(()) => self.notes.done(&self.name, Some(ended.bytes)),
            Err(error) => self.notes.failed(&self.name, error),
        }
        finished
    }
}

impl FileProducer for Watched<dyn FileProducer> {
    fn next(&self) -> Result<NextFile, ProducerError> {
        let next = self.producer.next();
        match &next {
            Ok(NextFile::End) => self.notes.done(&self.name, None),
            Ok(_) => {}
            Err(error) => self.notes.failed(&self.name, error),
        }
        next
    }
}
