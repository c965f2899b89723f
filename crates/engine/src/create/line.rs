//! The stages for long chunks: one thread has several of them on its way.
//!
//! Lots of chunks are put on a [`Line`]; whoever owns it works until a chunk is done, then puts more
//! on it, so that the lanes of the vector unit stay full. The chunks of a lot are done in any order;
//! when the last one is, its results are handed over in the order of the lot.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

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

/// The chunks that one thread has on their way.
pub struct Line<'env> {
    belt: Belt<'env, Piece<'env>, Slice>,
    waiting: VecDeque<(Piece<'env>, Slice)>,
    /// Chunks that another thread stores.
    elsewhere: Vec<Piece<'env>>,
}

impl<'env> Line<'env> {
    /// Makes an empty line.
    pub fn new(crypto: &'env Crypto) -> Self {
        Self {
            belt: Belt::new(crypto),
            waiting: VecDeque::new(),
            elsewhere: Vec::new(),
        }
    }

    /// Tells whether more chunks would keep lanes full.
    pub fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.belt.has_room()
    }

    /// Tells whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.belt.is_empty() && self.elsewhere.is_empty()
    }

    /// Puts chunks on the line; `receiver` gets the results in their order.
    pub fn put(
        &mut self,
        loan: &Arc<Loan>,
        chunks: impl ExactSizeIterator<Item = Range<usize>>,
        receiver: impl FnOnce(Vec<StoredChunk>) + Send + 'env,
    ) {
        let lot = Arc::new(Lot(Mutex::new(Results {
            stored: vec![None; chunks.len()],
            left: chunks.len(),
            receiver: Some(Box::new(receiver)),
        })));
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
            self.waiting.push_back((piece, Slice { loan, range }));
        }
    }

    /// Works until something is done.
    ///
    /// # Errors
    /// When the repository, the counter or the source of random numbers fails.
    pub fn step(
        &mut self,
        store: &Store<'env>,
        compressor: &mut Compressor,
    ) -> Result<(), EngineError> {
        while self.belt.has_room()
            && let Some((piece, data)) = self.waiting.pop_front()
        {
            self.begin(store, compressor, piece, data)?;
        }
        match self.belt.finish_one() {
            Some(Done::Hashed { mut tag, data, id }) => {
                tag.chunk.id = id;
                if tag.zero {
                    store.remember_zeros(data.as_ref().len(), id);
                }
                self.identified(store, compressor, tag, data)
            }
            Some(Done::Sealed { tag, object }) => {
                let mut chunk = tag.chunk;
                chunk.csize = object.len() as u32;
                store.claims.publish(&[chunk]);
                store.outbox.send(vec![(chunk.id, object)])?;
                tag.stored(chunk, true);
                Ok(())
            }
            // Nothing is opened here.
            Some(Done::Opened { .. }) => Ok(()),
            // Everything of this thread is published: it may wait for others now.
            None => match self.elsewhere.pop() {
                Some(piece) => {
                    let chunk = store.wait_for(&piece.chunk.id)?;
                    piece.stored(chunk, false);
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// Works until nothing is on its way.
    ///
    /// # Errors
    /// As [`Line::step`].
    pub fn finish(
        &mut self,
        store: &Store<'env>,
        compressor: &mut Compressor,
    ) -> Result<(), EngineError> {
        while !self.is_idle() {
            self.step(store, compressor)?;
        }
        Ok(())
    }

    fn begin(
        &mut self,
        store: &Store<'env>,
        compressor: &mut Compressor,
        mut piece: Piece<'env>,
        data: Slice,
    ) -> Result<(), EngineError> {
        if Store::looks_zero(data.as_ref()) {
            if let Some(id) = store.id_of_zeros(data.as_ref().len()) {
                piece.chunk.id = id;
                return self.identified(store, compressor, piece, data);
            }
            piece.zero = true;
        }
        self.belt.hash(piece, data);
        Ok(())
    }

    fn identified(
        &mut self,
        store: &Store<'env>,
        compressor: &mut Compressor,
        piece: Piece<'env>,
        data: Slice,
    ) -> Result<(), EngineError> {
        match store.claims.claim_one(&piece.chunk.id, piece.chunk.size) {
            Claim::Known(chunk) => piece.stored(chunk, false),
            Claim::Pending => self.elsewhere.push(piece),
            Claim::Mine => {
                let object = store.compress(compressor, data.as_ref())?;
                let counter = store.counter(&object)?;
                self.belt.seal(piece, object, counter);
            }
        }
        Ok(())
    }
}
