//! Turns, taken one by one, and what each may do at most.

use std::time::Duration;

use wheelhouse::Stats;
use wheelhouse::testing::{Faults, Sleep};

use super::Schedule;
use super::wire::WORD;

/// Turns in a row that may find nothing to do, though the loop did not sleep: a deadline that is over is looked at in one,
/// and, with the socket asked once more, in the next; where it then means nothing, the connection's next one is looked at,
/// and there are four.
const IDLE_TURNS: usize = 8;

/// Turns after which a loop that has not come to rest never will.
const RESTLESS_AFTER: usize = 20_000;

/// What a word of the protocol's own costs where it waits: it may cut what waits in two, and the places are remembered.
const WORD_COST: usize = WORD + 3 * 64;

/// Words that can wait with a connection beside the limits: a reply or a question, what a decoder that failed has to say,
/// and the last word.
const WORDS: usize = 3;

/// What stood before a turn.
struct Before {
    stats: Stats,
    calls: u64,
    unread: Vec<usize>,
}

impl<const SPEAKS: bool> Schedule<SPEAKS> {
    pub(super) fn turn(&mut self) -> Sleep {
        let unread = self.fars.iter().map(|far| far.peer.unread()).collect();
        let stats = self.sim.server().stats();
        let world = self.sim.state_mut();
        world.served.clear();
        world.handed.clear();
        let before = Before { stats, calls: world.calls, unread };
        let sleep = self.sim.turn();
        self.check_turn(&before, sleep);
        sleep
    }

    /// Takes turns until the loop would sleep, and nothing is under way to it.
    pub(super) fn run_until_idle(&mut self) -> Sleep {
        self.idle_turns = 0;
        for _ in 0..RESTLESS_AFTER {
            let sleep = self.turn();
            if self.sim.is_stopped() {
                return Sleep::Unlimited;
            }
            if sleep != Sleep::None && self.sim.is_quiet() {
                return sleep;
            }
        }
        self.fail(format!("it has not come to rest in {RESTLESS_AFTER} turns"));
    }

    /// Lets time pass as the loop sees it: it wakes when it has asked for that.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.sim.elapsed() + span;
        let mut in_vain = 0;
        loop {
            let before = (self.sim.server().stats(), self.sim.state().calls);
            let sleep = self.run_until_idle();
            let same = before == (self.sim.server().stats(), self.sim.state().calls);
            in_vain = if same { in_vain + 1 } else { 0 };
            // A deadline that has moved is found out by waking for it, once for each connection; so is the end of a rest
            // from accepting. A moved deadline is then waited for as it stands.
            let most = 2 * self.settings.most + 4;
            self.require(in_vain <= most, || format!("it woke {in_vain} times for nothing"));
            let left = end.saturating_sub(self.sim.elapsed());
            match sleep {
                _ if left.is_zero() => return,
                Sleep::AtMost(limit) => self.sim.advance(limit.min(left)),
                Sleep::None | Sleep::Unlimited => self.sim.advance(left),
            }
        }
    }

    fn check_turn(&mut self, before: &Before, sleep: Sleep) {
        let stats = self.sim.server().stats();
        self.check_bounds(&stats);
        self.check_budgets(before, &stats);
        let nothing_done = stats == before.stats && self.sim.state().calls == before.calls;
        let is_idle = sleep == Sleep::None && nothing_done && self.sim.is_quiet();
        self.idle_turns = if is_idle { self.idle_turns + 1 } else { 0 };
        let idle = self.idle_turns;
        self.require(idle <= IDLE_TURNS, || format!("{idle} turns in a row had nothing to do"));
    }

    /// One turn takes its share of newcomers, and of each connection's bytes and packets.
    fn check_budgets(&self, before: &Before, stats: &Stats) {
        let settings = &self.settings;
        let newcomers =
            stats.accepted + stats.rejected - before.stats.accepted - before.stats.rejected;
        self.require(newcomers <= settings.accepts as u64, || {
            format!("{newcomers} newcomers in a turn, over {}", settings.accepts)
        });
        // A share goes with an event, and a sound poll tells of a connection once. A rough one tells of it twice, and may
        // lie about it once; each time the rest comes that a short read left.
        let shares = if settings.faults == Faults::none() { 1 } else { 3 };
        for (far, unread) in self.fars.iter().zip(&before.unread) {
            let lost = far.peer.was_cut() || far.peer.is_closed();
            let read = if lost { 0 } else { unread.saturating_sub(far.peer.unread()) };
            self.require(read <= shares * settings.read_budget, || {
                format!("{read} bytes of {:?} in a turn, over {}", far.peer, settings.read_budget)
            });
        }
        let most = shares * settings.packet_budget;
        for (id, served) in &self.sim.state().served {
            self.require(*served <= most, || format!("{id}: {served} packets in a turn"));
        }
        let decoded = stats.packets_in - before.stats.packets_in;
        let most = (most * settings.most) as u64;
        self.require(decoded <= most, || format!("{decoded} packets decoded in a turn"));
    }

    /// What is bounded, between any two turns.
    pub(super) fn check_bounds(&self, stats: &Stats) {
        let (settings, world) = (&self.settings, self.sim.state());
        self.require(stats.open <= settings.most, || format!("over {}: {stats:?}", settings.most));
        if let Some(limit) = settings.per_address {
            for host in 1..4 {
                let open = world.open_of_host(host);
                self.require(open <= limit, || format!("{open} from one address, over {limit}"));
            }
        }
        // The protocol's own words count, and nobody is dropped for them; a packet that is written next is the one to
        // find that it is too much.
        let words = if SPEAKS { stats.open * WORDS * WORD_COST } else { 0 };
        let most = settings.queued_bytes.map_or(usize::MAX, |limit| limit + words);
        self.require(stats.queued_bytes <= most, || format!("over {most}: {stats:?}"));
        let waiting = world.commands.len();
        self.require(waiting <= settings.commands, || format!("{waiting} commands wait"));
        for (id, handed) in &world.handed {
            self.require(*handed <= settings.handle_writes, || {
                format!("{id}: {handed} packets were taken, and no turn between")
            });
        }
        // One of the loop's own for each connection, one for a rest from accepting, and the stops' deadlines.
        let set = world.timers.len();
        let most = set + stats.open + 1 + world.stops;
        self.require((set..=most).contains(&stats.timers), || {
            format!("{set} timers are set, {} stops asked for: {stats:?}", world.stops)
        });
    }
}
