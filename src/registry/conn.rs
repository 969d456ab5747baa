//! One slot of the slab: a connection with all that hangs on it.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{BufferPool, ReadBuffer};
use crate::clock::{Clock, Tick};
use crate::codec::{Decoder, Protocol};
use crate::config::Marks;
use crate::connection::inbound::Inbound;
use crate::connection::outbound::{Flushed, Outbound};
use crate::connection::state::{Input, State};
use crate::error::{CloseReason, Error};
use crate::handle::Link;
use crate::handlers::{Handlers, OnRead};
use crate::id::{ConnectionId, Generation, TimerId};
use crate::io::Readiness;
use crate::io::stream::Socket;
use crate::stats::Stats;

/// One connection: the slot's contents.
pub(crate) struct Conn<P: Protocol, S> {
    pub(crate) generation: Generation,
    pub(crate) state: State,
    pub(crate) duty: Duty,
    pub(crate) socket: Option<Socket>,
    pub(crate) peer: SocketAddr,
    pub(crate) codec: P::Codec,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    pub(crate) handlers: Handlers<P, S>,
    /// When input last came; kept only where there is an idle limit.
    pub(crate) last_input: Tick,
    /// When the present state has lasted long enough: a connect, a linger.
    pub(crate) state_until: Option<Tick>,
    /// When the connection's one deadline entry in the timer queue fires.
    pub(crate) armed: Option<(Tick, TimerId)>,
    pub(super) cold: Option<Box<Cold<P>>>,
    pub(crate) origin: Origin,
}

/// Which of the loop's lists a connection stands in, and what the loop is doing with it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Duty {
    pub(crate) ready: bool,
    pub(crate) dirty: bool,
    /// Its packets are being handled; its own answers are flushed right after, so they need no place in a list.
    pub(crate) serving: bool,
    /// A sign of life has been asked for in the present silence.
    pub(crate) probed: bool,
    /// It was found late, and its socket is asked once more before that counts.
    pub(crate) doubted: bool,
    /// `set_handlers` was called while one of the handlers it replaced was running.
    pub(crate) replaced: bool,
}

impl Duty {
    /// Whether the connection is to be put in the list of those with input, where it stands at most once; marks that it is.
    #[inline]
    pub(crate) fn may_list_ready(&mut self) -> bool {
        !self.serving && !std::mem::replace(&mut self.ready, true)
    }

    /// The same for the list of those with output.
    #[inline]
    pub(crate) fn may_list_dirty(&mut self) -> bool {
        !self.serving && !std::mem::replace(&mut self.dirty, true)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Inbound,
    Outbound { limit: Duration },
}

/// What most connections never need.
pub(crate) struct Cold<P: Protocol> {
    pub(crate) user_data: Option<Box<dyn Any>>,
    pub(super) errors: VecDeque<Error>,
    pub(super) inbox: VecDeque<(P::In, usize)>,
    pub(super) inbox_cost: usize,
    pub(crate) timers: Vec<TimerId>,
    pub(crate) link: Option<Arc<Link<P>>>,
    /// A packet of the link's that did not fit yet.
    pub(crate) stalled: Option<P::Out>,
}

impl<P: Protocol> Default for Cold<P> {
    fn default() -> Self {
        Self {
            user_data: None,
            errors: VecDeque::new(),
            inbox: VecDeque::new(),
            inbox_cost: 0,
            timers: Vec::new(),
            link: None,
            stalled: None,
        }
    }
}

impl<P: Protocol, S> Conn<P, S> {
    pub(crate) fn cold(&mut self) -> &mut Cold<P> {
        self.cold.get_or_insert_with(Box::default)
    }

    pub(crate) fn cold_ref(&self) -> Option<&Cold<P>> {
        self.cold.as_deref()
    }

    pub(crate) fn cold_mut(&mut self) -> Option<&mut Cold<P>> {
        self.cold.as_deref_mut()
    }

    pub(crate) fn link(&self) -> Option<&Arc<Link<P>>> {
        self.cold.as_ref().and_then(|cold| cold.link.as_ref())
    }

