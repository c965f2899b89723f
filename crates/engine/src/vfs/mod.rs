//! Archives as a file system to look into: directories, attributes, contents, nothing copied.
//!
//! [`Vfs`] sits between a session and whoever shows it, such as a FUSE mount. The tree of names is
//! kept in memory, an item's metadata is decoded again from its archive each time it is asked for:
//! what is kept per file is a few dozen bytes and its name. The chunks decoded last are remembered
//! within bounds. All methods may be called by many threads at once.
//!
//! - `tree`: names and nodes; `grow` makes them of an archive, `versions` names them in the
//!   merged view
//! - `streams`: where the items of the nodes are; `chunks` remembers opened chunks
//! - `content`: files read in pieces

mod chunks;
mod content;
mod grow;
mod streams;
#[cfg(test)]
mod tests;
mod tree;
mod versions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastness_format::item::{ItemError, ItemRef};
use fastness_sys::stat::FileKind;
use fastness_sys::users::Accounts;

use crate::error::EngineError;
use crate::event::{Level, Monitor};
use crate::select::patterns::PatternMatcher;
use crate::session::Session;

use chunks::ChunkCache;
pub use content::OpenFile;
use tree::{Archive, Place, Tree};
pub use tree::{NodeId, ROOT};

/// Bytes of opened metadata chunks that are remembered.
const METADATA_BYTES: usize = 16 << 20;

/// How archives are shown.
#[derive(Debug)]
pub struct VfsOptions {
    /// Which items are shown.
    pub patterns: PatternMatcher,
    /// Components cut off each path; shorter paths are left out.
    pub strip_components: usize,
    /// Whether part files are shown.
    pub part_files: bool,
    /// Whether all archives are merged, and each file is a directory of its versions.
    pub versions: bool,
    /// Whether files are readable that have lost chunks replaced by zeros.
    pub allow_damaged_files: bool,
    /// Permission bits to take away.
    pub umask: u32,
    /// The owner of everything, in place of the archived ones.
    pub uid: Option<u32>,
    /// The group of everything, in place of the archived ones.
    pub gid: Option<u32>,
    /// Whether the archived numbers of users and groups count, not their names.
    pub numeric_ids: bool,
    /// Owner and group of directories that no archive describes.
    pub own_ids: (u32, u32),
    /// When the view is made, in ns since 1970: the time of such directories.
    pub now: i64,
    /// Content chunks that are remembered.
    pub cached_chunks: usize,
    /// Threads that read an item stream.
    pub threads: usize,
}

/// What `stat` tells of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Kind and permissions.
    pub mode: u32,
    /// Number of names, as far as they are shown.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number.
    pub rdev: u64,
    /// Length of the content in bytes.
    pub size: u64,
    /// Time of last access in ns since 1970.
    pub atime: i64,
    /// Time of last modification.
    pub mtime: i64,
    /// Time of the last change of the inode.
    pub ctime: i64,
    /// Time of creation.
    pub birthtime: i64,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Vec<u8>,
    /// What it names.
    pub node: NodeId,
    /// The kind of it.
    pub kind: FileKind,
}

/// Why a node cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// There is no such node or name.
    #[error("there is nothing of this name or number")]
    NotFound,
    /// It has no names below it.
    #[error("not a directory")]
    NotADirectory,
    /// It has no content, or is no symbolic link.
    #[error("not of the kind asked for")]
    WrongKind,
    /// Chunks of the file were lost and replaced by zeros.
    #[error(
        "File has damaged (all-zero) chunks. Try running borg check --repair. Mount with \
         allow_damaged_files to read damaged files."
    )]
    Damaged,
    /// The archive could not be read before, and is not tried again.
    #[error("the archive {0:?} could not be read")]
    Unreadable(String),
    /// The metadata of the node is damaged.
    #[error("the item cannot be read")]
    Item(#[source] ItemError),
    /// The view was closed.
    #[error("the view was closed")]
    Closed,
    /// The repository or the archive is damaged, or cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Numbers for those who want to know how large the view has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VfsSize {
    /// Files, directories and so on.
    pub nodes: usize,
    /// Names of them.
    pub names: usize,
    /// Archives that nobody has looked into so far.
    pub pending_archives: usize,
    /// Content chunks that are remembered, and their bytes.
    pub cached_chunks: (usize, usize),
}

