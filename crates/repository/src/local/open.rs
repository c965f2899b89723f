//! Creating and opening a repository in a directory.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use fastness_format::id::RepositoryId;
use fastness_format::repository_config::RepositoryConfig;
use fastness_format::segment;

use super::config::{self, NonceFile};
use super::lock::{Lock, LockIdentity, LockKind, LockWait};
use super::segments::Segments;
use super::{LocalRepository, State};
use crate::error::{RepositoryError, Result};
use crate::monitor::Monitor;
use crate::storage;

/// The file that marks a directory as a repository.
const README: &str = "This is a Borg Backup repository.\nSee https://borgbackup.readthedocs.io/\n";

/// How a repository is locked while it is open.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Exclusive for everything that changes something.
    pub kind: LockKind,
    /// How long to wait for others.
    pub wait: LockWait,
    /// Who holds it.
    pub identity: LockIdentity,
}

/// How a repository is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// None leaves the repository unlocked: for media that cannot be written, and for operations
    /// on the key alone.
    pub lock: Option<LockOptions>,
    /// Nothing is ever removed, whatever the config says.
    pub append_only: bool,
    /// Bytes that may be used, instead of what the config says; zero means no limit.
    pub storage_quota: Option<u64>,
    /// Receives log lines and progress.
    pub monitor: Arc<dyn Monitor>,
    /// Tells the time for the log of transactions of append-only repositories.
    pub now: fn() -> SystemTime,
}

/// What a new repository is like.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Its identity: 32 random bytes.
    pub id: RepositoryId,
    /// Nothing is ever removed.
    pub append_only: bool,
    /// Bytes that may be used.
    pub storage_quota: Option<u64>,
    /// Also creates the directories above it.
    pub make_parent_dirs: bool,
}

impl LocalRepository {
    /// Opens a repository.
    ///
    /// # Errors
    /// [`RepositoryError::DoesNotExist`], [`RepositoryError::InvalidRepository`],
    /// [`RepositoryError::InvalidRepositoryConfig`], [`RepositoryError::AtticRepository`],
    /// [`RepositoryError::Lock`].
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self> {
        let _stage = tracing::trace_span!("open_repository").entered();
        let path = absolute(path)?;
        let name = path.display().to_string();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(RepositoryError::InvalidRepository(name)),
            Err(error) => return Err(not_there(name, &path, error)),
        }
        let lock = match options.lock {
            Some(lock) => Some(Lock::acquire(&path, lock.kind, lock.wait, lock.identity)?),
            None => None,
        };
        let text = config::read(&path)?;
        let config =
            RepositoryConfig::from_config(&text).map_err(|error| config::invalid(&path, &error))?;
        let repository = Self {
            append_only: options.append_only || config.append_only,
            quota: match options.storage_quota {
                Some(quota) => Some(quota).filter(|&quota| quota > 0),
                None => config.storage_quota,
            },
            segments: Segments::new(&path, config.segments_per_dir),
            nonces: Arc::new(NonceFile::new(&path)),
            locked: lock.is_some(),
            lock: Mutex::new(lock),
            monitor: options.monitor,
            now: options.now,
            config,
            path,
            state: OnceLock::new(),
            loading: Mutex::default(),
            writer: None,
            doomed: None,
            order: Mutex::default(),
            created: false,
        };
        repository.tell_lock_notes();
        repository.refuse_attic()?;
        Ok(repository)
    }

    fn refuse_attic(&self) -> Result<()> {
        if let Some(latest) = self.segments.latest()?
            && self.segments.magic(latest)? == segment::ATTIC_MAGIC
        {
            return Err(RepositoryError::AtticRepository(self.name()));
        }
        Ok(())
    }

    /// Creates a repository and opens it.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyExists`], [`RepositoryError::PathAlreadyExists`],
    /// [`RepositoryError::ParentPathDoesNotExist`], [`RepositoryError::PathPermissionDenied`];
    /// those of [`LocalRepository::open`].
    pub fn create(path: &Path, new: &CreateOptions, options: OpenOptions) -> Result<Self> {
        let path = absolute(path)?;
        refuse_if_occupied(&path)?;
        make_dir(&path, new.make_parent_dirs)?;
        storage::create_dir(&path.join("data"))?;
        storage::replace(&path.join("README"), README.as_bytes())?;
        let mut config = RepositoryConfig::new(new.id);
        config.append_only = new.append_only;
        config.storage_quota = new.storage_quota;
        // The config comes last: without it this is no repository yet, and can be created again.
        config::write(&path, &config.to_config(), &*options.monitor)?;
        storage::sync_dir(storage::parent(&path))?;
        let mut repository = Self::open(&path, options)?;
        repository.created = true;
        let _ = repository.state.set(State::default());
        Ok(repository)
    }
}