    /// The common case: nothing at all stands between the next packet and `on_read`. Where it is false, there may be.
    #[inline(always)]
    pub(crate) fn is_unhindered(&self) -> bool {
        self.takes_next() && self.handlers.on_read.is_some()
    }

    /// The same, for somebody who has taken `on_read` out: it is still the one to be called.
    #[inline(always)]
    pub(crate) fn stays_unhindered(&self) -> bool {
        self.takes_next() && !self.duty.replaced
    }

    #[inline(always)]
    fn takes_next(&self) -> bool {
        self.is_plain()
            && !self.inbound.is_stopped()
            && !self.outbound.is_high()
            && !self.codec.is_blocked()
    }

    /// Whether it is unhindered, and has nothing to see to but the bytes that this news is of.
    #[inline(always)]
    pub(crate) fn is_warm(&self, news: Readiness) -> bool {
        let is_warm = news.readable
            && !news.ending
            && self.is_plain()
            && self.inbound.is_fresh()
            && self.outbound.is_empty()
            && !self.duty.ready
            && !self.codec.is_blocked()
            && self.handlers.on_read.is_some();
        debug_assert!(!is_warm || self.is_unhindered(), "an empty outbox is not over its mark");
        is_warm
    }

    /// Whether it is open, nothing waits for its outbox to be sent or to have room, and nothing waits to be taken from it.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.state, State::Open)
            && match &self.cold {
                None => true,
                Some(cold) => {
                    cold.link.is_none() && cold.inbox.is_empty() && cold.errors.is_empty()
                }
            }
    }

    /// Whether the next packet has somewhere to go.
    #[inline]
    pub(crate) fn takes_packets(&self, inbox_limit: usize) -> bool {
        if self.inbound.is_stopped() {
            return false;
        }
        if self.codec.is_blocked() {
            // One that waits in the inbox may be the very one that the decoder has to have an answer to.
            return self.handlers.on_read.is_some() && self.has_shelved();
        }
        if self.handlers.on_read.is_some() {
            return true;
        }
        match &self.cold {
            None => true,
            Some(cold) => match &cold.link {
                Some(link) => !link.incoming.is_full(),
                None => cold.inbox.len() < inbox_limit,
            },
        }
    }

    /// Notes what the poll told, and lists the connection as `dirty` where output can go on. Says whether there is input to
    /// see to now, rather than when its turn on the list comes.
    #[inline(always)]
    pub(crate) fn note_news(&mut self, news: Readiness, dirty: &mut Vec<ConnectionId>) -> bool {
        if news.readable {
            self.inbound.note_readable();
        }
        if news.ending {
            self.inbound.note_ending();
        }
        if news.writable {
            self.outbound.note_writable();
        }
        let waits_to_write = news.writable && !self.outbound.is_empty();
        let is_decided = self.state.is_connecting() && (news.writable || news.ending);
        if (waits_to_write || is_decided) && self.duty.may_list_dirty() {
            dirty.extend(ConnectionId::from_token(news.token));
        }
        let has_input = match self.state.input() {
            Input::Ignore => news.ending && self.state == State::PeerEnded,
            Input::Decode | Input::Discard => news.readable || news.ending,
        };
        has_input && !self.duty.ready
    }

    /// Whether its peer could break its silence: before it is made and once it closes, nobody counts it.
    pub(crate) fn may_be_idle(&self) -> bool {
        !self.state.is_closing() && !self.state.is_connecting()
    }

    /// Whether its silence is to be broken by a question, once in each silence.
    pub(crate) fn may_be_probed(&self) -> bool {
        !self.duty.probed && self.state.is_writable() && !self.state.is_connecting()
    }

    /// Whether there is input to see to without another event.
    #[inline(always)]
    pub(crate) fn has_work(&self) -> bool {
        (self.inbound.has_work() || self.cold.is_some()) && self.has_work_here()
    }

