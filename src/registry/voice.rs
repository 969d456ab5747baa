//! What a protocol says by itself: replies, last words, questions to the silent. Nothing here concerns a codec that does not
//! speak ([`Decoder::SPEAKS`]).

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::Registry;
use crate::codec::{Decoder, Protocol};
use crate::connection::state::Event;
use crate::error::CloseReason;
use crate::id::ConnectionId;

/// What a protocol said when it was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// There is a reply to send.
    pub(crate) replied: bool,
    /// It has come to its own end, for this reason.
    pub(crate) ending: Option<CloseReason>,
}

impl<P: Protocol, S> Registry<P, S> {
    /// Queues what the protocol has to answer, unless its last answer still waits.
    #[inline]
    pub(crate) fn reply(&mut self, id: ConnectionId) -> Said {
        let waits = self.conns[id.slot()].outbound.has_interjection();
        let said = self.ask(id, |codec| {
            let reply = if waits { None } else { codec.take_reply() };
            (reply, codec.ending())
        });
        let (reply, ending) = said.unwrap_or_default();
        let replied = reply.is_some();
        if let Some(bytes) = reply {
            self.interject(id, bytes);
        }
        Said { replied, ending }
    }

    /// Queues an answer that is the last, behind all others: a decoder that failed says why.
    #[cold]
    pub(crate) fn last_reply(&mut self, id: ConnectionId) {
        if let Some(Some(bytes)) = self.ask(id, Decoder::take_reply) {
            self.append(id, bytes);
        }
    }

    #[cold]
    fn append(&mut self, id: ConnectionId, bytes: Bytes) {
        let Some(conn) = self.conns.get_mut(id.slot()) else { return };
        if !conn.state.is_writable() {
            return;
        }
        let before = conn.outbound.queued();
        conn.outbound.append(bytes, &self.config.outbox, &mut self.pool);
        self.stats.queued_bytes = self.stats.queued_bytes + conn.outbound.queued() - before;
        if !conn.outbound.is_writable() {
            // Nothing will be tried before the socket takes bytes again, and nothing else may wait any more.
            let clock = &self.clock;
            conn.outbound.watch_stuck(|| clock.fresh());
            self.arm(id);
        }
        self.enqueue_dirty(id);
    }

    /// The codec is users' code, and no handler whose panics are caught is running.
    #[inline]
    fn ask<T>(&mut self, id: ConnectionId, ask: impl FnOnce(&mut P::Codec) -> T) -> Option<T> {
        let codec = &mut self.get_mut(id)?.codec;
        match catch_unwind(AssertUnwindSafe(|| ask(codec))) {
            Ok(said) => Some(said),
            Err(panic) => {
                self.panicked(id, &*panic);
                None
            }
        }
    }

    #[cold]
    fn interject(&mut self, id: ConnectionId, bytes: Bytes) {
        let Some(conn) = self.conns.get_mut(id.slot()) else { return };
        if !conn.state.is_writable() {
            return;
        }
        let before = conn.outbound.queued();
        conn.outbound.interject(bytes, &self.config.outbox, &mut self.pool);
        self.stats.queued_bytes = self.stats.queued_bytes + conn.outbound.queued() - before;
        self.enqueue_dirty(id);
    }

    /// Queues the protocol's last words. A peer that will not read what waits is spared it.
    #[cold]
    pub(super) fn say_farewell(&mut self, id: ConnectionId, reason: CloseReason) -> bool {
        let Some(conn) = self.get_mut(id) else { return false };
        if !conn.state.is_writable() || conn.state.is_connecting() {
            return false;
        }
        let is_pinned = conn.outbound.is_pinned();
        if is_pinned && reason == CloseReason::SlowConsumer {
            return false; // no words without the answer that they follow, and that is not read
        }
        let Some(Some(bytes)) = self.ask(id, |codec| codec.farewell(reason)) else { return false };
        if !is_pinned && matches!(reason, CloseReason::Peer | CloseReason::SlowConsumer) {
            let conn = &mut self.conns[id.slot()];
            let before = conn.outbound.queued();
            conn.outbound.shed_unbegun(&self.config.outbox, &mut self.pool);
            self.stats.queued_bytes = self.stats.queued_bytes + conn.outbound.queued() - before;
        }
        self.append(id, bytes);
        true
    }

    /// The same, for a connection that is not to wait for them.
    #[cold]
    pub(crate) fn take_leave(&mut self, id: ConnectionId, reason: CloseReason) {
        if P::Codec::SPEAKS {
            self.say_farewell(id, reason);
        }
    }

    /// Asks a silent peer for a sign of life.
    #[cold]
    pub(crate) fn probe(&mut self, id: ConnectionId) {
        let Some(conn) = self.get_mut(id) else { return };
        conn.duty.probed = true;
        if !conn.outbound.has_interjection()
            && let Some(Some(bytes)) = self.ask(id, Decoder::probe)
        {
            self.interject(id, bytes);
        }
    }

    /// Takes leave of a peer that reads too slowly, where the protocol has words for it. It has as long to take them as any
    /// output. Says whether that is how it goes.
    pub(super) fn dismiss(&mut self, id: ConnectionId) -> bool {
        if !P::Codec::SPEAKS || !self.say_farewell(id, CloseReason::SlowConsumer) {
            return false;
        }
        let patience = self.config.write_timeout.unwrap_or(self.config.linger);
        let until = self.clock.fresh() + patience;
        self.advance(id, Event::Close(CloseReason::SlowConsumer));
        if let Some(conn) = self.get_mut(id) {
            conn.state_until = Some(until);
        }
        self.arm(id);
        true
    }
}
