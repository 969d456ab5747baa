//! Work of a known length: so many rounds of arithmetic, which take as long whether or not somebody else has the core
//! meanwhile. (Spinning until the clock says so would become less work whenever the server is interrupted.)

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The work of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spin {
    rounds: u64,
}

impl Spin {
    /// Finds out how many rounds take so long here.
    pub(crate) fn lasting(span: Duration) -> Self {
        const TRIAL: u64 = 100_000;
        // The fastest of several: in the others somebody came between.
        let fastest = (0..50).map(|_| time(TRIAL)).min().unwrap_or_default().as_nanos().max(1);
        let rounds = span.as_nanos() * u128::from(TRIAL) / fastest;
        Self { rounds: u64::try_from(rounds).unwrap_or(u64::MAX).max(1) }
    }

    /// As a process that measures nothing is told by the one that did.
    pub(crate) fn of(rounds: u64) -> Self {
        Self { rounds }
    }

    pub(crate) fn rounds(self) -> u64 {
        self.rounds
    }

    pub(crate) fn work(self) {
        turn(self.rounds);
    }
}

fn time(rounds: u64) -> Duration {
    let begun = Instant::now();
    turn(rounds);
    begun.elapsed()
}

fn turn(rounds: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..rounds {
        state = black_box(state ^ (state << 13));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_work_has_more_rounds() {
        let (short, long) = (Duration::from_micros(10), Duration::from_millis(1));
        assert!(Spin::lasting(long).rounds() > Spin::lasting(short).rounds());
        assert_eq!(Spin::of(7).rounds(), 7);
    }
}
