//! Compression of chunk data: the payload inside an object's envelope.
//!
//! The first two bytes of a payload name the method:
//!
//! | bytes | method | rest |
//! |---|---|---|
//! | `00 00` | none | the data |
//! | `01 00` | lz4 | one LZ4 block, without its size |
//! | `02 00` | lzma | an xz stream (old: lzma alone) |
//! | `03 00` | zstd | one frame that states its content size |
//! | `04 00` | obfuscate | length (u32, big endian), a payload of that length, padding |
//! | `x8 yy`, divisible by 31 | zlib | these two bytes are the stream's own header |
//!
//! Writing follows Borg's rules, so that stored sizes are the same: lz4, lzma and zstd give way to
//! *none* when they do not make the data smaller. Reading is bounded: no method allocates more for
//! its output than the limit it is given, whatever the payload says.
//!
//! A new method is one file here and one line in the tables below.

mod auto;
mod lz4;
mod lzma;
mod obfuscate;
mod spec;
mod zlib;
mod zstd;

pub use spec::{CompressionSpec, InvalidSpec, Obfuscation};

/// How a payload is compressed, as its first two bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
    /// LZMA, as xz.
    Lzma,
    /// Zstandard.
    Zstd,
    /// Another payload with its length hidden.
    Obfuscate,
    /// Deflate, as zlib.
    Zlib,
}

impl Method {
    /// Returns the method of a payload.
    pub fn detect(payload: &[u8]) -> Option<Self> {
        let &[first, second] = payload.first_chunk()?;
        Some(match [first, second] {
            [0, 0] => Self::None,
            [1, 0] => Self::Lz4,
            [2, 0] => Self::Lzma,
            [3, 0] => Self::Zstd,
            [4, 0] => Self::Obfuscate,
            bytes if first & 0x0f == 8 && u16::from_be_bytes(bytes) % 31 == 0 => Self::Zlib,
            _ => return None,
        })
    }

    /// Returns the name used in compression specifications.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
            Self::Obfuscate => "obfuscate",
            Self::Zlib => "zlib",
        }
    }
}

/// A payload that does not decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// No method has these first bytes.
    #[error("No decompressor for this data found: {0:02x?}")]
    UnknownMethod(Vec<u8>),
    /// The payload is damaged.
    #[error("{method} decompress failed: {reason}")]
    Corrupt {
        /// The method it was compressed with.
        method: &'static str,
        /// What the decompressor says.
        reason: String,
    },
    /// The data is larger than the caller allows.
    #[error("decompressed data exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl DecompressError {
    fn corrupt(method: Method, reason: impl ToString) -> Self {
        Self::Corrupt {
            method: method.name(),
            reason: reason.to_string(),
        }
    }
}

/// A compressor with its working memory, to be used by one thread for many chunks.
pub struct Compressor {
    engine: Engine,
}

/// The methods that write. Each appends header and body to `out`.
enum Engine {
    None,
    Lz4(lz4::Lz4),
    Zlib(zlib::Zlib),
    Lzma(lzma::Lzma),
    Zstd(zstd::Zstd),
    Auto(Box<auto::Auto>),
    Obfuscate(Box<obfuscate::Obfuscate>),
}

impl Engine {
    fn new(spec: &CompressionSpec) -> Self {
        match spec {
            CompressionSpec::None => Self::None,
            CompressionSpec::Lz4 => Self::Lz4(lz4::Lz4::default()),
            CompressionSpec::Zlib(level) => Self::Zlib(zlib::Zlib::new(*level)),
            CompressionSpec::Lzma(level) => Self::Lzma(lzma::Lzma::new(*level)),
            CompressionSpec::Zstd(level) => Self::Zstd(zstd::Zstd::new(*level)),
            CompressionSpec::Auto(inner) => Self::Auto(Box::new(auto::Auto::new(inner))),
            CompressionSpec::Obfuscate(how, inner) => {
                Self::Obfuscate(Box::new(obfuscate::Obfuscate::new(*how, inner)))
            }
        }
    }

    fn compress(&mut self, data: &[u8], out: &mut Vec<u8>, random: f64) {
        match self {
            Self::None => store(data, out),
            Self::Lz4(engine) => engine.compress(data, out),
            Self::Zlib(engine) => engine.compress(data, out),
            Self::Lzma(engine) => engine.compress(data, out),
            Self::Zstd(engine) => engine.compress(data, out),
            Self::Auto(engine) => engine.compress(data, out, random),
            Self::Obfuscate(engine) => engine.compress(data, out, random),
        }
    }
}

impl Compressor {
    /// Prepares a compressor.
    pub fn new(spec: &CompressionSpec) -> Self {
        Self {
            engine: Engine::new(spec),
        }
    }

    /// Compresses a chunk and appends the payload to `out`.
    ///
    /// `random` is a fresh uniform value in [0, 1) for obfuscation; the other methods ignore it.
    pub fn compress(&mut self, data: &[u8], out: &mut Vec<u8>, random: f64) {
        self.engine.compress(data, out, random);
    }
}

/// Writes the *none* payload.
fn store(data: &[u8], out: &mut Vec<u8>) {
    out.reserve(data.len() + 2);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(data);
}

