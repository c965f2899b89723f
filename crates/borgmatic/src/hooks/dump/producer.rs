//! Dumps as streams of an archive: a program is started when the archive comes to its dump.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use fastness_engine::create::{Ended, Producer, ProducerError};

use super::program::{Program, Running};
use super::{DumpError, PlannedDump};
use crate::output::log::{Level, Log};

impl From<DumpError> for ProducerError {
    fn from(error: DumpError) -> Self {
        Self(error.to_string())
    }
}

/// The output of a program, which must be all of it.
pub struct ProgramOutput {
    program: Program,
    last: Option<&'static str>,
    log: Log,
    running: Mutex<Option<Running>>,
}

impl ProgramOutput {
    /// Makes one of a dump that is a stream.
    pub fn new(dump: PlannedDump, log: &Log) -> Self {
        Self {
            program: dump.program,
            last: dump.last,
            log: log.clone(),
            running: Mutex::default(),
        }
    }

    fn end(&self, ended: &Ended, abandoned: &dyn Fn() -> bool) -> Result<(), DumpError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut running) = running.take() {
            running.wait(abandoned)?;
        }
        let last = self.last.unwrap_or_default();
        if ended.bytes > 0 && ended.tail.ends_with(last.as_bytes()) {
            return Ok(());
        }
        Err(DumpError::Incomplete {
            what: self.program.what.clone(),
            program: self.program.name().to_owned(),
        })
    }
}

impl Producer for ProgramOutput {
    fn begin(&self) -> Result<OwnedFd, ProducerError> {
        let text = format!("Dumping {}", self.program.what);
        self.log.record(Level::Info, &text);
        let mut child = self
            .program
            .start(&self.log, Stdio::null(), Stdio::piped())?;
        let output = child.stdout().ok_or_else(|| {
            let error = io::Error::from(io::ErrorKind::BrokenPipe);
            ProducerError(error.to_string())
        })?;
        // Fewer changes between the two sides; not needed.
        let _ = fastness_sys::process::widen_pipe(&output);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = Some(child);
        Ok(output)
    }

    fn finish(&self, ended: &Ended, abandoned: &dyn Fn() -> bool) -> Result<(), ProducerError> {
        Ok(self.end(ended, abandoned)?)
    }
}

impl fmt::Debug for ProgramOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProgramOutput").field(&self.program).finish()
    }
}

/// A dump that failed before the archive was begun: it is missing in it, which the archive tells.
#[derive(Debug)]
pub struct Failed(pub DumpError);

impl Producer for Failed {
    fn begin(&self) -> Result<OwnedFd, ProducerError> {
        Err(ProducerError(self.0.to_string()))
    }

    fn finish(&self, _: &Ended, _: &dyn Fn() -> bool) -> Result<(), ProducerError> {
        Err(ProducerError(self.0.to_string()))
    }
}
