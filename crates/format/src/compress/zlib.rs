//! The zlib method: a zlib stream without any header of ours before it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{DecompressError, Method, decode_stream};

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
    let mut state = Decompress::new(true);
    decode_stream((Method::Zlib, stream), size, limit, out, |rest, out| {
        let before = state.total_in();
        let status = state
            .decompress_vec(rest, out, FlushDecompress::Finish)
            .map_err(|error| DecompressError::corrupt(Method::Zlib, error))?;
        let taken = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
        Ok((taken, status == Status::StreamEnd))
    })
}
