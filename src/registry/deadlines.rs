//! Deadlines of connections, and timers: what goes into the timer queue, and what comes out when its owner has gone.

use std::time::Duration;

use super::{Conn, EachFor, OnceFor, Registry, Repeat, Task};
use crate::clock::Tick;
use crate::codec::{Decoder, Protocol};
use crate::id::{ConnectionId, TimerId};

impl<P: Protocol, S> Registry<P, S> {
    /// The next moment at which something about this connection is late.
    fn next_deadline(&self, conn: &Conn<P, S>) -> Option<Tick> {
        let unfinished = conn.inbound.unfinished_since().zip(self.config.packet_timeout);
        let stuck = conn.outbound.stuck_since().zip(self.config.write_timeout);
        let idle = self.config.idle_timeout.filter(|_| conn.may_be_idle());
        let probe = self.config.probe_after.filter(|_| P::Codec::SPEAKS && conn.may_be_probed());
        [
            conn.state_until,
            unfinished.map(|(since, limit)| since + limit),
            stuck.map(|(since, limit)| since + limit),
            idle.map(|limit| conn.last_input + limit),
            probe.map(|silence| conn.last_input + silence),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sees to it that the timer queue looks at this connection in time. One entry serves all its deadlines; one that has
    /// moved away is found out when the entry fires, so a busy connection moves its deadlines for nothing.
    #[inline(never)]
    pub(crate) fn arm(&mut self, id: ConnectionId) {
        let Some(conn) = self.get(id) else { return };
        let Some(at) = self.next_deadline(conn) else { return };
        let armed = conn.armed;
        if armed.is_none_or(|(earlier, _)| at < earlier) {
            if let Some((_, later)) = armed {
                self.timers.cancel(later);
            }
            let timer = self.timers.insert(at, Task::Deadline(id));
            if let Some(conn) = self.get_mut(id) {
                conn.armed = Some((at, timer));
            }
        }
    }

    pub(crate) fn add_timer(&mut self, after: Duration, task: Task<P, S>) -> TimerId {
        let at = self.clock.fresh() + after;
        self.timers.insert(at, task)
    }

    /// A timer that dies with its connection.
    pub(crate) fn add_connection_timer(
        &mut self,
        id: ConnectionId,
        after: Duration,
        repeat: Repeat<OnceFor<P, S>, EachFor<P, S>>,
    ) -> TimerId {
        let timer = self.add_timer(after, Task::Connection(id, repeat));
        let live = &self.timers;
        if let Some(conn) = self.conns.get_mut(id.slot()) {
            let timers = &mut conn.cold().timers;
            if timers.len() == timers.capacity() {
                // Those cancelled through the server are struck off before the list grows.
                timers.retain(|each| live.contains(*each));
            }
            timers.push(timer);
        }
        timer
    }

    /// Forgets a connection's timer that has fired for the last time.
    pub(crate) fn forget_timer(&mut self, id: ConnectionId, timer: TimerId) {
        if let Some(cold) = self.get_mut(id).and_then(Conn::cold_mut) {
            cold.timers.retain(|each| *each != timer);
        }
    }
}
