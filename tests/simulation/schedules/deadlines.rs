//! No timer is lost: a loop that is idle sleeps no longer than until the first thing that is due.
//!
//! The simulated clock stands still in a turn, so the moments are exact; only what has to be seen from outside (when input
//! last came, since when output is stuck) is known as "not after", which is what is held against the sleep.

use std::time::Duration;

use wheelhouse::ConnectionId;
use wheelhouse::testing::Sleep;

use super::Schedule;

/// Where others are to be served before a deadline counts, it is looked at again so soon.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A connection, as its deadlines see it.
struct Seen {
    id: ConnectionId,
    queued: usize,
    open: bool,
    connecting: bool,
}

impl<const SPEAKS: bool> Schedule<SPEAKS> {
    pub(super) fn check_sleep(&mut self, sleep: Sleep) {
        let limit = match sleep {
            Sleep::None => return,
            Sleep::AtMost(limit) => limit,
            Sleep::Unlimited => Duration::MAX,
        };
        let (world, mut server) = self.sim.reactor().parts();
        let now = server.now();
        let first = world.timers.iter().min_by_key(|(_, timer)| timer.due);
        let first = first.map(|(key, timer)| (*key, timer.due.saturating_duration_since(now)));
        let stopping = server.is_shutting_down();
        let stops_by = now.checked_add(world.grace).filter(|_| stopping);
        self.stops_by = self.stops_by.into_iter().chain(stops_by).min();
        let mut all = Vec::new();
        server.for_each_connection(|conn| {
            let (id, queued) = (conn.id(), conn.queued());
            all.push(Seen { id, queued, open: conn.is_open(), connecting: conn.is_connecting() });
        });
        self.require(first.is_none_or(|(_, left)| limit <= left), || {
            format!("it sleeps for {sleep:?}, and of timer {first:?} is left")
        });
        if limit <= LOOK_AGAIN {
            return;
        }
        let left = self.stops_by.map(|by| by.saturating_duration_since(now));
        self.require(left.is_none_or(|left| limit <= left), || {
            format!("it sleeps for {sleep:?}, and {left:?} is left of the stop")
        });
        for seen in all {
            if seen.connecting {
                let by = self.sim.state().models[&seen.id].connect_by;
                let left = by.map(|by| by.saturating_duration_since(now));
                self.require(left.is_none_or(|left| limit <= left), || {
                    format!("{}: {sleep:?}, and {left:?} is left for connecting", seen.id)
                });
            } else {
                self.check_deadlines(&seen, limit);
            }
        }
    }

    /// What is late at a moment that can be told from outside.
    fn check_deadlines(&mut self, seen: &Seen, limit: Duration) {
        let Seen { id, queued, open, .. } = *seen;
        let elapsed = self.sim.elapsed();
        let Some(model) = self.sim.state_mut().models.get_mut(&id) else { return };
        let Some(far) = self.fars.iter_mut().find(|far| Some(far.peer.address()) == model.peer)
        else {
            return;
        };
        let since = |waits: bool, since: &mut Option<Duration>| {
            *since = if waits { Some(since.unwrap_or(elapsed)) } else { None };
            *since
        };
        // Whoever is told to go for reading too slowly has as long again to take that.
        if std::mem::replace(&mut model.was_open, open) && !open {
            far.stuck_since = None;
        }
        let stuck = since(queued > 0, &mut far.stuck_since);
        let awaited = since(model.closing && !open && queued == 0, &mut far.awaited_since);
        let silent = far.silent_since.filter(|_| open && far.peer.unread() == 0);
        let takes = !model.paused
            && model.has_on_read
            && !model.asked
            && queued <= self.settings.low
            && model.heard == far.whole();
        let half = takes && !far.is_bad && !far.has_quit() && !far.ended && far.is_in_midst();
        let half =
            silent.max(since(half && silent.is_some(), &mut model.half_since)).filter(|_| half);
        let asked = far.heard.probes > 0 || far.last_ping().is_some() || !far.is_open;
        let settings = &self.settings;
        let deadlines = [
            ("stuck output", stuck, settings.write_timeout),
            ("the peer's end", awaited, Some(settings.linger)),
            ("silence", silent, settings.idle_timeout),
            ("half a packet", half, settings.packet_timeout),
            ("a question", silent.filter(|_| SPEAKS && !asked), settings.probe_after),
        ];
        for (what, since, patience) in deadlines {
            let Some((since, patience)) = since.zip(patience) else { continue };
            let left = (since + patience).saturating_sub(elapsed);
            self.require(limit <= left, || {
                format!("{id}: it sleeps for {limit:?}, and {left:?} is left for {what}")
            });
        }
    }
}
