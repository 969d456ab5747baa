//! What a test may ask of the network, and what it is told of the loop.

use std::io;
use std::time::Duration;

/// Probabilities of what can happen to a read, a write, an event or a connection: 0 never, 1 always.
///
/// None of them loses a byte but [`resets`](Self::resets). Keep those that make a call fail well under 1, or nothing gets
/// through.
///
/// ```
/// use wheelhouse::testing::Faults;
///
/// let mut faults = Faults::none();
/// faults.short_reads = 1.0; // a peer that dribbles
/// # let _ = faults;
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Faults {
    /// A read gives less than is there, often a single byte; the rest comes with a new event.
    pub short_reads: f64,
    /// A write takes less than fits.
    pub short_writes: f64,
    /// A read or a write would block, though it need not; an event follows.
    pub would_blocks: f64,
    /// A read or a write is interrupted by a signal.
    pub interrupts: f64,
    /// A poll brings an event that means nothing.
    pub spurious: f64,
    /// An event is told twice in one poll.
    pub duplicates: f64,
    /// An event comes a poll later, if not later still.
    pub delays: f64,
    /// A poll brings only some of the events that there are.
    pub batches: f64,
    /// A poll brings an event for a connection that has gone.
    pub stale: f64,
    /// A connection is reset somewhere within its first 2,000 bytes, both ways together. In half of the cases that takes
    /// down what was under way: bytes that the server has not read, and the rest of a write that had been taken in whole.
    pub resets: f64,
    /// An `accept` fails: aborted, interrupted, or out of descriptors.
    pub accept_errors: f64,
}

impl Faults {
    /// A network without faults.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            short_reads: 0.0,
            short_writes: 0.0,
            would_blocks: 0.0,
            interrupts: 0.0,
            spurious: 0.0,
            duplicates: 0.0,
            delays: 0.0,
            batches: 0.0,
            stale: 0.0,
            resets: 0.0,
            accept_errors: 0.0,
        }
    }

    /// Everything that a sound network and kernel may do, all the time, and nothing that loses a byte or a peer.
    #[must_use]
    pub const fn rough() -> Self {
        Self {
            short_reads: 0.5,
            short_writes: 0.5,
            would_blocks: 0.2,
            interrupts: 0.1,
            spurious: 0.3,
            duplicates: 0.2,
            delays: 0.3,
            batches: 0.3,
            stale: 0.3,
            ..Self::none()
        }
    }

    /// As [`rough`](Self::rough), and one connection in five breaks, and one `accept` in five fails.
    #[must_use]
    pub const fn hostile() -> Self {
        Self { resets: 0.2, accept_errors: 0.2, ..Self::rough() }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

/// What becomes of an outbound connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Dial {
    /// It is made; [`Simulation::dialled`](super::Simulation::dialled) hands out its far end.
    Accept,
    /// Nobody listens there.
    Refuse,
    /// No answer comes, ever.
    Hang,
    /// It cannot even be begun.
    Fail(io::ErrorKind),
}

/// For how long the loop asked to sleep at the beginning of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleep {
    /// Not at all: it had something to do.
    None,
    /// Until there is news, and for so long at most: a timer is pending.
    AtMost(Duration),
    /// Until there is news.
    Unlimited,
}
