//! Time and randomness of this machine, as the engine wants them brought.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastness_engine::world::{Clock, Random, UnixNanos, World};

/// The clocks of the system.
struct SystemClock;

/// The random bytes of the system.
struct SystemRandom;

/// Returns the world as it is.
pub fn real() -> World<'static> {
    World {
        clock: &SystemClock,
        random: &SystemRandom,
    }
}

/// Returns the seconds since 1970.
pub fn seconds_since_1970() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

impl Clock for SystemClock {
    fn now(&self) -> UnixNanos {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(bytes).map_err(std::io::Error::other)
    }
}
