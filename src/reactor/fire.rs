//! Timers and deadlines whose time has come.

use std::time::Duration;

use super::Reactor;
use crate::clock::Tick;
use crate::codec::{Decoder, Protocol};
use crate::config::TIMERS_PER_TURN;
use crate::connection::state::{Event, State};
use crate::error::{CloseReason, Error, Late};
use crate::id::{ConnectionId, TimerId};
use crate::logging::note;
use crate::registry::{EachFor, OnceFor, Origin, Repeat, Task};
use crate::timers::Due;

/// How soon it is looked at again, where others are served first.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: fires what is due, as much as one turn may. Timers that are set by what fires wait for the next turn.
    #[inline(never)]
    pub(super) fn fire_timers(&mut self) {
        let now = self.registry.clock.now();
        let batch = self.registry.timers.batch();
        for _ in 0..TIMERS_PER_TURN {
            let Some(due) = self.registry.timers.pop_due(now, batch) else { return };
            self.fire(due, now);
        }
    }

    fn fire(&mut self, due: Due<Task<P, S>>, now: Tick) {
        let Due { id: timer, at, task } = due;
        match task {
            Task::Connection(id, repeat) => self.fire_connection(timer, at, now, id, repeat),
            Task::Server(Repeat::Once(then)) => {
                self.registry.timers.finish(timer);
                self.call_server("a timer", then);
            }
            Task::Server(Repeat::Every(period, mut each)) => {
                if self.call_server("a timer", &mut each) {
                    let task = Task::Server(Repeat::Every(period, each));
                    let next = next_on_grid(at, period, now);
                    if let Some(cancelled) = self.registry.timers.rearm(timer, next, task) {
                        self.registry.shed_alone("a timer", cancelled);
                    }
                } else {
                    self.registry.timers.finish(timer);
                    self.registry.shed_alone("a timer", each);
                }
            }
            Task::Deadline(id) => {
                self.registry.timers.finish(timer);
                self.check_deadlines(id, now);
            }
            Task::AcceptAgain => {
                self.registry.timers.finish(timer);
                self.rested_in_vain = self.rest.take() == Some(self.registry.stats.accepted);
                self.acceptor.end_rest();
            }
            Task::StopDeadline => self.registry.timers.finish(timer),
        }
    }

    fn fire_connection(
        &mut self,
        timer: TimerId,
        at: Tick,
        now: Tick,
        id: ConnectionId,
        repeat: Repeat<OnceFor<P, S>, EachFor<P, S>>,
    ) {
        // Cancelled with its connection, but for the time between its end and its reaping.
        if self.registry.get(id).is_none_or(|conn| conn.state.is_closed()) {
            self.registry.timers.finish(timer);
            self.registry.shed(id, repeat);
            return;
        }
        match repeat {
            Repeat::Once(then) => {
                self.registry.timers.finish(timer);
                self.registry.forget_timer(id, timer);
                self.call_timer(id, then);
            }
            Repeat::Every(period, mut each) => {
                if self.call_timer(id, &mut each) {
                    let task = Task::Connection(id, Repeat::Every(period, each));
                    let next = next_on_grid(at, period, now);
                    if let Some(cancelled) = self.registry.timers.rearm(timer, next, task) {
                        self.registry.shed(id, cancelled);
                    }
                } else {
                    self.registry.timers.finish(timer);
                    self.registry.shed(id, each);
                }
            }
        }
    }

    /// What came in time is not late because the loop was, in a long handler or stopped as a process: the socket is asked
    /// once more, now that the deadline is over, and then the connection is looked at again. `false` where that is done.
    fn doubt(&mut self, id: ConnectionId, now: Tick, unheard: bool) -> bool {
        let registry = &mut self.registry;
        let conn = &mut registry.conns[id.slot()];
        let waits = unheard && conn.duty.ready;
        if conn.duty.doubted && !waits {
            conn.duty.doubted = false;
            return false;
        }
        conn.duty.doubted = true;
        // At once, unless others are to be served before it.
        let at = if waits { now + LOOK_AGAIN } else { now };
        conn.armed = Some((at, registry.timers.insert(at, Task::Deadline(id))));
        if unheard {
            conn.inbound.note_readable();
            registry.enqueue_ready(id);
        } else {
            conn.outbound.note_writable();
            registry.enqueue_dirty(id);
        }
        true
    }

    /// A connection's deadline entry has fired: what is late ends it, what has moved is looked at again in time.
    fn check_deadlines(&mut self, id: ConnectionId, now: Tick) {
        let Some(conn) = self.registry.get_mut(id) else { return };
        conn.armed = None;
        let config = &self.registry.config;
        let conn = &self.registry.conns[id.slot()];
        let over = |since: Option<Tick>, limit: Option<Duration>| {
            since.zip(limit).filter(|(since, limit)| *since + *limit <= now).map(|(_, limit)| limit)
        };
        let state_over = conn.state_until.is_some_and(|until| until <= now);
        let packet = over(conn.inbound.unfinished_since(), config.packet_timeout);
        let output = over(conn.outbound.stuck_since(), config.write_timeout);
        let idle = over(conn.may_be_idle().then_some(conn.last_input), config.idle_timeout);
        let probe = P::Codec::SPEAKS
            && conn.may_be_probed()
            && over(Some(conn.last_input), config.probe_after).is_some();

        let unsent = output.is_some() || (state_over && conn.state.is_connecting());
        let unheard = packet.is_some() || idle.is_some() || probe;
        if unsent || unheard {
            if self.doubt(id, now, !unsent) {
                return;
            }
        } else if let Some(conn) = self.registry.get_mut(id) {
            conn.duty.doubted = false;
        }
        let conn = &self.registry.conns[id.slot()];
        // Who does not take the last words has been told already that it is too slow.
        let state_over = state_over || (output.is_some() && conn.state.is_dismissed());
        match (state_over, conn.state, conn.origin) {
            (true, State::Connecting { .. }, Origin::Outbound { limit }) => {
                self.fail(id, Error::Late(Late::Connect(limit)));
            }
            (true, State::Lingering { .. }, _) => self.registry.transition(id, Event::LingerOver),
            (true, State::Flushing { reason, .. }, _) => {
                self.registry.transition(id, Event::Abort { reason, reset: true });
            }
            _ => {
                if let Some(limit) = output {
                    self.fail(id, Error::Late(Late::Output(limit)));
                } else if let Some(limit) = packet {
                    self.fail(id, Error::Late(Late::Packet(limit)));
                } else if let Some(limit) = idle {
                    let peer = conn.peer;
                    note!(self.registry.logger, Info, "{id} from {peer}: idle for {limit:?}");
                    self.registry.transition(id, Event::Close(CloseReason::Idle));
                } else if probe {
                    self.registry.probe(id);
                }
            }
        }
        if self.registry.get(id).is_some_and(|conn| !conn.state.is_closed()) {
            self.registry.arm(id);
        }
    }
}

/// The next moment on the grid of a periodic timer that is not in the past: lateness does not add up, and what was missed
/// is left out.
fn next_on_grid(at: Tick, period: Duration, now: Tick) -> Tick {
    let next = at + period;
    if next > now {
        return next;
    }
    let behind = now.since(next).as_nanos();
    let missed = behind / period.as_nanos().max(1) + 1;
    next + period.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_keeps_to_its_grid_and_leaves_out_what_it_missed() {
        let ms = Duration::from_millis;
        let start = Tick::START;
        let due = start + ms(10);
        assert_eq!(next_on_grid(due, ms(10), start + ms(10)), start + ms(20));
        assert_eq!(next_on_grid(due, ms(10), start + ms(14)), start + ms(20), "late, no drift");
        assert_eq!(next_on_grid(due, ms(10), start + ms(20)), start + ms(30), "one missed");
        assert_eq!(next_on_grid(due, ms(10), start + ms(57)), start + ms(60), "four missed");
    }
}
