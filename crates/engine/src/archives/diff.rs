//! What differs between two archives, path by path.
//!
//! Both item streams are read side by side. Items usually come in the same order, so a path meets
//! its counterpart at once; what does not is kept, encoded, until the other stream brings it or
//! ends. Differences come in the order in which they are certain: pairs, then what is only in the
//! second archive, then what is only in the first, then further names of hardlinked files whose
//! first name came later.

use std::collections::{HashMap, HashSet, VecDeque};

use crossbeam_channel::{Receiver, Sender, bounded};
use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, ChunkRefs, ItemRef};
use fastness_format::msgpack::Reader;
use fastness_repository::Repository;

use super::items::ItemSource;
use crate::error::EngineError;
use crate::objects::ContentReader;
use crate::select::patterns::PatternMatcher;

/// Bytes of encoded items that are handed over at once.
const BATCH_BYTES: usize = 1 << 16;
/// Batches a stream may be ahead of the comparison.
const AHEAD: usize = 4;
/// Bytes of a file that are held while its contents are compared.
const CONTENT_BYTES: u64 = 16 << 20;

/// What is compared, and how.
pub struct Comparison<'a> {
    /// The repository.
    pub repository: &'a dyn Repository,
    /// Its key.
    pub crypto: &'a Crypto,
    /// Name and item stream of the archives.
    pub archives: [(&'a [u8], &'a [ChunkId]); 2],
    /// Which paths are compared.
    pub matcher: &'a PatternMatcher,
    /// Parts of files count as files.
    pub part_files: bool,
    /// Both were cut by the same rules: equal contents have equal chunks.
    pub same_chunker: bool,
    /// Owners, modes and times do not matter.
    pub content_only: bool,
    /// Number of threads.
    pub threads: usize,
}

/// The content of a file in both archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One of the items has none.
    None,
    /// Bytes in chunks that only the second or only the first has.
    Chunks {
        /// In the second.
        added: u64,
        /// In the first.
        removed: u64,
    },
    /// Changed, or not; how much is not known.
    Unmeasured,
}

/// A path with something that differs. An item is missing where the archive has none.
#[derive(Debug, Clone, Copy)]
pub struct Difference<'a> {
    /// The path.
    pub path: &'a [u8],
    /// In the first archive.
    pub before: Option<ItemRef<'a>>,
    /// In the second archive.
    pub after: Option<ItemRef<'a>>,
    /// How the content differs, if both have it.
    pub content: Content,
}

/// What a comparison tells.
pub enum Finding<'a> {
    /// Something differs.
    Difference(&'a Difference<'a>),
    /// A further name of a file whose content is not among the items compared.
    NoSource {
        /// The further name.
        path: &'a [u8],
        /// The name it refers to.
        source: &'a [u8],
    },
}

/// An encoded item; none stands for an item that is not there.
type Encoded = Option<Box<[u8]>>;