fn not_there(name: String, path: &Path, error: std::io::Error) -> RepositoryError {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            RepositoryError::DoesNotExist(name)
        }
        std::io::ErrorKind::PermissionDenied => RepositoryError::PathPermissionDenied(name),
        _ => storage::failed("stat", path)(error),
    }
}

fn make_dir(path: &Path, with_parents: bool) -> Result<()> {
    let name = path.display().to_string();
    let result = if with_parents {
        std::fs::create_dir_all(path)
    } else {
        std::fs::create_dir(path)
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            std::io::ErrorKind::AlreadyExists => Ok(()),
            std::io::ErrorKind::NotFound => Err(RepositoryError::ParentPathDoesNotExist(name)),
            std::io::ErrorKind::PermissionDenied => {
                Err(RepositoryError::PathPermissionDenied(name))
            }
            _ => Err(storage::failed("mkdir", path)(error)),
        },
    }
}

/// Tells whether a directory says of itself that it is a repository.
pub fn is_repository(path: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let read = std::fs::File::open(path.join("README"))
        .and_then(|file| file.take(100).read_to_end(&mut head));
    let says = |text: &[u8]| head.windows(text.len()).any(|window| window == text);
    read.is_ok() && (says(b"Borg Backup repository") || says(b"Borg repository"))
}

fn refuse_if_occupied(path: &Path) -> Result<()> {
    let name = || path.display().to_string();
    let denied = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => RepositoryError::PathPermissionDenied(name()),
        _ => storage::failed("list", path)(error),
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(denied(error)),
        Ok(_) if is_half_created(path) => {}
        Ok(_) if is_repository(path) => return Err(RepositoryError::AlreadyExists(name())),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(RepositoryError::PathAlreadyExists(name()));
        }
        Ok(_) => {
            if std::fs::read_dir(path).map_err(denied)?.next().is_some() {
                return Err(RepositoryError::PathAlreadyExists(name()));
            }
        }
    }
    match path.ancestors().skip(1).find(|above| is_repository(above)) {
        Some(above) => Err(RepositoryError::AlreadyExists(above.display().to_string())),
        None => Ok(()),
    }
}

/// Tells whether a directory holds nothing but what [`LocalRepository::create`] makes before the
/// config: a creation that was interrupted.
fn is_half_created(path: &Path) -> bool {
    let Ok(names) = storage::names(path) else {
        return false;
    };
    let ours = |name: &String| {
        name == "README"
            || (name == "data"
                && std::fs::read_dir(path.join(name)).is_ok_and(|mut dir| dir.next().is_none()))
            || (name.ends_with(".tmp")
                && (name.starts_with("README-") || name.starts_with("config-")))
    };
    names.iter().any(|name| name == "data") && names.iter().all(ours)
}

/// Makes a path absolute by its text alone, as Borg does: symlinks are not looked at.
fn absolute(path: &Path) -> Result<PathBuf> {
    let joined = std::path::absolute(path).map_err(storage::failed("find", path))?;
    let mut normal = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            component => normal.push(component),
        }
    }
    Ok(normal)
}
