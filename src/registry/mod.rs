//! Everything about the connections that a handler may reach: the slab, and the lists of what is due.
//!
//! Nothing here calls a handler, and nothing waits. A handler's wish (a write, a close, a timer) takes effect at once on
//! queues and states; what follows from it (bytes on the wire, other handlers) goes on one of the lists, for the loop to
//! see to in the phase that it belongs to. So no handler ever runs inside another.

mod channels;
mod conn;
mod deadlines;
mod due;
mod panics;
mod voice;
mod waiting;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

pub(crate) use self::conn::{Conn, Duty, Origin};
use crate::buffer::BufferPool;
use crate::clock::{Clock, Tick};
use crate::codec::{Decoder, Protocol};
use crate::config::Config;
use crate::connection::inbound::Inbound;
use crate::connection::outbound::Outbound;
use crate::connection::state::{Effect, Event, Input, State, Then};
use crate::context::{Connection, ServerRef};
use crate::error::{CloseReason, Error, WriteError};
use crate::handle::Shared;
use crate::handlers::Handlers;
use crate::id::{ConnectionId, Generation};
use crate::io::stream::Socket;
use crate::logging::Logger;
use crate::stats::Stats;
use crate::timers::Timers;

pub(crate) struct Registry<P: Protocol, S> {
    pub(crate) protocol: P,
    pub(crate) config: Config,
    /// [`Config::watches_silence`], asked once.
    pub(crate) watches_silence: bool,
    pub(crate) connection_limit: usize,
    pub(crate) local_addr: SocketAddr,
    pub(crate) conns: Slab<Conn<P, S>>,
    pub(crate) generation: Generation,
    pub(crate) clock: Clock,
    pub(crate) timers: Timers<Task<P, S>>,
    pub(crate) pool: BufferPool,
    pub(crate) stats: Stats,
    pub(crate) logger: Logger,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) shared: Arc<Shared<P, S>>,
    pub(crate) overload_log: LogGate,
    /// Inbound connections by address; kept only where there is a limit.
    pub(crate) by_address: HashMap<IpAddr, usize>,

    // What is due. An id stands in each list at most once, and may be stale by the time it is looked at.
    /// Input to read or to decode.
    pub(crate) ready: Vec<ConnectionId>,
    /// Output to flush.
    pub(crate) dirty: Vec<ConnectionId>,
    /// Closed, and waiting for `on_closed`.
    pub(crate) doomed: Vec<ConnectionId>,
    /// Outbound connections to begin.
    pub(crate) dialing: Vec<(ConnectionId, SocketAddr)>,
}

/// Keeps one kind of log line from filling a disk.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct LogGate {
    pub(crate) last: Option<Tick>,
    pub(crate) held_back: u64,
}

/// What the timer queue holds.
pub(crate) enum Task<P: Protocol, S> {
    /// Look at this connection's deadlines.
    Deadline(ConnectionId),
    Connection(ConnectionId, Repeat<OnceFor<P, S>, EachFor<P, S>>),
    Server(Repeat<OnceOf<P, S>, EachOf<P, S>>),
    AcceptAgain,
    StopDeadline,
}

pub(crate) enum Repeat<Once, Each> {
    Once(Once),
    Every(Duration, Each),
}

