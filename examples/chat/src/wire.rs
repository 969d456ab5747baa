//! The seam between the hub and the world: what the hub asks for, in two small traits.
//!
//! [`Wire`] is there for the time of one call: the loop, as it is handed to every handler. In the server that is
//! [`ServerRef`](wheelhouse::ServerRef) itself (`live.rs`); in the hub's tests it is a list of what was sent. [`Backstage`]
//! is where the hub leaves work for other threads; it never waits.

use std::time::Instant;

use wheelhouse::ConnectionId;

use crate::cluster::{Full, Post};
use crate::event::Event;
use crate::history::Request;
use crate::message::CloseCode;
use crate::names::Key;

/// The way to the clients. Nothing here fails: a client that is gone or does not read is told of by `Hub::gone`.
pub(crate) trait Wire {
    /// The moment of this call.
    fn now(&self) -> Instant;

    /// The wall clock, in milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;

    /// Whether the server is going away, and its clients with it.
    fn is_stopping(&self) -> bool;

    /// One frame for several clients, encoded once.
    fn publish(&mut self, to: impl Iterator<Item = ConnectionId>, event: &Event<'_>);

    fn send(&mut self, to: ConnectionId, event: &Event<'_>) {
        self.publish(std::iter::once(to), event);
    }

    fn close(&mut self, id: ConnectionId, code: CloseCode, reason: &str);
}

/// The history's thread, and the other nodes where there are any.
pub(crate) trait Backstage {
    /// Leaves work for the history. Its answer comes to `Hub::answered`, in the order of the requests.
    fn keep(&self, why: Why, request: Request) -> Result<(), Busy>;

    /// Whether this is one node of several. If so, what is said goes by them: it comes back to `Hub::news`.
    fn has_nodes(&self) -> bool;

    /// Tells the other nodes. Only where there are any. Where there is no room in the queue, the post comes back.
    #[allow(clippy::result_large_err, reason = "what is refused comes back whole")]
    fn post(&self, post: Post<Why>) -> Result<(), Full<Why>>;
}

/// There is no room in a queue.
#[derive(Debug)]
pub(crate) struct Busy;

/// Why another thread was asked: it comes back with the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// A client here said it.
    Said {
        by: ConnectionId,
    },
    /// A client of another node said it.
    SaidElsewhere,
    /// Somebody who has just come wants to know what was said before.
    Replay {
        to: ConnectionId,
        room: Key,
        stay: u64,
    },
    /// Somebody who only listens wants to know as well.
    Listener {
        to: ConnectionId,
    },
    /// Somebody scrolls back.
    Page {
        to: ConnectionId,
        room: Key,
    },
    /// `by` is `None` where it was done on another node.
    Clear {
        by: Option<ConnectionId>,
        name: String,
        room: Key,
        through: u64,
    },
    Owner {
        room: Key,
    },
    /// The room is there no more.
    Forgotten {
        room: Key,
    },
    /// A client waits to hear whether a name is its own.
    Name {
        of: ConnectionId,
    },
}
