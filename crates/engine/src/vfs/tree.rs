//! Names and nodes of a view, as small as they can be kept.
//!
//! A node is what an inode is to a file system; several names may lead to it. Names lie one behind
//! the other in one buffer, and are found by a hash of their directory and themselves.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use fastness_sys::stat::FileKind;

use super::streams::Streams;
use super::versions::VersionOf;
use super::{Listed, VfsError};

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// The directory that everything is in.
pub const ROOT: NodeId = NodeId(0);

impl NodeId {
    /// Returns the number as that of an inode: 1 is the root.
    pub fn inode(self) -> u64 {
        u64::from(self.0) + 1
    }

    /// Returns the node that has an inode's number.
    pub fn from_inode(inode: u64) -> Option<Self> {
        Some(Self(u32::try_from(inode.checked_sub(1)?).ok()?))
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// No directory, no further name.
const NONE: u32 = u32::MAX;

/// The longest name the kernel takes in a listing.
const LONGEST_NAME: usize = 1024;

/// Where the metadata of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: a directory that no archive describes, made at this time.
    Made(i64),
    /// In the item at this place of the streams.
    Item(u64),
}

/// A file, a directory or what else there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) links: u32,
    parent: NodeId,
    /// The place of its names in the list of directories.
    directory: u32,
    kind: FileKind,
}

/// A name of a node.
#[derive(Debug, Clone, Copy)]
struct Name {
    /// Where it begins in the buffer.
    at: u64,
    length: u16,
    directory: NodeId,
    node: NodeId,
    /// The next one with the same hash.
    next: u32,
}

/// An archive that is a directory.
#[derive(Debug, Clone)]
pub(super) enum Archive {
    /// Nobody has looked into it.
    Pending(Vec<u8>),
    /// It cannot be read.
    Unreadable(Vec<u8>),
}

/// All nodes and names.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<Name>,
    text: Vec<u8>,
    /// The names of each directory, in the order in which they came.
    directories: Vec<Vec<u32>>,
    by_hash: HashMap<u64, u32>,
    hasher: RandomState,
    now: i64,
    /// Where the content of a node is, if not in its own item.
    contents: HashMap<NodeId, u64>,
    pub(super) streams: Streams,
    pub(super) pending: HashMap<NodeId, Archive>,
    /// The newest version in each directory of versions.
    pub(super) versions: HashMap<NodeId, VersionOf>,
}

/// Tells whether a name may stand in a directory.
pub(super) fn is_possible_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= LONGEST_NAME
        && !name.contains(&b'/')
        && !name.contains(&0)
}