    /// The rest of the question, for the few that are not plainly idle.
    #[inline(never)]
    fn has_work_here(&self) -> bool {
        let can_deliver = self.handlers.on_read.is_some() && self.has_shelved();
        match self.state.input() {
            Input::Ignore => can_deliver && self.state.delivers(),
            Input::Discard => self.inbound.may_read(),
            Input::Decode => can_deliver || self.inbound.has_work(),
        }
    }

    /// Whether packets wait in the inbox.
    #[inline]
    pub(crate) fn has_shelved(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| match &cold.link {
            Some(link) => !link.incoming.is_empty(),
            None => !cold.inbox.is_empty(),
        })
    }

    /// Reads once, at most `limit` bytes, and returns how many came.
    ///
    /// # Errors
    ///
    /// Those of the socket; would-block, where there is none yet.
    #[inline]
    pub(crate) fn fill(&mut self, input: &mut ReadBuffer, limit: usize) -> io::Result<usize> {
        let Some(socket) = self.socket.as_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let filled = input.fill(self.inbound.held_mut(), limit, |free| socket.read(free))?;
        self.inbound.note_filled(filled);
        Ok(filled.got)
    }

    /// Input came, where somebody wants to know. Says whether it answers a question to a silent peer: then there may be no
    /// entry in the timer queue that would find its next silence.
    #[inline]
    pub(crate) fn note_input(&mut self, clock: &Clock) -> bool {
        self.last_input = clock.fresh(); // the turn may be long
        P::Codec::SPEAKS && std::mem::take(&mut self.duty.probed)
    }

    /// Sends what waits in one write, where there is something.
    ///
    /// # Errors
    ///
    /// What the socket said, where there is more to be done about it than that all has gone.
    #[inline(always)]
    pub(crate) fn send(
        &mut self,
        pool: &mut BufferPool,
        stats: &mut Stats,
    ) -> Result<(), io::Result<usize>> {
        let (Some(buffer), Some(socket)) = (self.outbound.to_send(), self.socket.as_mut()) else {
            return Ok(());
        };
        let sent = socket.write_from(buffer);
        if let Ok(taken) = sent {
            let queued = self.outbound.queued();
            if self.outbound.note_sent(taken, pool) {
                stats.queued_bytes -= queued;
                stats.bytes_out += taken as u64;
                return Ok(());
            }
        }
        Err(sent)
    }

    /// Goes on after [`send`](Self::send), as long as the socket takes anything.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(crate) fn send_on(
        &mut self,
        first: io::Result<usize>,
        marks: &Marks,
        pool: &mut BufferPool,
        stats: &mut Stats,
    ) -> io::Result<Flushed> {
        let before = self.outbound.queued();
        let socket = &mut self.socket;
        let flushed = self.outbound.flush(first, marks, pool, |buffer| match socket {
            Some(socket) => socket.write_from(buffer),
            None => Err(io::ErrorKind::NotConnected.into()),
        });
        stats.queued_bytes -= before - self.outbound.queued();
        if let Ok(flushed) = &flushed {
            stats.bytes_out += flushed.written as u64;
        }
        flushed
    }

    /// Takes `on_read` out for the time of a call.
    #[inline]
    pub(crate) fn take_on_read(&mut self) -> Option<OnRead<P, S>> {
        self.duty.replaced = false;
        self.handlers.on_read.take()
    }

    /// Bytes held in its queues, with their overhead.
    pub(super) fn queued(&self) -> usize {
        self.outbound.queued() + self.cold.as_ref().map_or(0, |cold| cold.inbox_cost)
    }

    /// Its packets wait for nobody but `on_closed`, and go with the connection at the end of the turn: they count no more.
    pub(super) fn write_off_inbox(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.inbox_cost = 0;
            cold.inbox.iter_mut().for_each(|(_, cost)| *cost = 0);
        }
    }

    pub(crate) fn close_reason(&self) -> Option<(CloseReason, bool)> {
        match self.state {
            State::Closed { reason, reset } => Some((reason, reset)),
            _ => None,
        }
    }
}
