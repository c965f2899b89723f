//! Looks into a repository for those who search for a mistake; not for everyday use.

pub mod archives;
pub mod dump;
pub mod hints;
pub mod info;
pub mod objects;
pub mod profile;
pub mod scan;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use fastness_engine::keys;
use fastness_engine::objects::open_object;
use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_repository::Repository;

use crate::access::Place;
use crate::context::Context;
use crate::error::{CommandError, errno_text, with_causes};

impl Context<'_> {
    /// Opens a file for writing; `-` is stdout.
    fn sink(&mut self, path: &OsStr) -> Result<Box<dyn Write + '_>, CommandError> {
        if path == "-" {
            return Ok(Box::new(&mut *self.stdout));
        }
        match File::create(path) {
            Ok(file) => Ok(Box::new(BufWriter::new(file))),
            Err(error) => Err(file_failed(Path::new(path), &error)),
        }
    }

    /// Writes a file into the current directory.
    fn dump(&mut self, name: &str, content: &[u8]) -> Result<(), CommandError> {
        self.print(format!("Dumping {name}\n"))?;
        let path = self.directory.join(name);
        std::fs::write(&path, content).map_err(|error| file_failed(&path, &error))
    }

    /// Opens the key of a repository by one of its objects, for the manifest may be lost.
    fn key_without_manifest(
        &self,
        place: &Place,
        repository: &dyn Repository,
        stored: &[u8],
    ) -> Result<Arc<Crypto>, CommandError> {
        let key = keys::open(&self.key_context(place), repository, stored)?;
        Ok(Arc::new(key.crypto))
    }
}

fn file_failed(path: &Path, error: &io::Error) -> CommandError {
    CommandError::general(errno_text(error, Some(path)))
}

fn write_failed(error: io::Error) -> CommandError {
    CommandError::general(errno_text(&error, None))
}

/// Decrypts an object.
fn plaintext(crypto: &Crypto, id: &ChunkId, stored: &[u8]) -> Result<Vec<u8>, CommandError> {
    let mut data = Vec::new();
    open_object(crypto, id, stored, &mut data)
        .map_err(|error| CommandError::told(error.msgid(), &error))?;
    Ok(data)
}

/// Reads the id of an object.
fn object_id(text: &str) -> Result<ChunkId, CommandError> {
    ChunkId::from_hex(text).map_err(|error| {
        CommandError::command(format!(
            "object id {text} is invalid [{}].",
            with_causes(&error)
        ))
    })
}
