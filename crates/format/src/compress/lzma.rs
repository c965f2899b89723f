//! The lzma method: an xz stream without an integrity check (ids and MACs do that).
//!
//! Very old repositories may hold the older "lzma alone" container; reading recognises both.

use liblzma::stream::{Action, Check, Status, Stream};

use super::{DecompressError, Method, decode_stream, store, write_smaller};

const HEADER: [u8; 2] = [2, 0];
/// Memory for reading: twice what the largest preset (a dictionary of 64 MiB) needs.
const MEMORY: u64 = 128 * 1024 * 1024;

/// A compressor of one preset.
pub(super) struct Lzma {
    preset: u32,
    body: Vec<u8>,
}

impl Lzma {
    pub(super) fn new(level: u8) -> Self {
        Self {
            preset: level.into(),
            body: Vec::new(),
        }
    }

    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.body.clear();
        match self.encode(data) {
            Some(()) => write_smaller(HEADER, &self.body, data, out),
            // Only want of memory leads here; the data is stored as it is then.
            None => store(data, out),
        }
    }

    fn encode(&mut self, data: &[u8]) -> Option<()> {
        let mut stream = Stream::new_easy_encoder(self.preset, Check::None).ok()?;
        self.body.reserve(data.len() / 2 + 4096);
        loop {
            let read = usize::try_from(stream.total_in()).ok()?;
            let rest = data.get(read..)?;
            match stream.process_vec(rest, &mut self.body, Action::Finish) {
                Ok(Status::StreamEnd) => return Some(()),
                Ok(_) => self.body.reserve(data.len() / 4 + 4096),
                Err(_) => return None,
            }
        }
    }
}

pub(super) fn decompress(
    body: &[u8],
    size: Option<usize>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let corrupt = |error| DecompressError::corrupt(Method::Lzma, error);
    let mut stream = Stream::new_auto_decoder(MEMORY, 0).map_err(corrupt)?;
    decode_stream((Method::Lzma, body), size, limit, out, |rest, out| {
        let before = stream.total_in();
        let status = stream
            .process_vec(rest, out, Action::Finish)
            .map_err(corrupt)?;
        let taken = usize::try_from(stream.total_in() - before).unwrap_or(usize::MAX);
        Ok((taken, status == Status::StreamEnd))
    })
}