impl Tree {
    pub(super) fn new(now: i64) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            names: Vec::new(),
            text: Vec::new(),
            directories: Vec::new(),
            by_hash: HashMap::new(),
            hasher: RandomState::new(),
            now,
            contents: HashMap::new(),
            streams: Streams::default(),
            pending: HashMap::new(),
            versions: HashMap::new(),
        };
        tree.add(ROOT, Place::Made(now), FileKind::Directory);
        tree
    }

    /// The place of a directory that no archive describes.
    pub(super) fn made(&self) -> Place {
        Place::Made(self.now)
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    pub(super) fn pending_archives(&self) -> usize {
        let pending = |archive: &&Archive| matches!(archive, Archive::Pending(_));
        self.pending.values().filter(pending).count()
    }

    pub(super) fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node.index())
    }

    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.node(node).map_or(ROOT, |node| node.parent)
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(|node| node.directory != NONE)
    }

    /// Where the content is of a node whose own item does not have it.
    pub(super) fn content_place(&self, node: NodeId) -> Option<u64> {
        self.contents.get(&node).copied()
    }

    /// Gives a node the content of another item.
    pub(super) fn take_content_from(&mut self, node: NodeId, place: u64) {
        self.contents.insert(node, place);
    }

    /// Adds a node, without a name so far.
    pub(super) fn add(&mut self, parent: NodeId, place: Place, kind: FileKind) -> NodeId {
        let node = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node {
            place,
            links: 1,
            parent,
            directory: NONE,
            kind,
        });
        if kind == FileKind::Directory {
            self.make_directory(node);
        }
        node
    }

    /// Says that a node is the directory of this item.
    pub(super) fn describe_directory(&mut self, node: NodeId, place: Place) {
        if let Some(known) = self.nodes.get_mut(node.index()) {
            known.place = place;
            known.kind = FileKind::Directory;
        }
        if !self.is_directory(node) {
            self.make_directory(node);
        }
    }

    fn make_directory(&mut self, node: NodeId) {
        let directory = self.directories.len() as u32;
        self.directories.push(Vec::new());
        if let Some(node) = self.nodes.get_mut(node.index()) {
            node.directory = directory;
        }
    }

    /// Counts one more name of a node.
    pub(super) fn link(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(node.index()) {
            node.links = node.links.saturating_add(1);
        }
    }

    /// Finds a name.
    pub(super) fn find(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        Some(self.names.get(self.find_name(directory, name)?)?.node)
    }

    fn find_name(&self, directory: NodeId, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one((directory, name));
        let mut place = *self.by_hash.get(&hash)?;
        while let Some(known) = self.names.get(place as usize) {
            if known.directory == directory && self.text_of(known) == name {
                return Some(place as usize);
            }
            place = known.next;
        }
        None
    }

    fn text_of(&self, name: &Name) -> &[u8] {
        let begin = name.at as usize;
        let end = begin + usize::from(name.length);
        self.text.get(begin..end).unwrap_or_default()
    }

    /// Names a node in a directory; a name that is there leads to this node from now on.
    pub(super) fn name(&mut self, directory: NodeId, name: &[u8], node: NodeId) {
        if let Some(place) = self.find_name(directory, name) {
            if let Some(known) = self.names.get_mut(place) {
                known.node = node;
            }
            return;
        }
        let place = self.names.len() as u32;
        let hash = self.hasher.hash_one((directory, name));
        let next = self.by_hash.insert(hash, place).unwrap_or(NONE);
        self.names.push(Name {
            at: self.text.len() as u64,
            length: name.len() as u16,
            directory,
            node,
            next,
        });
        self.text.extend_from_slice(name);
        let names = self.node(directory).map_or(NONE, |node| node.directory);
        if let Some(names) = self.directories.get_mut(names as usize) {
            names.push(place);
        }
    }

    /// Returns the directory of this name, and makes it if there is none.
    pub(super) fn directory_in(&mut self, parent: NodeId, name: &[u8], place: Place) -> NodeId {
        self.find(parent, name).unwrap_or_else(|| {
            let node = self.add(parent, place, FileKind::Directory);
            self.name(parent, name, node);
            node
        })
    }

    /// Finds what is at a path below a directory.
    pub(super) fn find_path(&self, directory: NodeId, path: &[u8]) -> Option<NodeId> {
        let mut parts = components(path);
        parts.try_fold(directory, |directory, part| self.find(directory, part))
    }

    /// Returns the directory that a path lies in, made where it is missing, and the last part of
    /// the path. None when the path is none, or goes through something that is no directory.
    pub(super) fn directory_of<'p>(
        &mut self,
        root: NodeId,
        path: &'p [u8],
    ) -> Option<(NodeId, &'p [u8])> {
        if !components(path).all(is_possible_name) {
            return None;
        }
        let mut parts = components(path);
        let last = parts.next_back()?;
        let mut directory = root;
        for part in parts {
            directory = self.directory_in(directory, part, self.made());
            if !self.is_directory(directory) {
                return None;
            }
        }
        Some((directory, last))
    }

    /// Returns some names of a directory, beginning at a place.
    pub(super) fn listed(
        &self,
        directory: NodeId,
        from: usize,
        most: usize,
    ) -> Result<Vec<Listed>, VfsError> {
        let node = self.node(directory).ok_or(VfsError::NotFound)?;
        let names = self.directories.get(node.directory as usize);
        let names = names.ok_or(VfsError::NotADirectory)?;
        let names = names.iter().skip(from).take(most);
        let listed = names.filter_map(|place| {
            let name = self.names.get(*place as usize)?;
            Some(Listed {
                name: self.text_of(name).to_vec(),
                node: name.node,
                kind: self.node(name.node)?.kind,
            })
        });
        Ok(listed.collect())
    }
}

/// The parts of a path that name something.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !matches!(*part, b"" | b"."))
}
