//! What is remembered on this machine about a repository, to be fast: nothing here is needed.
//!
//! Two files of our own in a directory that the caller names: [`chunks`] knows every chunk and how
//! often it is referenced, [`files`] knows the chunks of unchanged files. [`sync`] makes the first
//! anew from the archives, [`borg`] writes it once more in the form of Borg's own cache.
//!
//! Trust: the chunk table is used only when it was saved with the very manifest the repository has
//! now, as a wrong reference count deletes data. A damaged, foreign or outdated file is as good as
//! none. Files are replaced by renaming, never changed in place.

pub mod borg;
pub mod chunks;
pub mod files;
pub mod sync;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use borg::BorgCache;
pub use chunks::{ChunkEntry, ChunkTable, ChunkTotals};
pub use files::{FileKey, FilesCache, FilesCacheMode, FilesCacheWriter, Known};

/// The cache directory of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheDirectory {
    path: PathBuf,
}

impl CacheDirectory {
    /// Names a directory; it need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory and its parents, readable by the owner only.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn create(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
    }

    /// Returns the path of the chunk table.
    pub fn chunk_table(&self) -> PathBuf {
        self.path.join("chunk-table")
    }

    /// Returns the path of the files cache; several sets of files may have one each, told apart by
    /// a suffix (`BORG_FILES_CACHE_SUFFIX`).
    pub fn files_cache(&self, suffix: Option<&str>) -> PathBuf {
        match suffix.filter(|suffix| !suffix.is_empty()) {
            // A suffix is part of a name, not of a path.
            Some(suffix) => self
                .path
                .join(format!("file-table.{}", suffix.replace('/', "_"))),
            None => self.path.join("file-table"),
        }
    }

    /// Removes what is remembered, for a repository that was deleted or is mistrusted.
    ///
    /// # Errors
    /// When the directory is there and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// A file that takes the place of another when it is complete, and vanishes if it never is.
#[derive(Debug)]
struct Replacement {
    target: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Replacement {
    fn create(target: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = target.with_file_name(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        Ok(Self {
            target: target.to_owned(),
            temporary,
            file: Some(BufWriter::with_capacity(256 * 1024, file)),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer()?.write_all(bytes)
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes sure of the content, so that only the name is left to be given.
    fn settle(&mut self) -> io::Result<()> {
        let writer = self.writer()?;
        writer.flush()?;
        writer.get_ref().sync_data()
    }

    /// Gives the file its name. `durable` makes sure of its content before.
    fn commit(mut self, durable: bool) -> io::Result<()> {
        if let Some(mut writer) = self.file.take() {
            let written = writer.flush().and_then(|()| match durable {
                true => writer.get_ref().sync_data(),
                false => Ok(()),
            });
            let placed = written.and_then(|()| fs::rename(&self.temporary, &self.target));
            if placed.is_err() {
                let _ = fs::remove_file(&self.temporary);
            }
            placed?;
        }
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
