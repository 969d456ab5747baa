//! Latencies in microseconds, to three digits, from one microsecond to ten minutes.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Outcome;

const LONGEST: Duration = Duration::from_secs(600);

/// Counts how often each latency was seen. With bounds: one without would take every latency for a short one.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self(Histogram::new_with_bounds(1, micros(LONGEST), 3)?))
    }

    pub(crate) fn note(&mut self, took: Duration) {
        self.0.saturating_record(micros(took).max(1));
    }

    /// The latency that such a part of all did not exceed; 0 of none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        self.0.value_at_quantile(part)
    }

    pub(crate) fn max(&self) -> u64 {
        self.0.max()
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Moves all of it to `other`.
    pub(crate) fn move_to(&mut self, other: &mut Self) -> Outcome<()> {
        other.0.add(&self.0)?;
        self.0.reset();
        Ok(())
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_latencies_stay_long() {
        let mut latencies = Latencies::new().expect("a histogram");
        assert_eq!(latencies.quantile(0.99), 0);
        for _ in 0..99 {
            latencies.note(Duration::from_micros(50));
        }
        latencies.note(Duration::from_secs(3));
        assert_eq!(latencies.quantile(0.5), 50);
        assert!(latencies.max().abs_diff(3_000_000) < 3_000, "{}", latencies.max());
        latencies.note(Duration::MAX);
        let longest = micros(LONGEST);
        assert!(latencies.max().abs_diff(longest) < longest / 500, "{}", latencies.max());
    }

    #[test]
    fn what_is_moved_is_elsewhere() {
        let (mut from, mut to) = (Latencies::new().expect("one"), Latencies::new().expect("two"));
        from.note(Duration::from_millis(2));
        from.move_to(&mut to).expect("the same bounds");
        assert_eq!((from.count(), to.count()), (0, 1));
    }
}
