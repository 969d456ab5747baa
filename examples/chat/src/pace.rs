//! How often something may happen: a bucket of tokens that fills steadily. The time comes from outside.

use std::time::{Duration, Instant};

/// A token is a nanosecond at least.
const FASTEST: u32 = 1_000_000_000;

/// So many in a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

impl Rate {
    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        let per_second = self.per_second.saturating_add(other.per_second);
        Self { per_second, burst: self.burst.saturating_add(other.burst) }
    }
}

/// A full bucket of a [`Rate`], less what was taken from it.
///
/// What was taken is kept as the moment at which it will have been filled up again: one `Instant`, and nothing to be done
/// while nobody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one token, or says how long it will be until there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let token = Duration::from_secs(1) / rate.per_second.clamp(1, FASTEST);
        let full_at = self.full_at.max(now) + token;
        match (full_at - now).checked_sub(token * rate.burst.max(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }

    /// Whether nothing is missing from it: then nobody needs to remember it.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment to count from")]
    fn a_burst_is_free_and_the_rest_is_paced() {
        let begun = Instant::now();
        let rate = Rate { per_second: 5, burst: 10 };
        let mut bucket = Bucket::full(begun);
        for token in 0..10 {
            assert_eq!(bucket.take(rate, begun), Ok(()), "token {token} of the burst");
        }
        let token = Duration::from_millis(200);
        assert_eq!(bucket.take(rate, begun), Err(token));
        assert_eq!(bucket.take(rate, begun), Err(token), "what is refused costs nothing");
        assert_eq!(bucket.take(rate, begun + token), Ok(()));
        assert!(!bucket.is_full(begun + token * 10));
        assert!(bucket.is_full(begun + token * 11));
    }
}
