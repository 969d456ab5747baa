//! Names for things that come and go: a slot that is reused, and a generation that is not.
//!
//! A bare slab key names whoever sits in the slot now. Every id here also carries the generation under which it was given
//! out, so a stale one misses instead of reaching a stranger.

use std::fmt;
use std::num::NonZeroU32;

/// The number of times that slots have been filled; it never takes the same value twice within 2³² fills.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Generation(NonZeroU32);

impl Generation {
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);

    #[must_use]
    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(NonZeroU32::MIN))
    }
}

macro_rules! generational_id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            slot: u32,
            generation: Generation,
        }

        impl $name {
            pub(crate) fn new(slot: usize, generation: Generation) -> Self {
                let slot = u32::try_from(slot).expect("a slab of fewer than 2^32 slots");
                Self { slot, generation }
            }

            #[inline]
            pub(crate) fn slot(self) -> usize {
                self.slot as usize
            }

            #[inline]
            pub(crate) fn generation(self) -> Generation {
                self.generation
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}.{}"), self.slot, self.generation.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

generational_id! {
    /// Names one connection for as long as the server runs.
    ///
    /// It is `Copy`, `Send` and small (8 bytes): keep it in maps and send it to other threads. Once the connection has
    /// ended, the id finds nothing: never the connection that came to sit in the same slot. It prints as `c3.17`: slot 3,
    /// the 17th connection of this server.
    ConnectionId, "c"
}

generational_id! {
    /// Names one timer until it has fired for the last time or was cancelled.
    TimerId, "t"
}

impl ConnectionId {
    /// Packs the id into a poll token.
    #[inline]
    pub(crate) fn to_token(self) -> usize {
        ((self.generation.0.get() as usize) << 32) | self.slot as usize
    }

    /// Unpacks a poll token; `None` for the tokens that are no connection's.
    #[inline]
    pub(crate) fn from_token(token: usize) -> Option<Self> {
        let generation = NonZeroU32::new((token >> 32) as u32)?;
        Some(Self { slot: token as u32, generation: Generation(generation) })
    }
}

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "a poll token packs a 32-bit slot and a 32-bit generation: wheelhouse needs a 64-bit target"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_slot_and_generation_there_and_back() {
        let mut generation = Generation::FIRST;
        for slot in [0usize, 1, 19_999, u32::MAX as usize] {
            let id = ConnectionId::new(slot, generation);
            assert_eq!(ConnectionId::from_token(id.to_token()), Some(id));
            generation = generation.next();
        }
        assert_eq!(ConnectionId::from_token(7), None, "small tokens are the loop's own");
    }

    #[test]
    fn a_generation_wraps_past_zero() {
        let last = Generation(NonZeroU32::MAX);
        assert_eq!(last.next(), Generation::FIRST);
    }

    #[test]
    fn an_optional_id_costs_nothing_more() {
        assert_eq!(size_of::<Option<ConnectionId>>(), 8);
    }
}