type Visit<'v> = &'v mut dyn FnMut(Finding<'_>) -> Result<(), EngineError>;

impl Comparison<'_> {
    /// Compares and hands every difference to `visit`.
    ///
    /// # Errors
    /// When an item stream or a content is damaged or cannot be read; what `visit` gives.
    pub fn run(&self, visit: Visit<'_>) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("diff").entered();
        std::thread::scope(|scope| {
            let streams = self.archives.map(|(archive, ids)| {
                let (outbox, inbox) = bounded(AHEAD);
                scope.spawn(move || self.stream(archive, ids, &outbox));
                Stream {
                    inbox,
                    batch: VecDeque::new(),
                }
            });
            let mut pairing = Pairing {
                comparison: self,
                visit,
                orphans: Default::default(),
                deferred: Vec::new(),
                masters: HashMap::new(),
                reader: ContentReader::default(),
            };
            pairing.run(streams)
        })
    }

    /// Sends the items that matter, several at a time.
    fn stream(
        &self,
        archive: &[u8],
        ids: &[ChunkId],
        outbox: &Sender<Result<Vec<Box<[u8]>>, EngineError>>,
    ) {
        let source = ItemSource {
            repository: self.repository,
            crypto: self.crypto,
            archive,
            ids,
            threads: self.threads.div_ceil(2),
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let read = source.for_each(|item| {
            let wanted = self.part_files || item.part.is_none();
            if !wanted || !self.matcher.check(item.path).included {
                return Ok(());
            }
            batch.push(Box::from(item.as_bytes()));
            bytes += item.as_bytes().len();
            if bytes < BATCH_BYTES {
                return Ok(());
            }
            bytes = 0;
            let batch = std::mem::take(&mut batch);
            // Nobody listens any more when the comparison has failed.
            outbox.send(Ok(batch)).map_err(|_| EngineError::Abandoned)
        });
        let _ = outbox.send(Ok(batch));
        if let Err(error) = read {
            let _ = outbox.send(Err(error));
        }
    }
}

/// One of the two item streams.
struct Stream {
    inbox: Receiver<Result<Vec<Box<[u8]>>, EngineError>>,
    batch: VecDeque<Box<[u8]>>,
}

impl Stream {
    fn next(&mut self) -> Result<Encoded, EngineError> {
        while self.batch.is_empty() {
            match self.inbox.recv() {
                Ok(batch) => self.batch = batch?.into(),
                Err(_) => return Ok(None),
            }
        }
        Ok(self.batch.pop_front())
    }
}

/// Items of one archive that wait for their counterpart, in their order.
#[derive(Default)]
struct Orphans {
    items: Vec<Encoded>,
    places: HashMap<Box<[u8]>, usize>,
}

impl Orphans {
    fn add(&mut self, path: Box<[u8]>, item: Box<[u8]>) {
        self.places.insert(path, self.items.len());
        self.items.push(Some(item));
    }

    fn take(&mut self, path: &[u8]) -> Encoded {
        let place = self.places.remove(path)?;
        self.items.get_mut(place)?.take()
    }
}

/// The state of a comparison.
struct Pairing<'a, 'v> {
    comparison: &'a Comparison<'a>,
    visit: Visit<'v>,
    orphans: [Orphans; 2],
    deferred: Vec<(Encoded, Encoded)>,
    /// First names of hardlinked files.
    masters: HashMap<Box<[u8]>, (Encoded, Encoded)>,
    reader: ContentReader,
}

impl Pairing<'_, '_> {
    fn run(&mut self, [mut first, mut second]: [Stream; 2]) -> Result<(), EngineError> {
        loop {
            let (before, after) = (first.next()?, second.next()?);
            match (before, after) {
                (None, None) => break,
                (Some(before), Some(after))
                    if item(&before).map(|item| item.path)
                        == item(&after).map(|item| item.path) =>
                {
                    self.pair(before, after)?;
                }
                (before, after) => {
                    if let Some(before) = before {
                        self.single(0, before)?;
                    }
                    if let Some(after) = after {
                        self.single(1, after)?;
                    }
                }
            }
        }
        let [removed, added] = std::mem::take(&mut self.orphans);
        for after in added.items.into_iter().flatten() {
            self.remember(None, Some(&after));
            self.compare(None, Some(after))?;
        }
        for before in removed.items.into_iter().flatten() {
            self.remember(Some(&before), None);
            self.compare(Some(before), None)?;
        }
        self.deferred()
    }

    /// Deals with an item whose counterpart was not beside it.
    fn single(&mut self, side: usize, encoded: Box<[u8]>) -> Result<(), EngineError> {
        let Some(path) = item(&encoded).map(|item| Box::from(item.path)) else {
            return Ok(());
        };
        let [first, second] = &mut self.orphans;
        let (own, other) = match side {
            0 => (first, second),
            _ => (second, first),
        };
        match (side, other.take(&path)) {
            (0, Some(after)) => self.pair(encoded, after),
            (_, Some(before)) => self.pair(before, encoded),
            (_, None) => {
                own.add(path, encoded);
                Ok(())
            }
        }
    }

    /// Deals with a path that both archives have.
    fn pair(&mut self, before: Box<[u8]>, after: Box<[u8]>) -> Result<(), EngineError> {
        self.remember(Some(&before), Some(&after));
        let seen = |encoded: &[u8]| item(encoded).is_none_or(|item| self.source_is_known(&item));
        if seen(&before) && seen(&after) {
            return self.compare(Some(before), Some(after));
        }
        self.deferred.push((Some(before), Some(after)));
        Ok(())
    }

    fn source_is_known(&self, item: &ItemRef<'_>) -> bool {
        match item.source {
            Some(source) if hardlinkable(item.mode) => self.masters.contains_key(source),
            _ => true,
        }
    }

    /// Keeps a pair that further names may refer to.
    fn remember(&mut self, before: Option<&[u8]>, after: Option<&[u8]>) {
        let items = [before, after].map(|encoded| encoded.and_then(item));
        let is_master = |item: &ItemRef<'_>| {
            item.hardlink_master.unwrap_or(true) && item.source.is_none() && hardlinkable(item.mode)
        };
        let path = items.iter().flatten().map(|item| item.path).next();
        if let (Some(path), true) = (path, items.iter().flatten().any(is_master)) {
            let own = |encoded: Option<&[u8]>| encoded.map(Box::from);
            self.masters.insert(path.into(), (own(before), own(after)));
        }
    }

    fn deferred(&mut self) -> Result<(), EngineError> {
        for (before, after) in std::mem::take(&mut self.deferred) {
            let mut complete = true;
            for encoded in [&before, &after].into_iter().flatten() {
                if let Some(item) = item(encoded)
                    && !self.source_is_known(&item)
                {
                    complete = false;
                    (self.visit)(Finding::NoSource {
                        path: item.path,
                        source: item.source.unwrap_or_default(),
                    })?;
                }
            }
            if complete {
                self.compare(before, after)?;
            }
        }
        Ok(())
    }

    /// Compares two items, or what the first names say of which they are further names.
    fn compare(&mut self, before: Encoded, after: Encoded) -> Result<(), EngineError> {
        let first_name = |encoded: &Encoded| {
            let source = item(encoded.as_deref()?)
                .filter(|item| hardlinkable(item.mode))?
                .source?;
            self.masters.get(source)
        };
        let shown = [&before, &after]
            .into_iter()
            .flatten()
            .find_map(|encoded| item(encoded));
        let path = shown.map(|item| item.path).unwrap_or_default();
        let old = first_name(&before).map_or(&before, |(old, _)| old);
        let new = first_name(&after).map_or(&after, |(_, new)| new);
        if old.is_some() && old == new {
            return Ok(());
        }
        let [old, new] = [old, new].map(|encoded| encoded.as_deref().and_then(item));
        let comparison = self.comparison;
        let content = comparison.measure(old.as_ref(), new.as_ref());
        if comparison.are_equal(old.as_ref(), new.as_ref(), &mut self.reader)? {
            return Ok(());
        }
        (self.visit)(Finding::Difference(&Difference {
            path,
            before: old,
            after: new,
            content,
        }))
    }
}

