//! The auto method: lz4 first; the slow method only where lz4 shows that the data can be compressed.
//!
//! There is no header of its own: the payload is that of the method that was chosen.

use super::lz4::Lz4;
use super::{CompressionSpec, Engine};

/// lz4 saves less than this share: data that cannot be compressed.
const WORTH_TRYING: f64 = 0.97;
/// The slow method has to be smaller than lz4 by this factor.
const WORTH_KEEPING: f64 = 0.99;

pub(super) struct Auto {
    fast: Lz4,
    slow: Engine,
    payload: Vec<u8>,
}

impl Auto {
    pub(super) fn new(inner: &CompressionSpec) -> Self {
        Self {
            fast: Lz4::default(),
            slow: Engine::new(inner),
            payload: Vec::new(),
        }
    }

    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>, random: f64) {
        let start = out.len();
        self.fast.compress(data, out);
        let fast_len = (out.len() - start) as f64;
        if fast_len / (data.len() + 2) as f64 >= WORTH_TRYING {
            return;
        }
        self.payload.clear();
        self.slow.compress(data, &mut self.payload, random);
        if (self.payload.len() as f64) / fast_len < WORTH_KEEPING {
            out.truncate(start);
            out.extend_from_slice(&self.payload);
        }
    }
}
