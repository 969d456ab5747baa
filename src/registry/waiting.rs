//! What waits with a connection for somebody to take it: packets without an `on_read`, errors without an `on_error`.

use std::sync::Arc;

use super::{Conn, Registry};
use crate::codec::{Decoder, Protocol};
use crate::error::Error;
use crate::handle::Link;
use crate::id::ConnectionId;

/// What a packet in an inbox costs beside its bytes, for the accounting of limits.
const INBOX_OVERHEAD: usize = 64;

impl<P: Protocol, S> Registry<P, S> {
    /// Counts an error and leaves it in the connection's queue.
    pub(crate) fn leave_error(&mut self, id: ConnectionId, error: Error) {
        self.stats.count(error.blame());
        self.queue_error(id, error);
    }

    pub(crate) fn queue_error(&mut self, id: ConnectionId, error: Error) {
        let limit = self.config.errors;
        let Some(conn) = self.get_mut(id) else { return };
        let cold = conn.cold();
        let pushed = match &cold.link {
            Some(link) => link.errors.push_evicting(error),
            None => {
                let is_full = cold.errors.len() >= limit;
                let evicted = if is_full { cold.errors.pop_front() } else { None };
                cold.errors.push_back(error);
                Ok(evicted)
            }
        };
        self.stats.errors_dropped += u64::from(matches!(pushed, Ok(Some(_))));
        if !matches!(pushed, Ok(None)) {
            self.shed(id, pushed);
        }
    }

    pub(crate) fn take_error(&mut self, id: ConnectionId) -> Option<Error> {
        let cold = self.get_mut(id)?.cold_mut()?;
        match &cold.link {
            Some(link) => link.errors.try_pop().ok().map(|popped| popped.item),
            None => cold.errors.pop_front(),
        }
    }

    // The inbox.

    /// Puts a packet where nobody listens.
    #[inline(never)]
    pub(crate) fn shelve(&mut self, id: ConnectionId, packet: P::In, size: usize) {
        let Some(conn) = self.get_mut(id) else { return };
        let cold = conn.cold();
        let packet = <P::Codec as Decoder>::detach(packet);
        if let Some(link) = &cold.link {
            // Its room was looked at before the packet was decoded, and only the loop pushes.
            let refused = link.incoming.try_push(packet).is_err();
            self.stats.packets_dropped += u64::from(refused);
            return;
        }
        let cost = size + INBOX_OVERHEAD;
        cold.inbox.push_back((packet, cost));
        cold.inbox_cost += cost;
        self.stats.queued_bytes += cost;
        self.keep_within_memory();
    }

    /// Takes the oldest packet that waits; the peer is read again where the inbox was full.
    pub(crate) fn unshelve(&mut self, id: ConnectionId) -> Option<P::In> {
        let conn = self.get_mut(id)?;
        let cold = conn.cold_mut()?;
        let packet = match &cold.link {
            Some(link) => link.incoming.try_pop().ok()?.item,
            None => {
                let (packet, cost) = cold.inbox.pop_front()?;
                cold.inbox_cost -= cost;
                self.stats.queued_bytes -= cost;
                packet
            }
        };
        self.enqueue_ready(id);
        Some(packet)
    }

    pub(crate) fn clear_inbox(&mut self, id: ConnectionId) {
        let Some(cold) = self.get_mut(id).and_then(Conn::cold_mut) else { return };
        let dropped = std::mem::take(&mut cold.inbox);
        self.stats.queued_bytes -= std::mem::take(&mut cold.inbox_cost);
        self.stats.packets_dropped += dropped.len() as u64;
        self.shed_each(id, dropped);
    }

    /// The connection's view from other threads, made when first asked for. What waits moves over to it.
    pub(crate) fn link(&mut self, id: ConnectionId) -> Option<Arc<Link<P>>> {
        let notice = Arc::clone(&self.shared.notice);
        let config = (self.config.inbox, self.config.handle_writes, self.config.errors);
        let conn = self.get_mut(id)?;
        if let Some(link) = conn.link() {
            return Some(Arc::clone(link));
        }
        let local = conn.socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let closed = conn.state.is_closed();
        let link = Arc::new(Link::new(id, conn.peer, local, notice, config));
        let cold = conn.cold();
        for (packet, _) in cold.inbox.drain(..) {
            drop(link.incoming.try_push(packet));
        }
        for error in cold.errors.drain(..) {
            drop(link.errors.push_evicting(error));
        }
        let cost = std::mem::take(&mut cold.inbox_cost);
        cold.link = Some(Arc::clone(&link));
        if closed {
            link.end();
        }
        self.stats.queued_bytes -= cost;
        self.narrow(id);
        Some(link)
    }
}
