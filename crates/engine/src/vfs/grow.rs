//! From the items of an archive to nodes and names.
//!
//! The stream is walked once, opened ahead on all cores; of each item only its place is kept. Archives may be hostile: what cannot stand in a directory is left out and told.

use std::borrow::Cow;
use std::collections::HashMap;

use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::{ItemDecoder, ItemRef};
use fastness_sys::stat::FileKind;

use super::tree::{Archive, NodeId, Place, Tree};
use super::versions::{VersionOf, versioned_name};
use super::{Vfs, VfsError, VfsOptions};
use crate::archives::items::ItemSource;
use crate::error::EngineError;
use crate::event::Monitor;
use crate::extract::links::strip;
use crate::session::Session;

impl Vfs {
    /// Reads the archive of a directory if nobody has looked into it.
    pub(super) fn look_into(&self, directory: NodeId) -> Result<(), VfsError> {
        if !self.tree().pending.contains_key(&directory) {
            return Ok(());
        }
        let mut tree = self.tree_mut();
        let name = match tree.pending.get(&directory) {
            // Somebody else was quicker.
            None => return Ok(()),
            Some(Archive::Pending(name)) => name.clone(),
            Some(Archive::Unreadable(name)) => {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(VfsError::Unreadable(name));
            }
        };
        let read = self.read_archive(&mut tree, &name, directory);
        match &read {
            Ok(()) => tree.pending.remove(&directory),
            // What was read of it is not shown: it would look like all there is.
            Err(_) => tree.pending.insert(directory, Archive::Unreadable(name)),
        };
        read
    }

    /// Adds the content of an archive to a directory.
    pub(super) fn grow(&self, archive: &[u8], directory: NodeId) -> Result<(), VfsError> {
        self.read_archive(&mut self.tree_mut(), archive, directory)
    }

    fn read_archive(
        &self,
        tree: &mut Tree,
        name: &[u8],
        directory: NodeId,
    ) -> Result<(), VfsError> {
        let session = self.session();
        let session = session.as_ref().ok_or(VfsError::Closed)?;
        let monitor: &dyn Monitor = self.monitor.as_ref();
        let repository = session.repository.as_ref();
        let archive = session.catalogue.archive(repository, name, monitor)?;
        let grower = Grower {
            archive: tree.streams.end(),
            tree,
            options: &self.options,
            crypto: &session.crypto,
            directory,
            firsts: HashMap::new(),
            left_out: Vec::new(),
        };
        let left_out = grower.read(session, name, &archive.metadata.items, monitor)?;
        left_out.into_iter().for_each(|message| self.warn(message));
        Ok(())
    }
}

/// The first name of a file that may have further ones.
#[derive(Debug, Clone, Copy)]
enum First {
    /// Not shown; its item is at this place and has this content.
    LeftOut(u64, ChunkId),
    /// A further name was shown in its place, as this node with this content.
    At(NodeId, ChunkId),
}

/// Adds one archive to a tree.
struct Grower<'a> {
    tree: &'a mut Tree,
    options: &'a VfsOptions,
    crypto: &'a Crypto,
    /// Where its root is.
    directory: NodeId,
    /// Where its items begin, which tells it from others.
    archive: u64,
    /// First names that are not shown, by archived path.
    firsts: HashMap<Vec<u8>, First>,
    /// What is to be told of names that cannot be shown.
    left_out: Vec<String>,
}

