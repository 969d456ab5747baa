//! How fast one person may talk: a bucket of lines that fills steadily. The time comes from outside.

use std::time::{Duration, Instant};

pub(crate) struct Pace {
    /// The time that one line costs.
    line: Duration,
    /// The most that can be saved up.
    burst: Duration,
    /// From here on, what is spent has been earned again.
    paid_until: Instant,
    warned: bool,
}

impl Pace {
    /// So many lines a second in the long run, and twice as many at once.
    pub(crate) fn new(lines_per_second: u32, now: Instant) -> Self {
        let line = Duration::from_secs(1) / lines_per_second;
        Self { line, burst: Duration::from_secs(2), paid_until: now, warned: false }
    }

    /// One line is said. `Some` when it was one too many: how long to rest, and whether that happens for the first time.
    pub(crate) fn spend(&mut self, now: Instant) -> Option<(Duration, bool)> {
        self.paid_until = self.paid_until.max(now) + self.line;
        let debt = self.paid_until.saturating_duration_since(now);
        let rest = debt.checked_sub(self.burst).filter(|rest| !rest.is_zero())?;
        Some((rest, !std::mem::replace(&mut self.warned, true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment to count from")]
    fn a_burst_is_free_and_the_rest_is_paced() {
        let begun = Instant::now();
        let mut pace = Pace::new(5, begun);
        for line in 0..10 {
            assert_eq!(pace.spend(begun), None, "line {line} of the burst");
        }
        let line = Duration::from_millis(200);
        assert_eq!(pace.spend(begun), Some((line, true)));
        assert_eq!(pace.spend(begun + line), Some((line, false)));
        let later = begun + Duration::from_secs(60);
        for line in 0..10 {
            assert_eq!(pace.spend(later), None, "line {line} of a burst that was earned again");
        }
    }
}
