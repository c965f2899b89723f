//! Data from elsewhere, at its place among the trees.

use std::os::fd::AsFd;
use std::sync::Arc;

use fastness_sys::stat::{self, Stat};

use super::super::big::BigFile;
use super::super::entry::{Directory, FileToRead, NameList, SkippedInodes, WalkRoot};
use super::super::{FileProducer, NextFile, ProducedFile, Root, Stream, StreamSource};
use super::{Conductor, WINDOW};
use crate::error::{EngineError, SourceError};

impl Conductor<'_, '_> {
    /// Archives data that comes from elsewhere, the stream of the options with this number.
    ///
    /// # Errors
    /// When the operation failed; a failure to read is told, and the archive is made without it.
    pub(super) fn stream(&mut self, number: usize, stream: &Stream) -> Result<(), EngineError> {
        let path = stream.path.clone();
        if self.lister.options.dry_run {
            self.show('-', path);
            return Ok(());
        }
        let stat = match &stream.source {
            StreamSource::Open(fd) => stat::stat_open(fd.as_fd()),
            // Nothing is open yet; what its stat says is seen by nobody.
            StreamSource::Produced(_) => stat::stat_path("/dev/null"),
            StreamSource::Files(files) => return self.files(number, stream, files.as_ref()),
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => {
                self.pending.failed(SourceError::io("fstat", error), path);
                return Ok(());
            }
        };
        self.read_stream(number, path, stat, None);
        Ok(())
    }

    /// Archives the files of a stream as they come.
    ///
    /// # Errors
    /// When the operation failed; files that are not complete are told, and the archive is not
    /// made for good.
    fn files(
        &mut self,
        number: usize,
        stream: &Stream,
        files: &dyn FileProducer,
    ) -> Result<(), EngineError> {
        loop {
            match files.next() {
                Ok(NextFile::File(file)) => {
                    let path = [stream.path.as_slice(), b"/", &file.path].concat();
                    match stat::stat_open(file.content.as_fd()) {
                        Ok(stat) => self.read_stream(number, path, stat, Some(file)),
                        Err(error) => {
                            let text = SourceError::io("fstat", error).to_string();
                            self.pending.failed(SourceError::Produced(text), path);
                        }
                    }
                }
                Ok(NextFile::NotYet) => self.settle(usize::MAX)?,
                Ok(NextFile::End) => return Ok(()),
                Err(error) => {
                    let error = SourceError::Produced(error.0);
                    self.pending.failed(error, stream.path.clone());
                    return Ok(());
                }
            }
            if self.pending.len() > WINDOW {
                self.settle(WINDOW / 2)?;
            }
            if self.crew.failed() {
                return Err(EngineError::Abandoned);
            }
        }
    }

    /// Lets a worker read a stream, or one of its files.
    fn read_stream(
        &mut self,
        number: usize,
        path: Vec<u8>,
        stat: Stat,
        produced: Option<ProducedFile>,
    ) {
        let directory = Directory {
            path: Vec::new(),
            fd: None,
            names: NameList::Given(Vec::new()),
            root: Arc::new(WalkRoot {
                root: Root::new(&path),
                only_device: None,
                skipped: SkippedInodes::default(),
            }),
        };
        self.send_batch();
        let file = FileToRead {
            directory: Arc::new(directory),
            index: 0,
            archived_path: path.clone(),
            path,
            stat,
            key: None,
            status: 'i',
            hardlink_master: false,
            stream: Some(number),
            produced,
        };
        let big = BigFile::spawn(self.crew, self.lister, file);
        self.pending.big(big);
    }
}