impl Comparison<'_> {
    fn measure(&self, before: Option<&ItemRef<'_>>, after: Option<&ItemRef<'_>>) -> Content {
        let (Some(before), Some(after)) = (before, after) else {
            return Content::None;
        };
        let (Some(old), Some(new)) = (before.chunks, after.chunks) else {
            return Content::None;
        };
        if !self.same_chunker {
            return Content::Unmeasured;
        }
        let ids = |chunks: ChunkRefs<'_>| -> HashSet<ChunkId> {
            chunks.into_iter().map(|chunk| chunk.id).collect()
        };
        let only_in = |chunks: ChunkRefs<'_>, other: &HashSet<ChunkId>| {
            let mine = chunks
                .into_iter()
                .filter(|chunk| !other.contains(&chunk.id));
            mine.map(|chunk| u64::from(chunk.size)).sum()
        };
        Content::Chunks {
            added: only_in(new, &ids(old)),
            removed: only_in(old, &ids(new)),
        }
    }

    fn are_equal(
        &self,
        before: Option<&ItemRef<'_>>,
        after: Option<&ItemRef<'_>>,
        reader: &mut ContentReader,
    ) -> Result<bool, EngineError> {
        let (Some(before), Some(after)) = (before, after) else {
            return Ok(before.is_none() && after.is_none());
        };
        let metadata = |item: &ItemRef<'_>| (item.mode, item.ctime, item.mtime);
        let owners = |item: &ItemRef<'_>| item.user == before.user && item.group == before.group;
        if !self.content_only && (metadata(before) != metadata(after) || !owners(after)) {
            return Ok(false);
        }
        if before.source != after.source {
            return Ok(false);
        }
        let (Some(old), Some(new)) = (before.chunks, after.chunks) else {
            return Ok(true);
        };
        let same = |(old, new): (ChunkRef, ChunkRef)| (old.id, old.size) == (new.id, new.size);
        if old.len() == new.len() && old.into_iter().zip(new).all(same) {
            return Ok(true);
        }
        if self.same_chunker || before.content_size() != after.content_size() {
            return Ok(false);
        }
        self.same_bytes(
            [old, new].map(|chunks| chunks.into_iter().collect()),
            reader,
        )
    }

    /// Reads both contents, a part at a time.
    fn same_bytes(
        &self,
        chunks: [Vec<ChunkRef>; 2],
        reader: &mut ContentReader,
    ) -> Result<bool, EngineError> {
        let mut sides = chunks.map(|chunks| Bytes {
            chunks: chunks.into(),
            data: Vec::new(),
            at: 0,
        });
        loop {
            for side in &mut sides {
                side.fill(self, reader)?;
            }
            let [one, other] = &mut sides;
            let len = one.rest().len().min(other.rest().len());
            if len == 0 {
                return Ok(one.rest().len() == other.rest().len());
            }
            if one.rest().get(..len) != other.rest().get(..len) {
                return Ok(false);
            }
            one.at += len;
            other.at += len;
        }
    }
}

