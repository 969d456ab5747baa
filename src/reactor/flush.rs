//! Writing: queued bytes onto the wire, and what follows from their having gone.

use std::io;

use super::Reactor;
use crate::codec::{Decoder, Protocol};
use crate::connection::outbound::Flushed;
use crate::connection::state::Event;
use crate::error::{CloseReason, Error};
use crate::id::ConnectionId;

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: flushes what is on the list as it stands now. What `on_drain` writes is for the next turn.
    #[inline(never)]
    pub(super) fn flush_dirty(&mut self) {
        let listed = self.registry.dirty.len();
        for at in 0..listed {
            let id = self.registry.dirty[at];
            let Some(conn) = self.registry.get_mut(id) else { continue };
            conn.duty.dirty = false;
            if conn.state.is_connecting() {
                self.check_connected(id);
            } else {
                self.flush(id);
            }
        }
        self.registry.dirty.drain(..listed);
    }

    /// Writes what waits for one connection, as much as its socket takes.
    #[inline(never)]
    pub(super) fn flush(&mut self, id: ConnectionId) {
        self.write_out(id);
    }

    /// The same, in line: for the one place where every answer passes. A protocol's own words follow the packets that the
    /// socket takes, and precede those that it does not.
    #[inline(always)]
    pub(super) fn write_out(&mut self, id: ConnectionId) {
        if !P::Codec::SPEAKS {
            return self.send(id);
        }
        self.send(id);
        let said = self.registry.reply(id);
        if said.replied {
            self.send(id);
        }
        if let Some(reason) = said.ending {
            self.come_to_an_end(id, reason);
        }
    }

    #[cold]
    fn come_to_an_end(&mut self, id: ConnectionId, reason: CloseReason) {
        if !self.registry.conns[id.slot()].state.is_closing() {
            self.registry.transition(id, Event::Close(reason));
        }
    }

    #[inline(always)]
    fn send(&mut self, id: ConnectionId) {
        let registry = &mut self.registry;
        let conn = &mut registry.conns[id.slot()];
        if conn.outbound.is_empty() {
            if conn.state.awaits_sent() {
                registry.transition(id, Event::Sent);
            }
            return;
        }
        if conn.state.is_connecting() {
            return;
        }
        match conn.send(&mut registry.pool, &mut registry.stats) {
            Ok(()) if conn.is_plain() || !conn.outbound.is_empty() => {}
            Ok(()) => self.flushed(id, Flushed { written: 0, drained: true, fell: false }),
            Err(first) => self.send_on(id, first),
        }
    }

    /// Goes on where one write was not all that there is to it.
    #[cold]
    pub(super) fn send_on(&mut self, id: ConnectionId, first: io::Result<usize>) {
        let registry = &mut self.registry;
        let conn = &mut registry.conns[id.slot()];
        let marks = &registry.config.outbox;
        match conn.send_on(first, marks, &mut registry.pool, &mut registry.stats) {
            Ok(flushed) => self.flushed(id, flushed),
            Err(source) => self.fail(id, Error::Io { during: "write", source }),
        }
    }

    /// What follows from a flush, beyond the common case of all having gone with nobody waiting for that.
    #[inline(never)]
    fn flushed(&mut self, id: ConnectionId, flushed: Flushed) {
        if !flushed.drained {
            let clock = &self.registry.clock;
            self.registry.conns[id.slot()].outbound.watch_stuck(|| clock.fresh());
            self.registry.arm(id);
        }
        if flushed.fell {
            if self.registry.conns[id.slot()].inbound.unchoke() {
                self.registry.enqueue_ready(id);
            }
            self.call_drain(id);
        }
        if (flushed.fell || flushed.drained)
            && let Some(conn) = self.registry.get(id)
            && conn.link().is_some()
        {
            self.registry.pump(id);
            self.tell_errors(id);
        }
        if let Some(conn) = self.registry.get(id)
            && conn.outbound.is_empty()
            && conn.state.awaits_sent()
        {
            self.registry.transition(id, Event::Sent);
        }
    }
}