/// A view of archives as a file system.
pub struct Vfs {
    /// None once it was closed.
    session: RwLock<Option<Session>>,
    options: VfsOptions,
    monitor: Arc<dyn Monitor + Send>,
    tree: RwLock<Tree>,
    accounts: Mutex<Accounts>,
    metadata: ChunkCache,
    contents: ChunkCache,
}

impl Vfs {
    /// Makes an empty view; archives are added with [`Vfs::show_archive`] and the like.
    pub fn new(session: Session, options: VfsOptions, monitor: Arc<dyn Monitor + Send>) -> Self {
        Self {
            session: RwLock::new(Some(session)),
            tree: RwLock::new(Tree::new(options.now)),
            accounts: Mutex::new(Accounts::new()),
            metadata: ChunkCache::of_bytes(METADATA_BYTES),
            contents: ChunkCache::of_chunks(options.cached_chunks),
            options,
            monitor,
        }
    }

    /// Shows the content of an archive at the root, or merges it into what is there.
    ///
    /// # Errors
    /// When there is no such archive, or it cannot be read.
    pub fn show_archive(&self, name: &[u8]) -> Result<(), VfsError> {
        self.grow(name, ROOT)
    }

    /// Shows an archive as a directory of the root, begun at `time` (ns since 1970). It is read
    /// when somebody looks into it.
    pub fn show_archive_directory(&self, name: &[u8], time: i64) {
        let mut tree = self.tree_mut();
        if tree::is_possible_name(name) {
            let directory = tree.directory_in(ROOT, name, Place::Made(time));
            tree.pending
                .insert(directory, Archive::Pending(name.to_vec()));
        } else {
            let name = String::from_utf8_lossy(name);
            self.warn(format!(
                "Archive {name:?} cannot be the name of a directory, left out"
            ));
        }
    }

    /// Finds a name in a directory.
    ///
    /// # Errors
    /// [`VfsError::NotFound`], [`VfsError::NotADirectory`]; when its archive cannot be read.
    pub fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<NodeId, VfsError> {
        self.look_into(directory)?;
        let tree = self.tree();
        if !tree.is_directory(directory) {
            return Err(VfsError::NotADirectory);
        }
        tree.find(directory, name).ok_or(VfsError::NotFound)
    }

    /// Returns the directory above a node; the root is above itself.
    pub fn parent(&self, node: NodeId) -> NodeId {
        self.tree().parent(node)
    }

    /// Lists a directory in the order of its archive, beginning with the name at place `from`,
    /// until `take` returns false.
    ///
    /// # Errors
    /// As [`Vfs::lookup`].
    pub fn list(
        &self,
        directory: NodeId,
        from: usize,
        mut take: impl FnMut(usize, &Listed) -> bool,
    ) -> Result<(), VfsError> {
        self.look_into(directory)?;
        // A piece at a time: `take` may ask for more of the tree.
        let mut place = from;
        loop {
            let piece = self.tree().listed(directory, place, 64)?;
            if piece.is_empty() {
                return Ok(());
            }
            for listed in &piece {
                if !take(place, listed) {
                    return Ok(());
                }
                place += 1;
            }
        }
    }

