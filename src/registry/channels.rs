//! Between a connection and the queues of its handles: what other threads wrote on its way to the outbox, and which of the
//! queues the connection's state still keeps open.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Registry;
use crate::codec::Protocol;
use crate::connection::state::Input;
use crate::error::{Error, WriteError};
use crate::handle::{Link, Wish};
use crate::handlers::HandlerError;
use crate::id::ConnectionId;

/// What became of a handle's oldest packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Passed {
    /// It went on: to the outbox, or to where refused packets are counted.
    On,
    /// There is none.
    Nothing,
    /// The outbox has no room for it now. It waits first in the line.
    Stalled,
}

impl<P: Protocol, S> Registry<P, S> {
    /// Moves packets from a connection's handles to its outbox, while it is under its high mark: at most one queue full,
    /// so that a thread as quick as this loop cannot hold it.
    pub(crate) fn pump(&mut self, id: ConnectionId) {
        let Some(link) = self.get(id).and_then(|conn| conn.link().cloned()) else { return };
        for _ in 0..link.outgoing.capacity() {
            let held_up =
                self.get(id).is_none_or(|conn| conn.outbound.is_high() || conn.state.is_closed());
            if held_up {
                return;
            }
            match self.pass_on(id, &link) {
                Passed::On => {}
                Passed::Stalled => return,
                Passed::Nothing => {
                    if link.wish() == Wish::Close {
                        self.close(id);
                    }
                    return;
                }
            }
        }
        link.call_loop();
    }

    /// Before this side stops writing: what its handles were told had been queued goes to the outbox, marks or no marks, as
    /// far as the cap allows. Nothing can be queued behind it.
    pub(super) fn gather(&mut self, id: ConnectionId) {
        let Some(conn) = self.get(id).filter(|conn| conn.state.is_writable()) else { return };
        let Some(link) = conn.link().cloned() else { return };
        link.outgoing.close();
        while self.pass_on(id, &link) == Passed::On {}
    }

    /// Closes those of the handles' queues that the connection's state has no use for, which releases whoever waits there.
    pub(super) fn narrow(&mut self, id: ConnectionId) {
        let Some(conn) = self.get(id) else { return };
        let Some(link) = conn.link() else { return };
        if !conn.state.is_writable() {
            link.outgoing.close();
        }
        if !conn.state.is_connecting() && conn.state.input() != Input::Decode {
            link.incoming.close();
        }
    }

    fn pass_on(&mut self, id: ConnectionId, link: &Link<P>) -> Passed {
        let Some(cold) = self.get_mut(id).and_then(|conn| conn.cold_mut()) else {
            return Passed::Nothing;
        };
        let next = cold.stalled.take().or_else(|| link.outgoing.try_pop().ok().map(|it| it.item));
        let Some(packet) = next else { return Passed::Nothing };
        // The codec is users' code, and no handler that could catch its panic is running.
        let written = match catch_unwind(AssertUnwindSafe(|| match self.write(id, packet) {
            // Dropped here: that is users' code, too.
            Err(WriteError::Closed(_) | WriteError::WouldDeadlock(_)) => None,
            written => Some(written),
        })) {
            Ok(written) => written,
            Err(panic) => {
                self.panicked(id, &*panic);
                return Passed::Nothing;
            }
        };
        match written {
            Some(Ok(())) => Passed::On,
            Some(Err(WriteError::Full(packet))) => {
                if let Some(cold) = self.get_mut(id).and_then(|conn| conn.cold_mut()) {
                    cold.stalled = Some(packet);
                }
                Passed::Stalled
            }
            Some(Err(WriteError::Encode(source))) => {
                self.queue_error(id, Error::Handler(HandlerError::from_boxed(source)));
                Passed::On
            }
            Some(Err(_)) | None => {
                self.stats.packets_dropped += 1;
                Passed::On
            }
        }
    }
}
