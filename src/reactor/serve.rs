//! Read, decode, handle: the loop's daily work.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use crate::buffer::Chunk;
use crate::codec::{Decoder, Protocol};
use crate::connection::inbound::Step;
use crate::connection::state::{Event, Input, State};
use crate::error::Error;
use crate::id::ConnectionId;
use crate::io::stream::Socket;

/// What is left of one connection's share of a turn.
#[derive(Clone, Copy, Debug)]
struct Budget {
    bytes: usize,
    packets: usize,
}

/// Why decoding stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Halt {
    /// All that is there has been decoded.
    NeedsBytes,
    /// The budget is spent.
    Spent,
    /// There is nowhere to put the next packet, or no room for its answer; whoever makes room puts the connection back on
    /// the list.
    Stopped,
    /// The connection decodes no more.
    Over,
}

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: serves the connections on the list as it stands now. One that was not finished goes on the next turn's
    /// list.
    pub(super) fn serve_ready(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        std::mem::swap(&mut batch, &mut self.registry.ready);
        for &id in &batch {
            let Some(conn) = self.registry.get_mut(id) else { continue };
            conn.duty.ready = false;
            match conn.state.input() {
                Input::Ignore => self.serve_half_open(id),
                Input::Discard => self.discard(id),
                Input::Decode => self.serve(id),
            }
        }
        batch.clear();
        self.batch = batch;
    }

    fn serve(&mut self, id: ConnectionId) {
        // Caught once for the whole batch of packets.
        let batch = catch_unwind(AssertUnwindSafe(|| self.read_and_decode(id)));
        self.after_batch(id, batch);
    }

    fn after_batch(&mut self, id: ConnectionId, batch: std::thread::Result<Halt>) {
        match batch {
            Ok(halt) => self.served(id, halt),
            Err(panic) => {
                self.input.drop_lost_chunk();
                self.registry.conns[id.slot()].duty.serving = false;
                self.input.reset(); // the chunk was lost on the way
                self.panicked(id, &*panic);
            }
        }
    }

    /// The peer has ended its stream. It may reset the connection yet, and an `on_read` may have been set for what waits.
    fn serve_half_open(&mut self, id: ConnectionId) {
        let conn = &self.registry.conns[id.slot()];
        if conn.state != State::PeerEnded {
            return;
        }
        if let Some(Err(source)) = conn.socket.as_ref().map(Socket::connected) {
            self.fail(id, Error::Io { during: "read", source });
            return;
        }
        if !conn.has_work() {
            return;
        }
        let mut budget = Budget { bytes: 0, packets: self.registry.config.packet_budget };
        self.registry.conns[id.slot()].duty.serving = true;
        let batch = catch_unwind(AssertUnwindSafe(|| {
            self.hindrance(id, &mut budget).unwrap_or(Halt::Over)
        }));
        self.after_batch(id, batch);
    }

    /// After a batch: sends the connection's own answers, and lists it again where there is more to do.
    fn served(&mut self, id: ConnectionId, halt: Halt) {
        self.registry.conns[id.slot()].duty.serving = false;
        self.flush(id);
        let conn = &self.registry.conns[id.slot()];
        // While it was served it could not be listed. Where there was no room for a packet, that very flush may have made
        // some; otherwise whoever makes room lists it.
        let may_go_on = halt != Halt::Stopped || conn.takes_packets(self.registry.config.inbox);
        if may_go_on && conn.has_work() {
            self.registry.enqueue_ready(id);
        }
    }

    /// Reads and decodes within the budget.
    fn read_and_decode(&mut self, id: ConnectionId) -> Halt {
        let config = &self.registry.config;
        let mut budget = Budget { bytes: config.read_budget, packets: config.packet_budget };
        let conn = &mut self.registry.conns[id.slot()];
        conn.duty.serving = true;
        let mut chunk = conn.inbound.take();
        let mut halt = Halt::NeedsBytes;
        if conn.inbound.may_decode() || conn.has_shelved() {
            halt = self.decode(id, &mut chunk, &mut budget);
        }
        while halt == Halt::NeedsBytes {
            match self.read(id, &mut chunk, &mut budget) {
                Some(more) => halt = more,
                None => break,
            }
        }
        if halt == Halt::Over {
            self.input.reset();
            return halt;
        }
        let conn = &mut self.registry.conns[id.slot()];
        conn.inbound.put_back(self.input.put_back(chunk));
        let clock = &self.registry.clock;
        let since = conn.inbound.watch_unfinished(conn.codec.holds_partial(), || clock.now());
        if since.is_some() {
            self.registry.arm(id);
        }
        halt
    }

    /// Reads once and decodes what came. `None`: there is nothing more to read now, or the budget is spent.
    fn read(&mut self, id: ConnectionId, chunk: &mut Chunk, budget: &mut Budget) -> Option<Halt> {
        let conn = &mut self.registry.conns[id.slot()];
        if !conn.inbound.may_read() || budget.bytes == 0 {
            return None;
        }
        if !conn.is_unhindered() && !conn.takes_packets(self.registry.config.inbox) {
            return Some(Halt::Stopped);
        }
        let socket = conn.socket.as_mut()?;
        match self.input.fill(chunk, budget.bytes, |free| socket.read(free)) {
            Ok(filled) => {
                conn.inbound.note_filled(filled);
                budget.bytes -= filled.got;
                self.registry.stats.bytes_in += filled.got as u64;
                if self.registry.config.idle_timeout.is_some() && filled.got > 0 {
                    conn.last_input = self.registry.clock.now();
                }
                Some(self.decode(id, chunk, budget))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    conn.inbound.note_would_block();
                    None
                }
                io::ErrorKind::Interrupted => Some(Halt::NeedsBytes),
                _ => {
                    self.fail(id, Error::Io { during: "read", source: error });
                    Some(Halt::Over)
                }
            },
        }
    }

    /// Decodes and handles packet after packet.
    fn decode(&mut self, id: ConnectionId, chunk: &mut Chunk, budget: &mut Budget) -> Halt {
        loop {
            let conn = &mut self.registry.conns[id.slot()];
            if !conn.is_unhindered()
                && let Some(halt) = self.hindrance(id, budget)
            {
                return halt;
            }
            if budget.packets == 0 {
                return Halt::Spent;
            }
            let conn = &mut self.registry.conns[id.slot()];
            match conn.inbound.step(&mut conn.codec, self.input.bytes(chunk)) {
                Step::Packet { packet, size } => {
                    budget.packets -= 1;
                    self.registry.stats.packets_in += 1;
                    self.hand_over(id, packet, size);
                }
                Step::NeedsBytes => return Halt::NeedsBytes,
                Step::Finished => {
                    self.peer_ended(id);
                    return Halt::Over;
                }
                Step::Failed(error) => {
                    self.fail(id, error);
                    return Halt::Over;
                }
            }
        }
    }

    /// Whatever keeps the next packet from being decoded.
    fn hindrance(&mut self, id: ConnectionId, budget: &mut Budget) -> Option<Halt> {
        loop {
            let has_room = self.room_to_answer(id);
            let conn = &mut self.registry.conns[id.slot()];
            // First of all: a connection that is closing must not be choked, or it would not discard what still comes.
            if !conn.state.delivers() {
                return Some(Halt::Over);
            }
            if !has_room {
                conn.inbound.choke();
                return Some(Halt::Stopped);
            }
            if !conn.takes_packets(self.registry.config.inbox) {
                return Some(Halt::Stopped);
            }
            if conn.handlers.on_read.is_none() || !conn.has_shelved() {
                return None;
            }
            // Packets that waited for an `on_read` go before those that still have to be decoded.
            if budget.packets == 0 {
                return Some(Halt::Spent);
            }
            budget.packets -= 1;
            let packet = self.registry.unshelve(id)?;
            self.hand_over(id, packet, 0);
        }
    }

    /// Go's full channel: a handler that answers each packet never finds the outbox full, because the next packet is not
    /// decoded until there is room for its answer.
    fn room_to_answer(&mut self, id: ConnectionId) -> bool {
        if !self.registry.conns[id.slot()].outbound.is_high() {
            return true;
        }
        self.flush(id);
        !self.registry.conns[id.slot()].outbound.is_high()
    }

    #[inline]
    fn hand_over(&mut self, id: ConnectionId, packet: P::In, size: usize) {
        if self.registry.conns[id.slot()].handlers.on_read.is_none() {
            self.registry.shelve(id, packet, size);
        } else if let Err(error) = self.call_read(id, packet) {
            self.fail(id, Error::Handler(error));
        }
    }

    /// The peer has ended its stream, and all of it has been delivered.
    fn peer_ended(&mut self, id: ConnectionId) {
        let half_open = self.registry.config.half_open;
        let was_open = self.registry.conns[id.slot()].state.is_writable();
        self.registry.transition(id, Event::PeerEnd { half_open });
        if half_open && was_open {
            self.call_end(id);
        }
    }

    /// Reads and throws away, for a connection that is closing.
    fn discard(&mut self, id: ConnectionId) {
        let mut budget = self.registry.config.read_budget;
        while budget > 0 {
            let conn = &mut self.registry.conns[id.slot()];
            if !conn.inbound.may_read() {
                return;
            }
            let Some(socket) = conn.socket.as_mut() else { return };
            match self.input.discard(|free| socket.read(free)) {
                Ok(filled) if filled.got == 0 => {
                    self.registry.transition(id, Event::PeerEnd { half_open: false });
                    return;
                }
                Ok(filled) => {
                    conn.inbound.note_filled(filled);
                    self.registry.stats.bytes_in += filled.got as u64;
                    budget = budget.saturating_sub(filled.got);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    conn.inbound.note_would_block();
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(id, Error::Io { during: "read", source: error });
                    return;
                }
            }
        }
        self.registry.enqueue_ready(id);
    }
}
