//! The stages for long chunks: several of them on their way at a time.
//!
//! ```text
//! put ─► to be hashed ─► belt ─► known? ─► to be compressed ─► to be sealed ─► belt ─► outbox
//! ```
//!
//! Lots of chunks are put on the [`Line`], which all threads share. Any of them compresses what
//! waits for it; one at a time owns a belt and works on that until a chunk is done, so that the
//! lanes of the vector unit are full with few chunks in memory. The chunks of a lot are done in any
//! order; when the last one is, its results are handed over in the order of the lot.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use fastness_format::compress::Compressor;
use fastness_format::crypto::{Belt, Crypto, Done};
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;

use super::claims::Claim;
use super::slabs::Slabs;
use super::stages::{Store, StoredChunk};
use crate::error::EngineError;
use crate::tasks::lock;

/// Bytes that chunks lie in. They go back where they came from when the last chunk is compressed.
#[derive(Debug)]
pub struct Loan {
    bytes: Vec<u8>,
    home: Arc<Slabs>,
}

impl Loan {
    /// Lends bytes that belong to `home`.
    pub fn new(bytes: Vec<u8>, home: &Arc<Slabs>) -> Arc<Self> {
        home.lend(&bytes);
        Arc::new(Self {
            bytes,
            home: Arc::clone(home),
        })
    }

    /// The bytes of a chunk.
    pub fn get(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

/// The bytes of one chunk.
struct Slice {
    loan: Arc<Loan>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.loan.get(&self.range)
    }
}

/// Takes the results of a lot.
type Receiver<'env> = Box<dyn FnOnce(Vec<StoredChunk>) + Send + 'env>;

struct Results<'env> {
    stored: Vec<Option<StoredChunk>>,
    left: usize,
    receiver: Option<Receiver<'env>>,
}

/// Chunks whose results are wanted together.
struct Lot<'env>(Mutex<Results<'env>>);

/// A chunk on its way.
struct Piece<'env> {
    lot: Arc<Lot<'env>>,
    index: usize,
    chunk: ChunkRef,
    /// Whether it is all zeros of a length that was not seen before.
    zero: bool,
}

impl Piece<'_> {
    fn stored(self, chunk: ChunkRef, new: bool) {
        let mut results = lock(&self.lot.0);
        if let Some(place) = results.stored.get_mut(self.index) {
            *place = Some(StoredChunk { chunk, new });
        }
        results.left -= 1;
        if results.left == 0
            && let Some(receiver) = results.receiver.take()
        {
            let stored = std::mem::take(&mut results.stored);
            drop(results);
            receiver(stored.into_iter().flatten().collect());
        }
    }
}