impl Grower<'_> {
    fn read(
        mut self,
        session: &Session,
        name: &[u8],
        ids: &[ChunkId],
        monitor: &dyn Monitor,
    ) -> Result<Vec<String>, EngineError> {
        let source = ItemSource {
            repository: session.repository.as_ref(),
            crypto: &session.crypto,
            archive: name,
            ids,
            threads: self.options.threads,
        };
        let damaged = |source| EngineError::Items {
            archive: String::from_utf8_lossy(name).into_owned(),
            source,
        };
        let mut place = self.tree.streams.end();
        let mut decoder = ItemDecoder::new();
        let mut ids = ids.iter();
        source.for_each_chunk(|data| {
            if monitor.interrupted() {
                return Err(EngineError::Interrupted);
            }
            if let Some(id) = ids.next() {
                self.tree.streams.push(*id, data.len());
            }
            decoder.feed(data);
            while let Some(item) = decoder.next_ref() {
                let item = item.map_err(damaged)?;
                self.item(&item, place);
                place += item.as_bytes().len() as u64;
            }
            Ok(())
        })?;
        decoder.finish().map_err(damaged)?;
        Ok(self.left_out)
    }

    fn item(&mut self, item: &ItemRef<'_>, place: u64) {
        if item.part.is_some() && !self.options.part_files {
            return;
        }
        let Some(path) = self.shown_path(item) else {
            self.leave_out(item, place);
            return;
        };
        let kind = FileKind::from_mode(item.mode);
        if path
            .split(|byte| *byte == b'/')
            .all(|part| matches!(part, b"" | b"."))
        {
            // The root of the archive keeps the attributes of a directory made here.
        } else if kind == FileKind::Directory {
            self.directory(&path, place);
        } else if self.file(item, &path, place, kind).is_none() {
            let path = String::from_utf8_lossy(&path).into_owned();
            let message = match item.source.filter(|_| kind.is_hardlinkable()) {
                Some(source) => {
                    let source = String::from_utf8_lossy(source);
                    format!("Skipping broken hard link: {path} -> {source}")
                }
                None => format!("{path}: cannot be shown below this name, left out"),
            };
            self.left_out.push(message);
        }
    }

    /// Returns where an item is shown; none when it is not.
    fn shown_path<'p>(&self, item: &ItemRef<'p>) -> Option<Cow<'p, [u8]>> {
        if !self.options.patterns.check(item.path).included {
            return None;
        }
        match self.options.strip_components {
            0 => Some(Cow::Borrowed(item.path)),
            count => strip(item.path, count).map(Cow::Owned),
        }
    }

    /// Remembers an item that is not shown, if further names may refer to it.
    fn leave_out(&mut self, item: &ItemRef<'_>, place: u64) {
        if FileKind::from_mode(item.mode).is_hardlinkable()
            && item.hardlink_master != Some(false)
            && item.source.is_none()
        {
            let content = self.content_of(item);
            let first = First::LeftOut(place, content);
            self.firsts.insert(item.path.to_vec(), first);
        }
    }

    fn directory(&mut self, path: &[u8], place: u64) {
        if let Some(known) = self.tree.find_path(self.directory, path) {
            // It was made for something in it that came earlier.
            self.tree.describe_directory(known, Place::Item(place));
        } else if let Some((parent, name)) = self.tree.directory_of(self.directory, path) {
            self.tree.directory_in(parent, name, Place::Item(place));
        } else {
            let path = String::from_utf8_lossy(path);
            let message = format!("{path}: cannot be shown below this name, left out");
            self.left_out.push(message);
        }
    }

    /// Shows anything but a directory; none when that is not possible.
    fn file(&mut self, item: &ItemRef<'_>, path: &[u8], place: u64, kind: FileKind) -> Option<()> {
        let further = item.source.filter(|_| kind.is_hardlinkable());
        let (node, content) = match further {
            None => (None, self.content_of(item)),
            Some(source) => self.further(source, place, kind)?,
        };
        let (mut parent, name) = self.tree.directory_of(self.directory, path)?;
        let node = node.unwrap_or_else(|| self.tree.add(parent, Place::Item(place), kind));
        let mut shown = Cow::Borrowed(name);
        if self.options.versions {
            parent = self.tree.directory_in(parent, name, self.tree.made());
            if !self.tree.is_directory(parent) {
                return None;
            }
            if kind == FileKind::Regular {
                let before = self.tree.versions.get(&parent);
                let version = VersionOf::after(before, content, self.archive);
                self.tree.versions.insert(parent, version);
                shown = Cow::Owned(versioned_name(name, version.number));
            }
        }
        self.tree.name(parent, &shown, node);
        Some(())
    }

    /// Finds the file that an item is a further name of, and its content; no node when it is to be
    /// shown as a file of its own.
    fn further(
        &mut self,
        source: &[u8],
        place: u64,
        kind: FileKind,
    ) -> Option<(Option<NodeId>, ChunkId)> {
        match self.firsts.get(source).copied() {
            Some(First::At(node, content)) => {
                self.tree.link(node);
                Some((Some(node), content))
            }
            Some(First::LeftOut(first, content)) => {
                let node = self.tree.add(self.directory, Place::Item(place), kind);
                self.tree.take_content_from(node, first);
                self.firsts
                    .insert(source.to_vec(), First::At(node, content));
                Some((Some(node), content))
            }
            None => self.first_name(source),
        }
    }

    /// Finds the node of a first name that is shown.
    fn first_name(&mut self, source: &[u8]) -> Option<(Option<NodeId>, ChunkId)> {
        let source = match self.options.strip_components {
            0 => Cow::Borrowed(source),
            count => Cow::Owned(strip(source, count)?),
        };
        let mut found = self.tree.find_path(self.directory, &source)?;
        let mut content = ChunkId::new([0; 32]);
        if self.options.versions {
            let name = source.rsplit(|byte| *byte == b'/').next()?;
            let name = match self.tree.versions.get(&found) {
                Some(version) if version.archive == self.archive => {
                    content = version.content;
                    versioned_name(name, version.number)
                }
                // Of another archive: its content is not that of this file.
                Some(_) => return None,
                None => name.to_vec(),
            };
            found = self.tree.find(found, &name)?;
        }
        if self.tree.is_directory(found) {
            return None;
        }
        self.tree.link(found);
        Some((Some(found), content))
    }

    /// Returns what tells the content of an item from others; only the merged view wants to know.
    fn content_of(&self, item: &ItemRef<'_>) -> ChunkId {
        if !self.options.versions {
            return ChunkId::new([0; 32]);
        }
        let mut ids = Vec::new();
        let chunks = item.chunks.into_iter().flatten();
        chunks.for_each(|chunk| ids.extend_from_slice(chunk.id.as_bytes()));
        self.crypto.id(&ids)
    }
}
