//! Where a schedule's choices come from: a seed, or bytes that somebody else chose.

use std::ops::Range;

/// One choice after the other.
pub(crate) enum Choices {
    Seeded(fastrand::Rng),
    /// Each takes as many bytes as it needs. Once they are spent, it is the first of what there is to choose from, and what
    /// has a chance does not happen.
    Given(std::vec::IntoIter<u8>),
}

impl Choices {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn given(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Given(bytes.into().into_iter())
    }

    pub(crate) fn u64(&mut self, range: Range<u64>) -> u64 {
        match self {
            Self::Seeded(rng) => rng.u64(range),
            Self::Given(bytes) => {
                let count = range.end - range.start;
                let mut chosen = 0;
                let mut reach: u64 = 1;
                while reach < count {
                    chosen = chosen * 256 + u64::from(bytes.next().unwrap_or(0));
                    reach = reach.saturating_mul(256);
                }
                range.start + chosen % count
            }
        }
    }

    pub(crate) fn usize(&mut self, range: Range<usize>) -> usize {
        self.u64(range.start as u64..range.end as u64) as usize
    }

    /// Happens `of_256` times in 256.
    pub(crate) fn chance(&mut self, of_256: u64) -> bool {
        self.u64(0..256) >= 256 - of_256
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.chance(128)
    }

    pub(crate) fn choice<T>(&mut self, mut from: Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.usize(0..from.len());
        Some(from.swap_remove(at))
    }
}
