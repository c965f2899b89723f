//! Keeps a direction below so many bytes a second.
//!
//! Bytes are granted for periods of a tenth of a second; what was not used of one period is kept
//! for the next, and no longer, as in Borg.

use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(100);

/// Grants bytes.
#[derive(Debug)]
pub struct RateLimit {
    /// Bytes per period; none is without limit.
    each: Option<usize>,
    granted: usize,
    begun: Instant,
}

impl RateLimit {
    /// Limits to so many bytes a second; zero is no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        let each = usize::try_from(bytes_per_second / 10).unwrap_or(usize::MAX);
        let each = (bytes_per_second > 0).then_some(each.max(1));
        Self {
            each,
            granted: each.unwrap_or_default(),
            begun: Instant::now(),
        }
    }

    /// Takes up to `wanted` bytes, at least one, after waiting for them.
    pub fn take(&mut self, wanted: usize) -> usize {
        let Some(each) = self.each else {
            return wanted;
        };
        let passed = self.begun.elapsed();
        if passed >= PERIOD {
            self.grant(each);
        } else if self.granted == 0 {
            std::thread::sleep(PERIOD.saturating_sub(passed));
            self.grant(each);
        }
        let taken = wanted.min(self.granted);
        self.granted -= taken;
        taken
    }

    /// Gives back what was taken and not used.
    pub fn give(&mut self, unused: usize) {
        self.granted = self.granted.saturating_add(unused);
    }

    fn grant(&mut self, each: usize) {
        self.granted = self
            .granted
            .saturating_add(each)
            .min(each.saturating_mul(2));
        self.begun = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_grants_everything_at_once() {
        assert_eq!(RateLimit::new(0).take(usize::MAX), usize::MAX);
    }

    #[test]
    fn bytes_take_their_time() {
        let start = Instant::now();
        let mut limit = RateLimit::new(100_000);
        let mut left = 40_000;
        while left > 0 {
            left -= limit.take(left);
        }
        // The first period is free.
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(250), "{took:?}");
    }

    #[test]
    fn unused_bytes_are_kept_for_one_period_only() {
        let mut limit = RateLimit::new(1000);
        std::thread::sleep(PERIOD);
        assert_eq!(limit.take(usize::MAX), 200);
        limit.give(50);
        assert_eq!(limit.take(usize::MAX), 50);
    }
}
