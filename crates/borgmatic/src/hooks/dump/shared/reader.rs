//! The end of a shared dump that one archive holds.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fastness_borg::signals::end_wanted;
use fastness_engine::create::{Ended, FileProducer, NextFile, Producer, ProducerError};

use super::{Dump, Standing, locked};

/// What one archive takes a dump with.
pub(super) struct Reader {
    /// The dump.
    pub dump: Arc<Dump>,
    /// The number of the archive.
    pub number: usize,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.number).finish()
    }
}

impl Reader {
    /// Fails when the dump goes on without this one, or the run is to end.
    fn look(&self) -> Result<(), ProducerError> {
        match self.dump.standing(self.number) {
            _ if end_wanted() => Err(ProducerError("the run is to end".to_owned())),
            Standing::Gone => Err(self.dump.group.why_left_behind()),
            Standing::Expected | Standing::Joined => Ok(()),
        }
    }

    fn begin(&self) -> Result<OwnedFd, ProducerError> {
        self.look()?;
        self.dump.join(self.number);
        loop {
            self.look()?;
            let mut state = locked(&self.dump.state);
            if let Some(Err(reason)) = &state.ended {
                return Err(ProducerError(reason.clone()));
            }
            let seat = state.seats.get_mut(self.number);
            if let Some(pipe) = seat.and_then(|seat| seat.pipe.take()) {
                return Ok(pipe);
            }
            drop(self.dump.wait(state));
        }
    }

    fn finish(&self, ended: &Ended, abandoned: &dyn Fn() -> bool) -> Result<(), ProducerError> {
        loop {
            self.look()?;
            let state = locked(&self.dump.state);
            match &state.ended {
                Some(Ok(bytes)) if *bytes == ended.bytes => return Ok(()),
                Some(Ok(_)) => return Err(self.dump.group.why_left_behind()),
                Some(Err(reason)) => return Err(ProducerError(reason.clone())),
                None if abandoned() => return Err(ProducerError("it was given up".to_owned())),
                None => drop(self.dump.wait(state)),
            }
        }
    }

    fn next(&self) -> Result<NextFile, ProducerError> {
        self.look()?;
        self.dump.join(self.number);
        let mut state = locked(&self.dump.state);
        let seat = state.seats.get_mut(self.number);
        if let Some(file) = seat.and_then(|seat| seat.files.pop_front()) {
            self.dump.group.takes(self.number);
            self.dump.changed.notify_all();
            return Ok(NextFile::File(file));
        }
        match &state.ended {
            Some(Ok(_)) => Ok(NextFile::End),
            Some(Err(reason)) => Err(ProducerError(reason.clone())),
            None => {
                drop(self.dump.wait(state));
                Ok(NextFile::NotYet)
            }
        }
    }

    /// Nobody is to wait any more for one who is done with this dump.
    fn leave<T>(&self, result: T) -> T {
        self.dump.leave(self.number);
        result
    }
}

impl Producer for Reader {
    fn begin(&self) -> Result<OwnedFd, ProducerError> {
        Self::begin(self).map_err(|error| self.leave(error))
    }

    fn finish(&self, ended: &Ended, abandoned: &dyn Fn() -> bool) -> Result<(), ProducerError> {
        self.leave(Self::finish(self, ended, abandoned))
    }
}

impl FileProducer for Reader {
    fn next(&self) -> Result<NextFile, ProducerError> {
        match Self::next(self) {
            Ok(NextFile::End) => self.leave(Ok(NextFile::End)),
            Err(error) => self.leave(Err(error)),
            more => more,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.dump.leave(self.number);
    }
}
