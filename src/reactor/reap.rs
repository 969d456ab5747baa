//! The end of a connection: its last errors, `on_closed`, and the slot's return.

use super::Reactor;
use crate::codec::Protocol;
use crate::id::ConnectionId;
use crate::logging::note;
use crate::registry::{Conn, Lifecycle};

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: reaps what has closed, and what closes because of that.
    ///
    /// It ends: each pass frees the slots of its list, and nothing gets a slot in this phase but a `connect`, which stands
    /// on another list until the next turn.
    #[inline(never)]
    pub(super) fn reap(&mut self) {
        while let Some(id) = self.registry.doomed.pop() {
            self.bury(id);
        }
        // Room, and a descriptor: the backlog is worth another look.
        self.acceptor.end_rest();
    }

    fn bury(&mut self, id: ConnectionId) {
        let Some((reason, reset)) = self.registry.get(id).and_then(Conn::close_reason) else {
            return;
        };
        // Errors that came up while another handler ran have not been told yet.
        self.tell_errors(id);
        if let Some(conn) = self.registry.get_mut(id)
            && reset
            && let Some(socket) = conn.socket.as_mut()
        {
            socket.reset();
        }
        self.call_closed(id, reason);
        self.let_go(id);
        let Some(conn) = self.registry.get(id) else { return };
        note!(self.registry.logger, Debug, "{id} from {} closed: {reason}", conn.peer);
        if let Lifecycle::Stopping(stopping) = &mut self.registry.lifecycle {
            if reason == crate::error::CloseReason::Forced {
                stopping.forced += 1;
            } else {
                stopping.closed += 1;
            }
        }
        self.registry.remove(id);
    }

    /// Ends what hangs on a connection: its timers, its handles' channels, what nobody read.
    fn let_go(&mut self, id: ConnectionId) {
        let Some(cold) = self.registry.get_mut(id).and_then(|conn| conn.cold_mut()) else { return };
        let timers = std::mem::take(&mut cold.timers);
        let (stalled, link) = (cold.stalled.take(), cold.link.clone());
        self.drop_unsent(id, stalled);
        if let Some(link) = link {
            link.end();
            while let Ok(unsent) = link.outgoing.try_pop() {
                self.drop_unsent(id, Some(unsent.item));
            }
        }
        self.registry.clear_inbox(id);
        for timer in timers {
            self.registry.guard(id, |registry| registry.timers.cancel(timer));
        }
    }

    fn drop_unsent(&mut self, id: ConnectionId, packet: Option<P::Out>) {
        self.registry.stats.packets_dropped += u64::from(packet.is_some());
        self.registry.shed(id, packet);
    }
}
