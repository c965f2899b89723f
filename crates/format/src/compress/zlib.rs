//! The zlib method: a zlib stream without any header of ours before it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{DecompressError, Method, first_room};

/// A compressor with its window.
pub(super) struct Zlib(Compress);

impl Zlib {
    pub(super) fn new(level: u8) -> Self {
        Self(Compress::new(Compression::new(level.into()), true))
    }

    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.0.reset();
        // Stored blocks cost 5 bytes in 16 KiB; the rest is header and trailer.
        out.reserve(data.len() + data.len() / 2048 + 64);
        loop {
            let read = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = data.get(read..).unwrap_or_default();
            match self.0.compress_vec(rest, out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return,
                _ => out.reserve(data.len() / 8 + 1024),
            }
        }
    }
}

pub(super) fn decompress(
    stream: &[u8],
    size: Option<usize>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let corrupt = |reason: &str| DecompressError::corrupt(Method::Zlib, reason);
    let mut state = Decompress::new(true);
    out.clear();
    // One byte more than the data: the stream can then end in the same call.
    out.reserve_exact(first_room(size, stream.len(), limit) + 1);
    loop {
        let before = (state.total_in(), state.total_out());
        let read = usize::try_from(before.0).unwrap_or(usize::MAX);
        let rest = stream.get(read..).unwrap_or_default();
        let status = state
            .decompress_vec(rest, out, FlushDecompress::Finish)
            .map_err(|error| corrupt(&error.to_string()))?;
        if out.len() > limit {
            return Err(DecompressError::TooLarge { limit });
        }
        if status == Status::StreamEnd {
            return Ok(());
        }
        if out.len() < out.capacity() {
            if (state.total_in(), state.total_out()) == before {
                return Err(corrupt("incomplete or truncated stream"));
            }
        } else if out.len() < limit {
            let room = out.len().saturating_mul(2).min(limit) - out.len();
            out.reserve_exact(room + 1);
        } else {
            return Err(DecompressError::TooLarge { limit });
        }
    }
}
