//! Newcomers: taking them in, turning them away, and living without descriptors.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use crate::codec::Protocol;
use crate::config::{ACCEPT_REST, Overload};
use crate::io::listener::{AcceptFailure, sort_accept_error};
use crate::io::stream::Socket;
use crate::logging::note;
use crate::registry::{Origin, Task};

/// What is known of the backlog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acceptor {
    /// Empty, until an event says otherwise.
    Waiting,
    /// There may be somebody in it.
    Ready,
    /// There may be, but there is no room; a connection's end, or the timer if `timed`, looks again. No event would: an
    /// edge is not told twice.
    Resting { timed: bool },
    /// The listener is closed.
    Closed,
}

impl Acceptor {
    #[inline]
    pub(super) fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// An event: while resting it is no news.
    #[inline]
    pub(super) fn note_ready(&mut self) {
        if *self == Self::Waiting {
            *self = Self::Ready;
        }
    }

    /// Room may have come.
    pub(super) fn end_rest(&mut self) {
        if matches!(self, Self::Resting { .. }) {
            *self = Self::Ready;
        }
    }
}

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: takes newcomers off the backlog, as many as one turn may.
    #[inline(never)]
    pub(super) fn accept(&mut self) {
        for _ in 0..self.registry.config.accepts_per_turn {
            if !self.acceptor.is_ready() {
                return;
            }
            self.accept_one();
        }
    }

    fn accept_one(&mut self) {
        let full = self.registry.conns.len() >= self.registry.connection_limit;
        if full && self.registry.config.overload == Overload::Backlog {
            self.acceptor = Acceptor::Resting { timed: false };
            return;
        }
        let rested_in_vain = std::mem::take(&mut self.rested_in_vain);
        match self.driver.accept() {
            Ok((_socket, peer)) if full => {
                let limit = self.registry.connection_limit;
                self.reject(peer, format_args!("all {limit} connections are taken"));
            }
            Ok((socket, peer)) => self.admit(socket, peer),
            Err(error) => match sort_accept_error(&error) {
                AcceptFailure::Drained => self.acceptor = Acceptor::Waiting,
                AcceptFailure::Transient => self.registry.stats.accept_failures += 1,
                AcceptFailure::Exhausted => {
                    self.registry.stats.accept_failures += 1;
                    // Not at once: room may be on its way, with connections that end in this very turn.
                    if rested_in_vain && self.driver.shed() {
                        self.registry.stats.rejected += 1;
                    }
                    self.rest(&error, "out of descriptors or memory");
                }
                AcceptFailure::Other => {
                    self.registry.stats.accept_failures += 1;
                    self.rest(&error, "accept failed");
                }
            },
        }
    }

    /// Leaves the backlog alone for a while.
    fn rest(&mut self, error: &std::io::Error, what: &str) {
        self.acceptor = Acceptor::Resting { timed: true };
        // One timer, however many rests a connection's end has cut short: else each would knock by itself from then on.
        if self.rest.is_none() {
            self.rest = Some(self.registry.stats.accepted);
            self.registry.add_timer(ACCEPT_REST, Task::AcceptAgain);
        }
        let open = self.registry.conns.len();
        self.warn_of_overload(format_args!(
            "{what}, with {open} connections open: {error}; accepting rests for {ACCEPT_REST:?}"
        ));
    }

    fn reject(&mut self, peer: SocketAddr, why: std::fmt::Arguments<'_>) {
        self.registry.stats.rejected += 1;
        self.warn_of_overload(format_args!("{peer} was turned away: {why}"));
    }

    /// A line at the first of these events, and then at most one a second: the flood that causes them fills no disk.
    fn warn_of_overload(&mut self, message: std::fmt::Arguments<'_>) {
        let now = self.registry.clock.now();
        let gate = &mut self.registry.overload_log;
        if gate.last.is_some_and(|last| now.since(last) < std::time::Duration::from_secs(1)) {
            gate.held_back += 1;
            return;
        }
        let held_back = std::mem::take(&mut gate.held_back);
        gate.last = Some(now);
        if held_back > 0 {
            note!(self.registry.logger, Warn, "{message} ({held_back} more like it not logged)");
        } else {
            note!(self.registry.logger, Warn, "{message}");
        }
    }

    /// Makes a connection of a newcomer.
    fn admit(&mut self, socket: Socket, peer: SocketAddr) {
        let registry = &mut self.registry;
        if let Some(limit) = registry.config.max_connections_per_address
            && registry.by_address.get(&peer.ip()).is_some_and(|count| *count >= limit)
        {
            let address = peer.ip();
            self.reject(peer, format_args!("{address} has its {limit} connections"));
            return;
        }
        // It makes the connection's codec, which is users' code.
        let inserted =
            catch_unwind(AssertUnwindSafe(|| registry.insert(Some(socket), peer, Origin::Inbound)));
        let id = match inserted {
            Ok(id) => id,
            Err(panic) => {
                self.registry.panicked_alone("a newcomer", &*panic);
                self.registry.stats.rejected += 1;
                return;
            }
        };
        let registered = match registry.conns[id.slot()].socket.as_mut() {
            Some(socket) => self.driver.register(socket, id.to_token()),
            None => Ok(()),
        };
        if let Err(error) = registered {
            self.registry.remove_unborn(id);
            self.registry.stats.accept_failures += 1;
            self.rest(&error, "the poll could not take a connection");
            return;
        }
        self.registry.stats.accepted += 1;
        note!(self.registry.logger, Debug, "{id} accepted from {peer}");
        self.call_accept(id);
        self.registry.arm(id);
    }
}