pub(crate) type OnceFor<P, S> = Box<dyn FnOnce(&mut S, &mut Connection<'_, P, S>)>;
pub(crate) type EachFor<P, S> = Box<dyn FnMut(&mut S, &mut Connection<'_, P, S>)>;
type OnceOf<P, S> = Box<dyn FnOnce(&mut S, &mut ServerRef<'_, P, S>)>;
type EachOf<P, S> = Box<dyn FnMut(&mut S, &mut ServerRef<'_, P, S>)>;

/// Where the server stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lifecycle {
    Running,
    /// A stop was asked for; the loop has not begun it yet.
    Asked {
        grace: Duration,
    },
    Stopping(Stopping),
    Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stopping {
    pub(crate) since: Tick,
    pub(crate) deadline: Tick,
    pub(crate) closed: u64,
    pub(crate) forced: u64,
}

impl<P: Protocol, S> Registry<P, S> {
    #[inline]
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Conn<P, S>> {
        self.conns.get(id.slot()).filter(|conn| conn.generation == id.generation())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Conn<P, S>> {
        self.conns.get_mut(id.slot()).filter(|conn| conn.generation == id.generation())
    }

    /// Gives a new connection a slot.
    pub(crate) fn insert(
        &mut self,
        socket: Option<Socket>,
        peer: SocketAddr,
        origin: Origin,
    ) -> ConnectionId {
        let generation = self.generation;
        self.generation = generation.next();
        let watched = self.watches_silence;
        let state = match origin {
            Origin::Inbound => State::Open,
            Origin::Outbound { .. } => State::Connecting { then: Then::Open },
        };
        let slot = self.conns.insert(Conn {
            generation,
            state,
            duty: Duty::default(),
            socket,
            peer,
            codec: self.protocol.codec(),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            handlers: Handlers::default(),
            last_input: if watched { self.clock.fresh() } else { Tick::START },
            state_until: None,
            armed: None,
            cold: None,
            origin,
        });
        let id = ConnectionId::new(slot, generation);
        if origin == Origin::Inbound && self.config.max_connections_per_address.is_some() {
            *self.by_address.entry(peer.ip()).or_default() += 1;
        }
        self.shared.notice.set_connections(self.conns.len());
        id
    }

    /// Frees a slot, once `on_closed` has run.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        let conn = self.conns.remove(id.slot());
        if let Some((_, timer)) = conn.armed {
            self.timers.cancel(timer);
        }
        if conn.origin == Origin::Inbound
            && let Some(count) = self.by_address.get_mut(&conn.peer.ip())
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&conn.peer.ip());
            }
        }
        self.stats.queued_bytes -= conn.queued();
        self.stats.closed += 1;
        self.shared.notice.set_connections(self.conns.len());
        self.shed_connection(id, conn);
    }

    /// Takes back a slot whose connection `on_accept` never saw.
    pub(crate) fn remove_unborn(&mut self, id: ConnectionId) {
        self.remove(id);
        self.stats.closed -= 1;
    }

    // The life of a connection.

    /// Takes an event through the state machine, and sees to what follows from it.
    #[inline(never)]
    pub(crate) fn transition(&mut self, id: ConnectionId, event: Event) {
        if matches!(event, Event::Close(_) | Event::Finish | Event::PeerEnd { half_open: false }) {
            self.gather(id);
        }
        if P::Codec::SPEAKS
            && let Event::Close(reason) = event
        {
            self.say_farewell(id, reason);
        }
        self.advance(id, event);
    }

    /// The same, with all that was to be queued before it queued.
    fn advance(&mut self, id: ConnectionId, event: Event) {
        let Some(conn) = self.get_mut(id) else { return };
        // Nothing waits to be sent, so there is nothing to connect for.
        let event = match event {
            Event::Close(reason) if conn.state.is_connecting() && conn.outbound.is_empty() => {
                Event::Abort { reason, reset: false }
            }
            event => event,
        };
        let (next, effect) = conn.state.on(event);
        let changed = next != conn.state;
        conn.state = next;
        if changed && next.is_closing() {
            // Nothing will be decoded any more, and no pause may keep the end from being seen.
            conn.inbound.clear();
            conn.inbound.resume();
            conn.inbound.unchoke();
        }
        if changed {
            self.narrow(id);
        }
        match effect {
            Effect::Nothing => {}
            Effect::Flush => self.enqueue_dirty(id),
            Effect::EndStream => self.end_stream(id),
            Effect::EndStreamAndLinger => {
                self.end_stream(id);
                let until = self.clock.fresh() + self.config.linger;
                if let Some(conn) = self.get_mut(id) {
                    conn.state_until = Some(until);
                }
                self.arm(id);
            }
            Effect::Release => self.release(id),
        }
        if changed && next.input() == Input::Discard {
            if self.get(id).is_some_and(|conn| conn.inbound.has_ended()) {
                // The peer's end came before the close: there is nothing to wait for.
                self.transition(id, Event::PeerEnd { half_open: false });
            } else {
                self.enqueue_ready(id);
            }
        }
    }

    fn end_stream(&mut self, id: ConnectionId) {
        if let Some(socket) = self.get_mut(id).and_then(|conn| conn.socket.as_mut()) {
            // It fails where the connection is gone already; reading tells that, with the reason.
            drop(socket.end());
        }
    }

    fn release(&mut self, id: ConnectionId) {
        let Some(conn) = self.conns.get_mut(id.slot()) else { return };
        let before = conn.queued();
        conn.outbound.clear(&mut self.pool);
        conn.write_off_inbox();
        self.stats.queued_bytes -= before;
        self.doomed.push(id);
    }

    /// Closes with nothing lost. Says whether there was something to close.
    pub(crate) fn close(&mut self, id: ConnectionId) -> bool {
        let reason = match self.lifecycle {
            Lifecycle::Running | Lifecycle::Asked { .. } => CloseReason::Local,
            Lifecycle::Stopping(_) | Lifecycle::Stopped => CloseReason::Shutdown,
        };
        self.transition_live(id, Event::Close(reason))
    }

    /// Drops what is queued, and resets.
    pub(crate) fn abort(&mut self, id: ConnectionId) -> bool {
        self.transition_live(id, Event::Abort { reason: CloseReason::Local, reset: true })
    }

    /// Ends this side of the stream once all is sent; packets are still read.
    pub(crate) fn finish(&mut self, id: ConnectionId) -> bool {
        self.transition_live(id, Event::Finish)
    }

    fn transition_live(&mut self, id: ConnectionId, event: Event) -> bool {
        let live = self.get(id).is_some_and(|conn| !conn.state.is_closed());
        if live {
            self.transition(id, event);
        }
        live
    }

    // Output.

    /// Queues a packet.
    #[inline(always)]
    pub(crate) fn write(
        &mut self,
        id: ConnectionId,
        packet: P::Out,
    ) -> Result<(), WriteError<P::Out>> {
        let conn = match self.conns.get_mut(id.slot()) {
            Some(conn) if conn.generation == id.generation() && conn.state.is_writable() => conn,
            _ => return is_closed(packet),
        };
        let before = conn.outbound.queued();
        let was_blocked = conn.codec.is_blocked();
        let written =
            conn.outbound.write(packet, &mut conn.codec, &self.config.outbox, &mut self.pool);
        self.stats.queued_bytes = self.stats.queued_bytes + conn.outbound.queued() - before;
        if let Err(error) = written {
            return Err(self.write_failed(error));
        }
        self.stats.packets_out += 1;
        let unblocked = was_blocked && !conn.codec.is_blocked();
        if P::Codec::SPEAKS && unblocked {
            // The answer that was waited for: what the protocol says by itself from now on may make no sense before it.
            conn.outbound.pin();
        }
        // What the connection being served writes to itself is flushed right after its batch.
        if !conn.duty.serving {
            self.list_written(id, unblocked);
        }
        if self.config.max_queued_bytes.is_some() {
            self.keep_within_memory();
        }
        Ok(())
    }

    /// Lists a connection that somebody else than its own handler wrote to.
    #[inline(never)]
    fn list_written(&mut self, id: ConnectionId, unblocked: bool) {
        self.enqueue_dirty(id);
        if unblocked {
            self.enqueue_ready(id);
        }
    }

    #[cold]
    fn write_failed(&mut self, error: WriteError<P::Out>) -> WriteError<P::Out> {
        match error {
            WriteError::Full(_) => self.stats.packets_refused += 1,
            WriteError::Encode(_) => self.stats.caller_errors += 1,
            WriteError::Closed(_) | WriteError::WouldDeadlock(_) => {}
        }
        error
    }

    /// Where all queues together hold more than they may, the connection that holds most goes, and the next. Nobody goes
    /// for what the dead hold: that is not counted any more.
    #[inline(never)]
    pub(crate) fn keep_within_memory(&mut self) {
        let Some(limit) = self.config.max_queued_bytes else { return };
        while self.stats.queued_bytes > limit {
            let largest = self
                .conns
                .iter()
                .filter(|(_, conn)| !conn.state.is_closed())
                .max_by_key(|(_, conn)| conn.queued())
                .map(|(slot, conn)| ConnectionId::new(slot, conn.generation));
            let Some(largest) = largest else { return };
            self.drop_slow_consumer(largest);
            self.clear_inbox(largest);
        }
    }

    /// Ends a connection whose peer reads too slowly. Its handlers hear of it when the loop reaps it.
    pub(crate) fn drop_slow_consumer(&mut self, id: ConnectionId) {
        let Some(conn) = self.get(id).filter(|conn| !conn.state.is_closed()) else { return };
        let queued = conn.queued();
        // One that does not take the last words either has been counted and told.
        if !conn.state.is_dismissed() {
            self.stats.slow_consumers += 1;
            self.leave_error(id, Error::SlowConsumer { queued });
        }
        if self.dismiss(id) {
            return;
        }
        self.transition(id, Event::Abort { reason: CloseReason::SlowConsumer, reset: true });
    }

    // The server.

    /// Asks for a stop; a second one can only shorten the first's grace.
    pub(crate) fn request_stop(&mut self, grace: Duration) {
        match &mut self.lifecycle {
            Lifecycle::Running => self.lifecycle = Lifecycle::Asked { grace },
            Lifecycle::Asked { grace: asked } => *asked = grace.min(*asked),
            Lifecycle::Stopping(stopping) => {
                stopping.deadline = stopping.deadline.min(self.clock.now() + grace);
            }
            Lifecycle::Stopped => {}
        }
    }

    /// All connections that a handler may see, in no particular order.
    pub(crate) fn live_ids(&self) -> Vec<ConnectionId> {
        self.conns
            .iter()
            .filter(|(_, conn)| !conn.state.is_closed())
            .map(|(slot, conn)| ConnectionId::new(slot, conn.generation))
            .collect()
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats { open: self.conns.len(), timers: self.timers.len(), ..self.stats }
    }
}

/// The packet back, from a connection that takes no more.
#[cold]
fn is_closed<Packet>(packet: Packet) -> Result<(), WriteError<Packet>> {
    Err(WriteError::Closed(packet))
}
