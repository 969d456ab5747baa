//! What handlers leave for later, and the record of it: timers, and commands as other threads leave them.

use std::time::{Duration, Instant};

use wheelhouse::{ConnectionId, TimerId};

use super::world::{Conn, Server, World};

const MS: Duration = Duration::from_millis(1);

pub(crate) struct Timer {
    pub(crate) id: TimerId,
    /// Whose timer it is; the server's, if `None`.
    pub(crate) owner: Option<ConnectionId>,
    pub(crate) due: Instant,
    period: Option<Duration>,
}

impl<const SPEAKS: bool> World<SPEAKS> {
    pub(super) fn set_timer(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        let key = self.next_timer;
        self.next_timer += 1;
        let span = Duration::from_millis(self.rng.u64(0..300));
        let repeats = self.rng.bool();
        let of_server = self.rng.bool();
        let owner = (!of_server).then(|| conn.id());
        let due = conn.server().now() + if repeats { span.max(MS) } else { span };
        let id = match (of_server, repeats) {
            (true, false) => conn.server().after(span, move |w, server| w.fired(key, server)),
            (true, true) => conn.server().every(span, move |w, server| w.fired(key, server)),
            (false, false) => conn.after(span, move |w, conn| w.fired(key, &mut conn.server())),
            (false, true) => conn.every(span, move |w, conn| w.fired(key, &mut conn.server())),
        };
        let period = repeats.then(|| span.max(MS));
        self.timers.insert(key, Timer { id, owner, due, period });
    }

    fn fired(&mut self, key: u64, server: &mut Server<'_, SPEAKS>) {
        let owner = self.timers.get(&key).and_then(|timer| timer.owner);
        self.enter("a timer", owner);
        let now = server.now();
        let Some(timer) = self.timers.get_mut(&key) else {
            self.wrong.push(format!("timer {key} fired, and it is over"));
            return self.leave();
        };
        let early = timer.due > now;
        match timer.period {
            None => drop(self.timers.remove(&key)),
            Some(period) => {
                while timer.due <= now {
                    timer.due += period;
                }
            }
        }
        self.check(!early, || format!("timer {key} fired early"));
        let any = self.any_connection(server);
        if let Some(mut conn) = any.and_then(|id| server.connection(id)) {
            self.write(&mut conn);
        }
        if self.rng.chance(8) {
            // One that repeats is over with that.
            self.timers.remove(&key);
            match owner {
                Some(id) => self.panic(id),
                None => self.panic_alone(),
            }
        }
        self.leave();
    }

    pub(super) fn cancel_timer(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        let keys: Vec<u64> = self.timers.keys().copied().collect();
        let Some(key) = self.rng.choice(keys) else { return };
        let Some(timer) = self.timers.remove(&key) else { return };
        let was_there = conn.cancel(timer.id);
        // The timers of a connection that is over may go before its `on_closed` runs.
        let lives = timer.owner.is_none_or(|owner| conn.server().connection(owner).is_some());
        self.check(was_there || !lives, || {
            format!("timer {key} was pending, and cancel missed it")
        });
    }

    /// A command of another thread's, as it were; those that were taken run once each, in order.
    pub(super) fn command(&mut self, number: u64, server: &mut Server<'_, SPEAKS>) {
        self.enter("a command", None);
        let next = self.commands.pop_front();
        self.check(next == Some(number), || format!("command {number} ran, {next:?} was next"));
        match self.rng.usize(0..8) {
            0..2 => {}
            2 => self.broadcast(server, None),
            3 => self.connect(server),
            4 => self.panic_alone(),
            _ => {
                let any = self.any_connection(server);
                if let Some(mut conn) = any.and_then(|id| server.connection(id)) {
                    self.write(&mut conn);
                }
            }
        }
        self.leave();
    }
}
