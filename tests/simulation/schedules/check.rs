//! The rules.

use std::collections::VecDeque;
use std::time::Duration;

use wheelhouse::testing::Sleep;
use wheelhouse::{CloseReason, ConnectionId, Stats};

use super::Schedule;
use super::far::Far;
use super::world::{BY_HANDLE, BY_LOOP, Model};
use crate::frames::MAX;

/// More than the longest packet's bytes.
const ONE_PACKET: usize = 2 + MAX;

/// More than the bytes of the protocol's own words, and what it costs to keep track of the last packet and of them.
const WORDS: usize = 256;

/// A deadline may be looked at once more before it counts.
const GRAIN: Duration = Duration::from_millis(5);

impl<const SPEAKS: bool> Schedule<SPEAKS> {
    pub(super) fn fail(&self, what: impl std::fmt::Display) -> ! {
        let Self { step, again, .. } = self;
        if self.quiet {
            std::panic::resume_unwind(Box::new(format!("{what}\nat step {step}")));
        }
        panic!("{what}\nat step {step} of the schedule that this plays again:\n{again}");
    }

    pub(super) fn require(&self, holds: bool, what: impl FnOnce() -> String) {
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
            self.check_idle(sleep);
            self.check_sleep(sleep);
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
        self.check_bounds(&stats);

        let mut queued = 0;
        let mut largest = 0;
        self.sim.server().for_each_connection(|conn| {
            queued += conn.queued();
            largest = largest.max(conn.queued());
        });
        let adds_up = queued == stats.queued_bytes || (!all_hear && queued < stats.queued_bytes);
        self.require(adds_up, || format!("{queued} bytes wait in the outboxes: {stats:?}"));
        // One packet goes where nothing else waits, however long it is.
        let bound = self.settings.cap.max(ONE_PACKET) + WORDS;
        self.require(largest <= bound, || format!("{largest} in an outbox, over {bound}"));
        for id in gone {
            let missed = self.sim.server().connection(id).is_none();
            self.require(missed, || format!("{id} has gone, and its id finds somebody"));
        }
    }

    /// What has come from the server is what was written, in order; and all of it, where the end was a good one.
    fn check_output(&mut self) {
        for at in 0..self.fars.len() {
            let came = self.fars[at].receive();
            let address = self.fars[at].peer.address();
            let world = self.sim.state_mut();
            let mut found =
                world.models.iter_mut().filter(|(_, model)| model.peer == Some(address));
            let Some((id, model)) = found.next() else {
                assert!(came.numbers.is_empty(), "bytes from nobody");
                continue;
            };
            let id = *id;
            if let Some(wrong) = came.wrong {
                self.fail(format!("{id}: {wrong}"));
            }
            for (writer, number) in came.numbers {
                let owed = model.owed[usize::from(writer)].pop_front();
                if owed != Some(number) {
                    self.fail(format!("{id}: packet {number} came, and {owed:?} was next"));
                }
            }
            let (far, model) = (&self.fars[at], &self.sim.state().models[&id]);
            if !far.reset && !far.peer.was_cut() {
                self.check_end(id, far, model);
            }
        }
    }

    /// What must have come, by how it ended.
    fn check_end(&self, id: ConnectionId, far: &Far, model: &Model<SPEAKS>) {
        let (heard, closed, bye) = (model.heard, model.closed, far.heard.bye);
        let read = far.read();
        let most = if self.settings.probe_after.is_some() { 1 + read } else { 0 };
        let probes = far.heard.probes;
        self.require(probes <= most, || format!("{id}: {probes} probes, {read} bytes were read"));
        if ended_well(model) {
            let missing = model.owed[usize::from(BY_LOOP)].len();
            let spared = matches!(bye, Some(CloseReason::Peer | CloseReason::SlowConsumer));
            self.require((missing == 0 || spared) && !far.has_partial(), || {
                format!("{id}: {closed:?}, and {missing} packets have not come")
            });
            self.require(bye.is_none() || bye == closed, || format!("{id}: {closed:?}, {bye:?}"));
            let by_peer = closed == Some(CloseReason::Peer);
            self.require(!SPEAKS || bye.is_some() || by_peer || model.is_curt, || {
                format!("{id}: {closed:?}, and no last word has come")
            });
        }
        if closed == Some(CloseReason::Peer) && !model.left_packets && !model.shed {
            let sent = far.whole();
            let is_over = far.ended || far.has_quit();
            self.require(is_over, || format!("{id}: {closed:?}, and the peer has not ended"));
            self.require(heard == sent, || format!("{id}: {heard} of {sent} were heard"));
        }
    }

    fn check_backlog(&mut self, sleep: Sleep) {
        let waiting = self.sim.backlog();
        let full = self.sim.server().connection_count() >= self.settings.most;
        let rests = matches!(sleep, Sleep::AtMost(limit) if limit <= Duration::from_millis(100));
        self.require(waiting == 0 || full || rests, || format!("{waiting} wait, and {sleep:?}"));
    }

