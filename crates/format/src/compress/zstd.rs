//! The zstd method: one frame with its content size in the header.

use zstd::bulk;
use zstd::zstd_safe;

use super::{DecompressError, Method, store, write_smaller};

const HEADER: [u8; 2] = [3, 0];

/// A compressor with its context and its output buffer.
pub(super) struct Zstd {
    context: Option<bulk::Compressor<'static>>,
    body: Vec<u8>,
}

impl Zstd {
    pub(super) fn new(level: u8) -> Self {
        Self {
            context: bulk::Compressor::new(level.into()).ok(),
            body: Vec::new(),
        }
    }

    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.body.clear();
        self.body.reserve(zstd_safe::compress_bound(data.len()));
        let done = self
            .context
            .as_mut()
            .map(|context| context.compress_to_buffer(data, &mut self.body));
        match done {
            Some(Ok(_)) => write_smaller(HEADER, &self.body, data, out),
            // Only want of memory leads here; the data is stored as it is then.
            _ => store(data, out),
        }
    }
}

/// Returns the length that a frame tells for its data.
pub(super) fn announced_len(body: &[u8]) -> Option<usize> {
    let size = zstd_safe::get_frame_content_size(body).ok()??;
    usize::try_from(size).ok()
}

/// A decompressor with its context, which is made when it is first needed.
#[derive(Default)]
pub(super) struct Decoder {
    context: Option<bulk::Decompressor<'static>>,
}

impl Decoder {
    pub(super) fn decompress(
        &mut self,
        body: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        let corrupt = |reason: &str| DecompressError::corrupt(Method::Zstd, reason);
        let size = match zstd_safe::get_frame_content_size(body) {
            Ok(Some(size)) => size,
            Ok(None) => return Err(corrupt("original size unknown")),
            Err(_) => return Err(corrupt("not a zstd frame")),
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or(DecompressError::TooLarge { limit })?;
        let context = match &mut self.context {
            Some(context) => context,
            empty => match bulk::Decompressor::new() {
                Ok(context) => empty.insert(context),
                Err(error) => return Err(corrupt(&error.to_string())),
            },
        };
        out.clear();
        out.reserve_exact(size);
        let written = context
            .decompress_to_buffer(body, out)
            .map_err(|error| corrupt(&error.to_string()))?;
        if written != size {
            return Err(corrupt("size mismatch"));
        }
        Ok(())
    }
}