/// Writes the payload of a method that gives way to *none* unless it made the data smaller.
fn write_smaller(method: [u8; 2], body: &[u8], data: &[u8], out: &mut Vec<u8>) {
    if body.len() < data.len() {
        out.reserve(body.len() + 2);
        out.extend_from_slice(&method);
        out.extend_from_slice(body);
    } else {
        store(data, out);
    }
}

/// A decompressor with its working memory, to be used by one thread for many chunks.
#[derive(Default)]
pub struct Decompressor {
    zstd: zstd::Decoder,
}

/// Deepest nesting of obfuscated payloads that is read.
const MAX_NESTING: usize = 4;

impl Decompressor {
    /// Prepares a decompressor.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decompresses a payload into `out`, whose former content is dropped.
    ///
    /// `size` is the length of the data if the caller knows it; a payload of another length is an
    /// error then. Knowing it saves work with lz4.
    ///
    /// # Errors
    /// When the payload is damaged, of an unknown method, or longer than `limit`.
    pub fn decompress(
        &mut self,
        payload: &[u8],
        size: Option<usize>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        let result = match size {
            Some(size) if size > limit => Err(DecompressError::TooLarge { limit }),
            _ => self.dispatch(payload, size, limit, out, 0),
        };
        match result {
            Ok(method) => match size {
                Some(size) if size != out.len() => {
                    let reason = format!("{} bytes in place of {size}", out.len());
                    out.clear();
                    Err(DecompressError::corrupt(method, reason))
                }
                _ => Ok(()),
            },
            Err(error) => {
                out.clear();
                Err(error)
            }
        }
    }

    fn dispatch(
        &mut self,
        payload: &[u8],
        size: Option<usize>,
        limit: usize,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Method, DecompressError> {
        let unknown = || DecompressError::UnknownMethod(payload.iter().take(2).copied().collect());
        let method = Method::detect(payload).ok_or_else(unknown)?;
        let body = payload.get(2..).unwrap_or_default();
        match method {
            Method::None if body.len() > limit => return Err(DecompressError::TooLarge { limit }),
            Method::None => {
                out.clear();
                out.extend_from_slice(body);
            }
            Method::Lz4 => lz4::decompress(body, size, limit, out)?,
            Method::Lzma => lzma::decompress(body, size, limit, out)?,
            Method::Zstd => self.zstd.decompress(body, limit, out)?,
            Method::Zlib => zlib::decompress(payload, size, limit, out)?,
            Method::Obfuscate if depth >= MAX_NESTING => {
                return Err(DecompressError::corrupt(method, "nested too deeply"));
            }
            Method::Obfuscate => {
                let inner = obfuscate::inner(body)
                    .ok_or_else(|| DecompressError::corrupt(method, "payload is cut short"))?;
                return self.dispatch(inner, size, limit, out, depth + 1);
            }
        }
        Ok(method)
    }
}

/// Decompresses one payload into `out`, whose former content is dropped.
///
/// For many payloads a [`Decompressor`] is faster.
///
/// # Errors
/// When the payload is damaged, of an unknown method, or longer than `limit`.
pub fn decompress(payload: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    Decompressor::new().decompress(payload, None, limit, out)
}

/// Returns the length of a payload's data where the payload tells it. It may be damaged: the length
/// is not to be relied upon before the payload was decompressed.
pub fn announced_len(payload: &[u8]) -> Option<usize> {
    let body = payload.get(2..)?;
    match Method::detect(payload)? {
        Method::None => Some(body.len()),
        Method::Lz4 => lz4::decompressed_len(body),
        Method::Zstd => zstd::announced_len(body),
        Method::Lzma | Method::Zlib | Method::Obfuscate => None,
    }
}

/// Returns how much room to begin with when the length of the data is not known.
fn first_room(size: Option<usize>, compressed: usize, limit: usize) -> usize {
    size.unwrap_or_else(|| compressed.saturating_mul(4).max(64 * 1024))
        .min(limit)
}

/// Runs a decoder over a whole stream, with room that grows up to `limit`.
///
/// `step` decodes into the free room of its second argument; it returns how many bytes it took
/// and whether the stream is at its end.
fn decode_stream(
    (method, stream): (Method, &[u8]),
    size: Option<usize>,
    limit: usize,
    out: &mut Vec<u8>,
    mut step: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(usize, bool), DecompressError>,
) -> Result<(), DecompressError> {
    let mut rest = stream;
    out.clear();
    // One byte more than the data: the stream can then end in the same call.
    out.reserve_exact(first_room(size, stream.len(), limit) + 1);
    loop {
        let before = out.len();
        let (taken, ended) = step(rest, out)?;
        rest = rest.get(taken..).unwrap_or_default();
        if out.len() > limit {
            return Err(DecompressError::TooLarge { limit });
        }
        if ended {
            return Ok(());
        }
        if out.len() < out.capacity() {
            if taken == 0 && out.len() == before {
                return Err(DecompressError::corrupt(method, "stream is cut short"));
            }
        } else if out.len() < limit {
            let room = out.len().saturating_mul(2).min(limit) - out.len();
            out.reserve_exact(room + 1);
        } else {
            return Err(DecompressError::TooLarge { limit });
        }
    }
}

#[cfg(test)]
mod tests;