    /// With nothing under way to the loop, it has left nothing undone.
    fn check_idle(&mut self, sleep: Sleep) {
        let elapsed = self.sim.elapsed();
        let (world, mut server) = self.sim.reactor().parts();
        let now = server.now();
        let overdue = world.timers.iter().find(|(_, timer)| timer.due <= now).map(|(key, _)| *key);
        let commands = world.commands.len();
        let mut waits = Vec::new();
        server.for_each_connection(|conn| {
            if !conn.is_connecting() {
                waits.push((conn.id(), conn.queued(), conn.is_open()));
            }
        });
        self.require(overdue.is_none(), || format!("timer {overdue:?} is due and did not fire"));
        self.require(commands == 0, || format!("{commands} commands have not run"));
        for (id, queued, open) in waits {
            let peer = self.sim.state().models[&id].peer;
            let far = self.fars.iter().position(|far| Some(far.peer.address()) == peer);
            let Some(at) = far else { continue };
            if self.fars[at].peer.unread() == 0 {
                self.fars[at].silent_since.get_or_insert(elapsed);
            }
            let (far, model) = (&self.fars[at], &self.sim.state().models[&id]);
            if far.is_open {
                self.require(queued == 0, || format!("{id}: {queued} bytes wait for an open peer"));
                // It may have overslept, and be about to look once more.
                let looks_again = matches!(sleep, Sleep::AtMost(limit) if limit <= GRAIN);
                if open && !looks_again {
                    self.check_probe(id, far, elapsed);
                }
                if open && !far.reset && !far.peer.was_cut() {
                    let owed = &model.owed;
                    self.require(owed.iter().all(VecDeque::is_empty), || {
                        format!("{id}: {owed:?} were taken, and have not come to an open peer")
                    });
                }
            }
            let takes = !model.paused && model.has_on_read && !model.asked;
            if takes && queued <= self.settings.low {
                self.check_input(id, far, model, open);
            }
        }
    }

    /// A connection that takes packets has taken all there are.
    fn check_input(&self, id: ConnectionId, far: &Far, model: &Model<SPEAKS>, open: bool) {
        let unread = far.peer.unread();
        self.require(unread == 0, || format!("{id}: {unread} bytes were not read"));
        let (heard, whole) = (model.heard, far.whole());
        self.require(heard == whole || !open || far.is_bad, || {
            format!("{id}: {heard} packets were heard, and {whole} have come")
        });
        let broken = far.reset || far.peer.was_cut();
        self.require(!broken, || format!("{id}: its peer has reset, and it lives"));
        let both_ended = !open && far.ended && far.is_open;
        self.require(!both_ended, || format!("{id}: both sides have ended, and it lives"));
        if open && !far.is_bad {
            self.require(!far.has_quit(), || format!("{id}: its peer has quit, and it is open"));
            let (pong, ping) = (far.heard.pong, far.last_ping());
            let answered = pong == ping || !far.is_open;
            self.require(answered, || format!("{id}: pong {pong:?}, and the ping is {ping:?}"));
        }
    }

    /// A peer that has been silent for so long has been asked. (Where there was a pong before, or a probe, that may have
    /// been on its way when the question was due; then there is none.)
    fn check_probe(&self, id: ConnectionId, far: &Far, elapsed: Duration) {
        let Some((silence, since)) = self.settings.probe_after.zip(far.silent_since) else {
            return;
        };
        let late = elapsed > since + silence + GRAIN;
        let asked = far.heard.probes > 0 || far.last_ping().is_some();
        self.require(!SPEAKS || !late || asked, || {
            format!("{id}: silent since {since:?}, not asked at {elapsed:?}")
        });
    }

    /// What a handle took and what never came was dropped with its connection, and counted; where the end was a good one,
    /// it was dropped for want of room in the outbox.
    fn check_losses(&self, stats: &Stats) {
        let world = self.sim.state();
        let (mut lost, mut lost_at_most, mut heard) = (0, 0, 0);
        for (id, model) in &world.models {
            let missing = model.owed[usize::from(BY_HANDLE)].len();
            heard += u64::from(model.heard);
            lost_at_most += missing as u64;
            let far = self.fars.iter().find(|far| Some(far.peer.address()) == model.peer);
            let Some(far) = far.filter(|far| !far.reset && !far.peer.was_cut()) else { continue };
            let spared =
                matches!(far.heard.bye, Some(CloseReason::Peer | CloseReason::SlowConsumer));
            if missing > 0 && ended_well(model) && !spared {
                lost += missing as u64;
                // What filled the outbox then has come. Each packet's overhead is twice its bytes at most.
                let filled = 3 * far.came + ONE_PACKET + WORDS;
                self.require(filled > self.settings.cap, || {
                    format!("{id}: {missing} packets of its handle were lost, and there was room")
                });
            }
        }
        let dropped = stats.packets_dropped;
        self.require(lost <= dropped, || format!("{lost} packets were lost, uncounted: {stats:?}"));
        let unheard = stats.packets_in - heard;
        self.require(dropped <= lost_at_most + unheard, || {
            format!("{lost_at_most} are missing, {unheard} were not heard: {stats:?}")
        });
    }

    pub(super) fn check_the_end(&mut self) {
        let stats = self.sim.server().stats();
        let open = self.sim.state().models.values().filter(|model| model.closed.is_none()).count();
        self.require(self.sim.is_stopped(), || format!("the stop is not over: {stats:?}"));
        self.require(open == 0 && stats.open == 0, || format!("{open} have had no on_closed"));
        self.require(stats.queued_bytes == 0, || format!("bytes are left: {stats:?}"));
        self.check_bounds(&stats);
        self.check_losses(&stats);
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
fn ended_well<const SPEAKS: bool>(model: &Model<SPEAKS>) -> bool {
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