/// The content of a file on its way to be compared.
struct Bytes {
    chunks: VecDeque<ChunkRef>,
    data: Vec<u8>,
    at: usize,
}

impl Bytes {
    fn rest(&self) -> &[u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    /// Reads on when nothing is left.
    fn fill(
        &mut self,
        comparison: &Comparison<'_>,
        reader: &mut ContentReader,
    ) -> Result<(), EngineError> {
        while self.rest().is_empty() && !self.chunks.is_empty() {
            let mut bytes = 0;
            let fits = |chunk: &&ChunkRef| {
                bytes += u64::from(chunk.size);
                bytes <= CONTENT_BYTES
            };
            let count = self.chunks.iter().take_while(fits).count().max(1);
            let wanted: Vec<ChunkRef> = self.chunks.drain(..count).collect();
            let read = reader.read(comparison.repository, comparison.crypto, &wanted)?;
            self.data = read.concat();
            self.at = 0;
        }
        Ok(())
    }
}

/// Looks at an encoded item; it was read before, so it is one.
fn item(encoded: &[u8]) -> Option<ItemRef<'_>> {
    ItemRef::decode(&mut Reader::new(encoded)).ok()
}

/// Tells whether an object of this mode can have several names: no directory, no symbolic link.
fn hardlinkable(mode: u32) -> bool {
    matches!(
        mode & 0o170_000,
        0o100_000 | 0o060_000 | 0o020_000 | 0o010_000
    )
}