    /// Returns what `stat` tells of a node.
    ///
    /// # Errors
    /// When there is no such node, or its item cannot be read.
    pub fn attributes(&self, node: NodeId) -> Result<Attributes, VfsError> {
        let (place, links, content) = {
            let tree = self.tree();
            let node_of = tree.node(node).ok_or(VfsError::NotFound)?;
            (node_of.place, node_of.links, tree.content_place(node))
        };
        let Place::Item(at) = place else {
            return Ok(self.made_directory(place));
        };
        let mut attributes = self.with_item(at, |item| self.attributes_of(item))?;
        attributes.links = links;
        if let Some(content) = content {
            attributes.size = self.with_item(content, |item| item.content_size())?;
        }
        Ok(attributes)
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    /// [`VfsError::WrongKind`] when it is none; when its item cannot be read.
    pub fn link_target(&self, node: NodeId) -> Result<Vec<u8>, VfsError> {
        let target = self.of_item(node, |item| item.source.map(<[u8]>::to_vec))?;
        target.flatten().ok_or(VfsError::WrongKind)
    }

    /// Hands the extended attributes of a node to `take`, until it returns false.
    ///
    /// # Errors
    /// When there is no such node, or its item cannot be read.
    pub fn xattrs(
        &self,
        node: NodeId,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), VfsError> {
        self.of_item(node, |item| {
            for (name, value) in item.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
                if !take(name, value.unwrap_or_default()) {
                    break;
                }
            }
        })?;
        Ok(())
    }

    /// Tells how large the view has become.
    pub fn size(&self) -> VfsSize {
        let tree = self.tree();
        VfsSize {
            nodes: tree.nodes(),
            names: tree.names(),
            pending_archives: tree.pending_archives(),
            cached_chunks: self.contents.fill(),
        }
    }

    /// Closes the repository; what is asked for afterwards fails.
    ///
    /// # Errors
    /// When the lock cannot be released.
    pub fn close(&self) -> Result<(), EngineError> {
        let session = self
            .session
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match session {
            Some(mut session) => Ok(session.repository.close()?),
            None => Ok(()),
        }
    }

    fn session(&self) -> RwLockReadGuard<'_, Option<Session>> {
        // Nothing is left half done in it by whoever panicked.
        self.session.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, message: String) {
        let monitor: &dyn Monitor = self.monitor.as_ref();
        monitor.log(Level::Warning, "borg.fuse", message);
    }

    /// Asks the item of a node; none when it has none.
    fn of_item<T>(
        &self,
        node: NodeId,
        ask: impl FnOnce(&ItemRef<'_>) -> T,
    ) -> Result<Option<T>, VfsError> {
        let place = self.tree().node(node).ok_or(VfsError::NotFound)?.place;
        match place {
            Place::Made(_) => Ok(None),
            Place::Item(at) => self.with_item(at, ask).map(Some),
        }
    }

    fn made_directory(&self, place: Place) -> Attributes {
        let time = match place {
            Place::Made(time) => time,
            Place::Item(_) => self.options.now,
        };
        Attributes {
            mode: 0o040_755 & !self.options.umask,
            links: 1,
            uid: self.options.uid.unwrap_or(self.options.own_ids.0),
            gid: self.options.gid.unwrap_or(self.options.own_ids.1),
            rdev: 0,
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            birthtime: time,
        }
    }

    fn attributes_of(&self, item: &ItemRef<'_>) -> Attributes {
        let (uid, gid) = self.owner(item);
        let mtime = item.mtime.unwrap_or(0);
        let size = match FileKind::from_mode(item.mode) {
            FileKind::Symlink => item.source.map_or(0, <[u8]>::len) as u64,
            _ => item.content_size(),
        };
        Attributes {
            mode: item.mode & !self.options.umask,
            links: 1,
            uid,
            gid,
            rdev: item.rdev.unwrap_or(0),
            size,
            mtime,
            // Old archives have this one time only.
            atime: item.atime.unwrap_or(mtime),
            ctime: item.ctime.unwrap_or(mtime),
            birthtime: item.birthtime.unwrap_or(mtime),
        }
    }

    fn owner(&self, item: &ItemRef<'_>) -> (u32, u32) {
        let options = &self.options;
        let (mut uid, mut gid) = (options.uid, options.gid);
        if !options.numeric_ids && (uid.is_none() || gid.is_none()) {
            let mut accounts = self.accounts();
            uid = uid.or_else(|| item.user.and_then(|name| accounts.user_id(name)));
            gid = gid.or_else(|| item.group.and_then(|name| accounts.group_id(name)));
        }
        (
            uid.or(item.uid).unwrap_or(options.own_ids.0),
            gid.or(item.gid).unwrap_or(options.own_ids.1),
        )
    }
}
