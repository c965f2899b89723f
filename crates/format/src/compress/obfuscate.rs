//! The obfuscate method: a payload with padding after it, so that its length tells less.
//!
//! `04 00`, the length of the inner payload (u32, big endian), the payload, zeros.

use super::{CompressionSpec, Engine, Obfuscation};

const HEADER: [u8; 2] = [4, 0];
/// The longest an object may become, less room for the headers around it.
const LONGEST: usize = 20_971_479 - 1024;

pub(super) struct Obfuscate {
    how: Obfuscation,
    inner: Engine,
}

impl Obfuscate {
    pub(super) fn new(how: Obfuscation, inner: &CompressionSpec) -> Self {
        Self {
            how,
            inner: Engine::new(inner),
        }
    }

    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>, random: f64) {
        out.extend_from_slice(&HEADER);
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.inner.compress(data, out, random);
        let len = out.len() - start - 4;
        let written = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&written);
        }
        let padding = padding(self.how, len, random).min(LONGEST.saturating_sub(len));
        out.resize(out.len() + padding, 0);
    }
}

/// Returns how many zeros follow a payload of `len` bytes; `random` is uniform in [0, 1).
fn padding(how: Obfuscation, len: usize, random: f64) -> usize {
    match how {
        Obfuscation::Relative(level) => {
            let factor = 0.001 * 10f64.powi(level.into());
            (len as f64 * (factor / random.max(0.0001))) as usize
        }
        Obfuscation::Random(level) => {
            let most = 2f64.powi(i32::from(level) - 100);
            (most * random) as usize
        }
        Obfuscation::Padme => padme(len) - len,
    }
}

/// Rounds up so that few lengths are possible: the mantissa has as many bits as the exponent needs.
fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let mantissa = exponent.checked_ilog2().unwrap_or(0) + 1;
    let mask = (1usize << exponent.saturating_sub(mantissa)) - 1;
    (len + mask) & !mask
}

/// Returns the payload inside; `None` if it is cut short.
pub(super) fn inner(body: &[u8]) -> Option<&[u8]> {
    let (len, rest) = body.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}
