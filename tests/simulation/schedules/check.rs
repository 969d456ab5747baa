//! The rules.

use std::time::Duration;

use wheelhouse::testing::Sleep;
use wheelhouse::{CloseReason, ConnectionId};

use super::Schedule;
use super::world::{BY_LOOP, Model};
use crate::frames::MAX;

/// More than one packet's bytes, with what it costs to keep track of them.
const ONE_PACKET: usize = 2 + MAX + 128;

impl Schedule {
    fn fail(&self, what: impl std::fmt::Display) -> ! {
        let Self { seed, step, .. } = self;
        panic!(
            "{what}\nat step {step} of the schedule that this plays again:\n\
             WHEELHOUSE_SEED={seed} WHEELHOUSE_SCHEDULES=1 \
             cargo test --test simulation schedules"
        );
    }

    fn require(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what());
        }
    }

    /// Checks what must hold between any two turns, and, if the loop is idle, what must hold then.
    pub(super) fn look(&mut self, idle: Option<Sleep>) {
        let wrong = std::mem::take(&mut self.sim.state_mut().wrong);
        self.require(wrong.is_empty(), || wrong.join("\n"));
        self.check_counts();
        self.check_output();
        if let Some(sleep) = idle.filter(|_| !self.sim.is_stopped()) {
            self.check_backlog(sleep);
            self.check_idle();
        }
    }

    fn check_counts(&mut self) {
        let stats = self.sim.server().stats();
        let models = &self.sim.state().models;
        let known = models.values().filter(|model| model.closed.is_none()).count();
        let gone: Vec<ConnectionId> =
            models.iter().filter(|(_, model)| model.closed.is_some()).map(|(id, _)| *id).collect();
        let all_hear = models.values().all(|model| !model.was_ever_deaf);
        self.require(stats.open == known, || format!("{known} are known, and open: {stats:?}"));

        let mut queued = 0;
        let mut largest = 0;
        self.sim.server().for_each_connection(|conn| {
            queued += conn.queued();
            largest = largest.max(conn.queued());
        });
        let adds_up = queued == stats.queued_bytes || (!all_hear && queued < stats.queued_bytes);
        self.require(adds_up, || format!("{queued} bytes wait in the outboxes: {stats:?}"));
        let bound = self.cap + ONE_PACKET;
        self.require(largest <= bound, || format!("{largest} in an outbox, over {bound}"));
        for id in gone {
            let missed = self.sim.server().connection(id).is_none();
            self.require(missed, || format!("{id} has gone, and its id finds somebody"));
        }
    }

    /// What has come from the server is what was written, in order; and all of it, where the end was a good one.
    fn check_output(&mut self) {
        for at in 0..self.fars.len() {
            let numbers = self.fars[at].numbers();
            let address = self.fars[at].peer.address();
            let world = self.sim.state_mut();
            let mut found =
                world.models.iter_mut().filter(|(_, model)| model.peer == Some(address));
            let Some((id, model)) = found.next() else {
                assert!(numbers.is_empty(), "bytes from nobody");
                continue;
            };
            let id = *id;
            for (writer, number) in numbers {
                let owed = model.owed[usize::from(writer)].pop_front();
                if owed != Some(number) {
                    self.fail(format!("{id}: packet {number} came, and {owed:?} was next"));
                }
            }
            let far = &self.fars[at];
            let missing = model.owed[usize::from(BY_LOOP)].len();
            let (heard, closed) = (model.heard, model.closed);
            let all_taken = !model.left_packets;
            let sound = !far.reset && !far.peer.was_cut();
            if sound && ended_well(model) {
                self.require(missing == 0 && far.received.is_empty(), || {
                    format!("{id}: {closed:?}, and {missing} packets have not come")
                });
            }
            if sound && closed == Some(CloseReason::Peer) && all_taken {
                let sent = far.whole();
                self.require(far.ended, || format!("{id}: {closed:?}, and the peer has not ended"));
                self.require(heard == sent, || format!("{id}: {heard} of {sent} were heard"));
            }
        }
    }

    fn check_backlog(&mut self, sleep: Sleep) {
        let waiting = self.sim.backlog();
        let full = self.sim.server().connection_count() >= self.most;
        let rests = matches!(sleep, Sleep::AtMost(limit) if limit <= Duration::from_millis(100));
        self.require(waiting == 0 || full || rests, || format!("{waiting} wait, and {sleep:?}"));
    }

    /// With nothing under way to the loop, it has left nothing undone.
    fn check_idle(&mut self) {
        let (world, mut server) = self.sim.reactor().parts();
        let now = server.now();
        let overdue = world.timers.iter().find(|(_, timer)| timer.due <= now).map(|(key, _)| *key);
        let mut waits = Vec::new();
        server.for_each_connection(|conn| {
            waits.push((conn.id(), conn.queued(), conn.is_connecting(), conn.is_open()));
        });
        self.require(overdue.is_none(), || format!("timer {overdue:?} is due and did not fire"));
        for (id, queued, connecting, open) in waits {
            let model = &self.sim.state().models[&id];
            let far = self.fars.iter().find(|far| Some(far.peer.address()) == model.peer);
            let Some(far) = far.filter(|_| !connecting) else { continue };
            let unread = far.peer.unread();
            let (paused, hears) = (model.paused, model.has_on_read);
            if far.is_open {
                self.require(queued == 0, || format!("{id}: {queued} bytes wait for an open peer"));
            }
            if !paused && hears && queued <= self.low {
                self.require(unread == 0, || format!("{id}: {unread} bytes were not read"));
                let (heard, whole) = (model.heard, far.whole());
                self.require(heard == whole || !open || far.is_bad, || {
                    format!("{id}: {heard} packets were heard, and {whole} have come")
                });
                let broken = far.reset || far.peer.was_cut();
                self.require(!broken, || format!("{id}: its peer has reset, and it lives"));
            }
        }
    }

    pub(super) fn check_the_end(&mut self) {
        let stats = self.sim.server().stats();
        let open = self.sim.state().models.values().filter(|model| model.closed.is_none()).count();
        self.require(self.sim.is_stopped(), || format!("the stop is not over: {stats:?}"));
        self.require(open == 0 && stats.open == 0, || format!("{open} have had no on_closed"));
        self.require(stats.queued_bytes == 0, || format!("bytes are left: {stats:?}"));
        let born = stats.accepted + self.sim.state().dials;
        self.require(stats.closed == born, || format!("{born} were born: {stats:?}"));
        for far in &self.fars {
            self.require(far.peer.is_closed() || self.sim.backlog() > 0, || {
                format!("{:?} was left alone", far.peer)
            });
        }
    }
}

/// Whether the connection ended in a way that loses nothing which was taken for writing.
fn ended_well(model: &Model) -> bool {
    let well = matches!(
        model.closed,
        Some(
            CloseReason::Peer
                | CloseReason::Local
                | CloseReason::Idle
                | CloseReason::Shutdown
                | CloseReason::ProtocolError
                | CloseReason::HandlerError
        )
    );
    well && model.connected && !model.aborted && !model.late
}