/// What waits between two works.
struct Waiting<'env> {
    to_hash: VecDeque<(Piece<'env>, Slice)>,
    to_compress: VecDeque<(Piece<'env>, Slice)>,
    /// Objects and their first counter values.
    to_seal: VecDeque<(Piece<'env>, Vec<u8>, u64)>,
    /// Chunks that another thread stores.
    elsewhere: Vec<Piece<'env>>,
}

type Lanes<'env> = Belt<'env, Piece<'env>, Slice>;

/// The long chunks on their way, for all threads.
pub struct Line<'env> {
    waiting: Mutex<Waiting<'env>>,
    belts: Vec<Mutex<Lanes<'env>>>,
    /// Chunks that were put on the line and are not done.
    chunks: AtomicUsize,
    /// As many chunks keep all lanes full.
    lanes: usize,
}

impl<'env> Line<'env> {
    /// Makes an empty line for so many threads: half of them read, cut, and compress.
    pub fn new(crypto: &'env Crypto, threads: usize) -> Self {
        let belts = (threads / 2).max(1);
        Self {
            waiting: Mutex::new(Waiting {
                to_hash: VecDeque::new(),
                to_compress: VecDeque::new(),
                to_seal: VecDeque::new(),
                elsewhere: Vec::new(),
            }),
            belts: (0..belts).map(|_| Mutex::new(Belt::new(crypto))).collect(),
            chunks: AtomicUsize::new(0),
            lanes: belts * Lanes::width(crypto),
        }
    }

    /// Tells whether more chunks would keep lanes full.
    pub fn has_room(&self) -> bool {
        self.chunks.load(Ordering::Acquire) < self.lanes
    }

    /// Tells whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.chunks.load(Ordering::Acquire) == 0
    }

    /// Puts chunks on the line; `receiver` gets the results in their order. Somebody has to
    /// [`work`](Self::work) on them.
    pub fn put(
        &self,
        loan: &Arc<Loan>,
        chunks: impl ExactSizeIterator<Item = Range<usize>>,
        receiver: impl FnOnce(Vec<StoredChunk>) + Send + 'env,
    ) {
        let lot = Arc::new(Lot(Mutex::new(Results {
            stored: vec![None; chunks.len()],
            left: chunks.len(),
            receiver: Some(Box::new(receiver)),
        })));
        self.chunks.fetch_add(chunks.len(), Ordering::AcqRel);
        let mut waiting = lock(&self.waiting);
        for (index, range) in chunks.enumerate() {
            let piece = Piece {
                lot: Arc::clone(&lot),
                index,
                chunk: ChunkRef {
                    id: ChunkId::MANIFEST,
                    size: range.len() as u32,
                    csize: 0,
                },
                zero: false,
            };
            let loan = Arc::clone(loan);
            waiting.to_hash.push_back((piece, Slice { loan, range }));
        }
    }

    /// Does one piece of work; false when there is none for this thread now.
    ///
    /// # Errors
    /// When the repository, the counter or the source of random numbers fails.
    pub fn work(
        &self,
        store: &Store<'env>,
        compressor: &mut Compressor,
    ) -> Result<bool, EngineError> {
        Ok(self.compress_one(store, compressor)? || self.step(store)? || self.collect(store))
    }

    /// Compresses a chunk that waits for it, which gives its memory back; false when none does.
    ///
    /// # Errors
    /// As [`Line::work`].
    pub fn compress_one(
        &self,
        store: &Store<'env>,
        compressor: &mut Compressor,
    ) -> Result<bool, EngineError> {
        let _stage = tracing::trace_span!("compress_big_chunk").entered();
        let Some((piece, data)) = self.next_to_compress() else {
            return Ok(false);
        };
        let object = store.compress(compressor, data.as_ref())?;
        drop(data);
        let counter = store.counter(&object)?;
        let mut waiting = lock(&self.waiting);
        waiting.to_seal.push_back((piece, object, counter));
        Ok(true)
    }

    /// Objects are memory, too: more than the lanes take are not made.
    fn next_to_compress(&self) -> Option<(Piece<'env>, Slice)> {
        let mut waiting = lock(&self.waiting);
        if waiting.to_seal.len() >= self.lanes {
            return None;
        }
        waiting.to_compress.pop_front()
    }

    /// Works on a belt until a chunk is done; false when there is none that is free and has work.
    ///
    /// # Errors
    /// As [`Line::work`].
    pub fn step(&self, store: &Store<'env>) -> Result<bool, EngineError> {
        let _stage = tracing::trace_span!("hash_big_chunks").entered();
        for belt in &self.belts {
            let Some(mut belt) = try_lock(belt) else {
                continue;
            };
            self.fill(store, &mut belt);
            let Some(done) = belt.finish_one() else {
                continue;
            };
            // The next owner goes on with it.
            drop(belt);
            self.done(store, done)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Puts on a belt what waits for it.
    fn fill(&self, store: &Store<'env>, belt: &mut Lanes<'env>) {
        while belt.has_room() {
            let mut waiting = lock(&self.waiting);
            if let Some((piece, object, counter)) = waiting.to_seal.pop_front() {
                drop(waiting);
                belt.seal(piece, object, counter);
                continue;
            }
            let Some((mut piece, data)) = waiting.to_hash.pop_front() else {
                return;
            };
            drop(waiting);
            if Store::looks_zero(data.as_ref()) {
                if let Some(id) = store.id_of_zeros(data.as_ref().len()) {
                    piece.chunk.id = id;
                    self.identified(store, piece, data);
                    continue;
                }
                piece.zero = true;
            }
            belt.hash(piece, data);
        }
    }

    fn done(&self, store: &Store<'env>, done: Done<Piece<'env>, Slice>) -> Result<(), EngineError> {
        match done {
            Done::Hashed { mut tag, data, id } => {
                tag.chunk.id = id;
                if tag.zero {
                    store.remember_zeros(data.as_ref().len(), id);
                }
                self.identified(store, tag, data);
            }
            Done::Sealed { tag, object } => {
                let mut chunk = tag.chunk;
                chunk.csize = object.len() as u32;
                store.claims.publish(&[chunk]);
                store.outbox.send(vec![(chunk.id, object)])?;
                self.stored(tag, chunk, true);
            }
            // Nothing is opened here.
            Done::Opened { .. } => {}
        }
        Ok(())
    }

    fn identified(&self, store: &Store<'env>, piece: Piece<'env>, data: Slice) {
        match store.claims.claim_one(&piece.chunk.id, piece.chunk.size) {
            Claim::Known(chunk) => self.stored(piece, chunk, false),
            Claim::Pending => lock(&self.waiting).elsewhere.push(piece),
            Claim::Mine => lock(&self.waiting).to_compress.push_back((piece, data)),
        }
    }

    /// Takes over chunks that another thread has stored by now; false when there are none.
    fn collect(&self, store: &Store<'env>) -> bool {
        let mut waiting = lock(&self.waiting);
        let is_stored = |piece: &mut Piece<'env>| store.claims.published(&piece.chunk.id).is_some();
        let stored: Vec<_> = waiting.elsewhere.extract_if(.., is_stored).collect();
        drop(waiting);
        let any = !stored.is_empty();
        for piece in stored {
            let chunk = store.claims.published(&piece.chunk.id);
            let chunk = chunk.unwrap_or(piece.chunk);
            self.stored(piece, chunk, false);
        }
        any
    }

    fn stored(&self, piece: Piece<'env>, chunk: ChunkRef, new: bool) {
        piece.stored(chunk, new);
        self.chunks.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Locks a belt unless another thread works on it.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
