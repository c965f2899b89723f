//! What the engine needs of the world and does not fetch itself: time and randomness.
//!
//! The caller brings both, so that a run can be repeated with a fixed clock and fixed random
//! numbers. Nothing else in this crate asks the system for either.

use std::time::Duration;

/// Nanoseconds since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub i64);

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Returns the time of day.
    fn now(&self) -> UnixNanos;

    /// Returns the time since some fixed moment; it never goes back.
    fn monotonic(&self) -> Duration;
}

/// Gives random bytes fit for keys.
pub trait Random: Send + Sync {
    /// Fills `bytes` with random bytes.
    ///
    /// # Errors
    /// When the system has none to give; nothing may be encrypted then.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// A random fraction, uniform in `[0, 1)`, from the source given.
///
/// # Errors
/// As [`Random::fill`].
pub fn random_fraction(random: &dyn Random) -> std::io::Result<f64> {
    let mut bytes = [0; 8];
    random.fill(&mut bytes)?;
    // 53 bits are what a double holds exactly.
    Ok((u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64)
}

/// The two together, as operations take them.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Gives random bytes.
    pub random: &'a dyn Random,
}
