//! Read, decode, handle: the loop's daily work.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use crate::buffer::ReadBuffer;
use crate::clock::Clock;
use crate::codec::{Decoder, Protocol};
use crate::config::{CONNECTIONS_PER_TURN, Config};
use crate::connection::inbound::Step;
use crate::connection::state::{Event, Input, State};
use crate::error::Error;
use crate::handlers::OnRead;
use crate::id::ConnectionId;
use crate::io::Readiness;
use crate::io::stream::Socket;
use crate::registry::Conn;
use crate::stats::Stats;

/// What is left of one connection's share of a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) bytes: usize,
    pub(super) packets: usize,
    /// Bytes that the decoder was given: those that were held, and those read.
    fed: usize,
}

impl Budget {
    pub(super) fn new(config: &Config) -> Self {
        Self { bytes: config.read_budget, packets: config.packet_budget, fed: 0 }
    }
}

/// Why decoding stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Halt {
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

/// The next packet of a connection, from what it holds or from its socket; or why there is none.
///
/// `idle`: where somebody wants to know when input came.
#[inline(always)]
fn next_step<P: Protocol, S>(
    conn: &mut Conn<P, S>,
    input: &mut ReadBuffer,
    budget: &mut Budget,
    stats: &mut Stats,
    idle: Option<&Clock>,
) -> Step<P::In> {
    let mut needs_bytes = !conn.inbound.may_decode();
    loop {
        if needs_bytes {
            if !conn.inbound.may_read() || budget.bytes == 0 {
                return Step::NeedsBytes;
            }
            match conn.fill(input, budget.bytes) {
                Ok(got) => {
                    budget.bytes -= got;
                    budget.fed += got;
                    stats.bytes_in += got as u64;
                    if let Some(clock) = idle
                        && got > 0
                    {
                        conn.note_input(clock);
                    }
                }
                Err(error) => match conn.inbound.note_read_error(error) {
                    Some(step) => return step,
                    None => continue,
                },
            }
        }
        match conn.inbound.step(&mut conn.codec) {
            Step::NeedsBytes => needs_bytes = true,
            step => return step,
        }
    }
}

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: serves the connections that the poll told of, and those on the list as it stands now, as many as one turn
    /// may. The list has the first claim: with no room beside it, news are listed behind it, for a later turn. One that is
    /// listed is served from the list alone, or it would have two shares.
    #[inline]
    pub(super) fn serve_due(&mut self) {
        let listed = self.registry.ready.len().min(CONNECTIONS_PER_TURN);
        let mut served = listed;
        let mut at = 0;
        while let Some(&news) = self.news.of_connections.get(at) {
            at += 1;
            if served < CONNECTIONS_PER_TURN {
                served += 1;
                self.serve_news(news);
            } else {
                self.list_news(news);
            }
        }
        self.news.of_connections.clear();
        if listed > 0 {
            self.serve_listed(listed);
        }
    }

    #[inline(never)]
    fn serve_listed(&mut self, listed: usize) {
        for at in 0..listed {
            let id = self.registry.ready[at];
            let Some(conn) = self.registry.get_mut(id) else { continue };
            conn.duty.ready = false;
            self.serve(id);
        }
        self.registry.ready.drain(..listed);
    }

    /// News of a connection that has to wait for a later turn.
    #[cold]
    fn list_news(&mut self, news: Readiness) {
        let Some(id) = ConnectionId::from_token(news.token) else { return };
        let registry = &mut self.registry;
        if let Some(conn) = registry.conns.get_mut(id.slot())
            && conn.generation == id.generation()
            && conn.note_news(news, &mut registry.dirty)
        {
            registry.enqueue_ready(id);
        }
    }

    /// Serves a connection, whatever there is to do for it.
    #[inline(never)]
    pub(super) fn serve(&mut self, id: ConnectionId) {
        match self.registry.conns[id.slot()].state.input() {
            Input::Decode => {
                // Caught once for the whole batch of packets.
                let batch = catch_unwind(AssertUnwindSafe(|| {
                    let budget = Budget::new(&self.registry.config);
                    self.read_and_decode(id, budget)
                }));
                self.after_batch(id, batch);
            }
            Input::Discard => self.discard(id),
            Input::Ignore => self.serve_half_open(id),
        }
    }

    fn after_batch(&mut self, id: ConnectionId, batch: std::thread::Result<Halt>) {
        match batch {
            Ok(halt) => self.after_halt(id, halt),
            Err(panic) => self.batch_panicked(id, &*panic),
        }
    }

    pub(super) fn after_halt(&mut self, id: ConnectionId, halt: Halt) {
        // The connection's own answers, in one write.
        self.flush(id);
        if halt == Halt::Stopped {
            self.look_again(id);
        }
    }

    #[cold]
    pub(super) fn batch_panicked(&mut self, id: ConnectionId, panic: &(dyn Any + Send)) {
        self.registry.conns[id.slot()].duty.serving = false;
        self.panicked(id, panic);
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
        let mut budget = Budget { bytes: 0, ..Budget::new(&self.registry.config) };
        self.registry.conns[id.slot()].duty.serving = true;
        let batch = catch_unwind(AssertUnwindSafe(|| {
            let halt = self.hindrance(id, &mut budget).unwrap_or(Halt::Over);
            let conn = &mut self.registry.conns[id.slot()];
            conn.duty.serving = false;
            if halt != Halt::Stopped && conn.has_work() {
                self.registry.enqueue_ready(id);
            }
            halt
        }));
        self.after_batch(id, batch);
    }

    /// There was no room for a packet. That very flush may have made some; otherwise whoever makes room lists it.
    #[cold]
    fn look_again(&mut self, id: ConnectionId) {
        let conn = &self.registry.conns[id.slot()];
        if conn.takes_packets(self.registry.config.inbox) && conn.has_work() {
            self.registry.enqueue_ready(id);
        }
    }

    /// Decodes what is held and reads what there is, packet after packet, within the budget.
    ///
    /// The connection is looked up anew only after something else has had the registry: a handler, say.
    pub(super) fn read_and_decode(&mut self, id: ConnectionId, mut budget: Budget) -> Halt {
        let mut conn = &mut self.registry.conns[id.slot()];
        conn.duty.serving = true;
        let asked = P::Codec::SPEAKS && conn.duty.probed;
        budget.fed = conn.inbound.held();
        let halt = loop {
            if !conn.is_unhindered() {
                let hindrance = self.hindrance(id, &mut budget);
                if hindrance == Some(Halt::Over) {
                    return self.end_decoding(id);
                }
                conn = &mut self.registry.conns[id.slot()];
                if let Some(halt) = hindrance {
                    break halt;
                }
            }
            if budget.packets == 0 {
                break Halt::Spent;
            }
            let watched = self.registry.watches_silence;
            let idle = watched.then_some(&self.registry.clock);
            let stats = &mut self.registry.stats;
            match next_step(conn, &mut self.input, &mut budget, stats, idle) {
                Step::Packet { packet, size } => {
                    budget.packets -= 1;
                    self.registry.stats.packets_in += 1;
                    let on_read = conn.take_on_read();
                    self.hand_over(id, on_read, packet, size);
                    conn = &mut self.registry.conns[id.slot()];
                }
                Step::NeedsBytes => break Halt::NeedsBytes,
                Step::Finished => {
                    self.peer_ended(id);
                    if asked {
                        self.registry.arm(id);
                    }
                    return self.end_decoding(id);
                }
                Step::Failed(error) => return self.fail_decoding(id, error),
            }
        };
        // What was not consumed stays with the connection, with a deadline on its end.
        conn.inbound.own_rest(budget.fed);
        let clock = &self.registry.clock;
        let since = conn.inbound.watch_unfinished(conn.codec.holds_partial(), || clock.fresh());
        // While it was served it could not be listed.
        conn.duty.serving = false;
        if halt != Halt::Stopped && conn.has_work() && conn.duty.may_list_ready() {
            self.registry.ready.push(id);
        }
        // An answer begins a silence that no entry in the timer queue may be there to find.
        if since.is_some() || (asked && !conn.duty.probed) {
            self.registry.arm(id);
        }
        halt
    }

    #[cold]
    pub(super) fn fail_decoding(&mut self, id: ConnectionId, error: Error) -> Halt {
        if P::Codec::SPEAKS {
            self.registry.last_reply(id);
        }
        self.fail(id, error);
        self.end_decoding(id)
    }

    /// Nothing more will be decoded; what the peer still sends may have to be thrown away.
    #[cold]
    fn end_decoding(&mut self, id: ConnectionId) -> Halt {
        let conn = &mut self.registry.conns[id.slot()];
        conn.inbound.clear();
        conn.duty.serving = false;
        if conn.has_work() {
            self.registry.enqueue_ready(id);
        }
        Halt::Over
    }

    /// Whatever keeps the next packet from being decoded.
    #[inline(never)]
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
            let on_read = self.registry.conns[id.slot()].take_on_read();
            self.hand_over(id, on_read, packet, 0);
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

    /// Brings a packet to the handler that was taken out for it, or to the inbox where there is none.
    #[inline(always)]
    fn hand_over(
        &mut self,
        id: ConnectionId,
        on_read: Option<OnRead<P, S>>,
        packet: P::In,
        size: usize,
    ) {
        let Some(on_read) = on_read else {
            return self.registry.shelve(id, packet, size);
        };
        if let Err(error) = self.call_read(id, on_read, packet) {
            self.fail(id, Error::Handler(error));
        }
    }

    /// The peer has ended its stream, and all of it has been delivered.
    #[inline(never)]
    fn peer_ended(&mut self, id: ConnectionId) {
        if P::Codec::SPEAKS {
            // What the protocol has to say to the last packets: after the end it could say nothing.
            self.flush(id);
        }
        let half_open = self.registry.config.half_open;
        let was_open = self.registry.conns[id.slot()].state.is_writable();
        self.registry.transition(id, Event::PeerEnd { half_open });
        if half_open && was_open {
            self.call_end(id);
        }
    }

    /// Reads and throws away, for a connection that is closing.
    #[inline(never)]
    fn discard(&mut self, id: ConnectionId) {
        let mut budget = self.registry.config.read_budget;
        while budget > 0 {
            let conn = &mut self.registry.conns[id.slot()];
            if !conn.inbound.may_read() {
                return;
            }
            let Some(socket) = conn.socket.as_mut() else { return };
            match self.input.discard(budget, |free| socket.read(free)) {
                Ok(filled) if filled.got == 0 => {
                    self.registry.transition(id, Event::PeerEnd { half_open: false });
                    return;
                }
                Ok(filled) => {
                    conn.inbound.note_filled(filled);
                    self.registry.stats.bytes_in += filled.got as u64;
                    budget -= filled.got;
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
