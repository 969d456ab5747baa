//! What a schedule's server is set to, by chance: its rules are held against the same numbers.

use std::time::Duration;

use wheelhouse::testing::Faults;
use wheelhouse::{Config, Overload};

use super::choices::Choices;

pub(crate) struct Settings {
    /// Connections, of any kind.
    pub(crate) most: usize,
    /// Inbound ones of an address.
    pub(crate) per_address: Option<usize>,
    pub(crate) overload: Overload,
    pub(crate) accepts: usize,
    pub(crate) read_budget: usize,
    pub(crate) packet_budget: usize,
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) cap: usize,
    pub(crate) inbox: usize,
    pub(crate) handle_writes: usize,
    pub(crate) commands: usize,
    pub(crate) queued_bytes: Option<usize>,
    pub(crate) half_open: bool,
    pub(crate) linger: Duration,
    pub(crate) packet_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) probe_after: Option<Duration>,
    /// How the codec is: whether a broadcast is encoded once for all.
    pub(crate) stateless: bool,
    pub(crate) faults: Faults,
}

impl Settings {
    pub(super) fn choose(from: &mut Choices) -> Self {
        let low = from.usize(50..500);
        let high = low + from.usize(1..1_000);
        let cap = high + from.usize(0..4_000);
        let most = from.usize(3..9);
        let inbox = from.usize(1..8);
        let half_open = from.chance(80);
        let accepts = from.usize(1..4);
        let read_budget = from.usize(1..3_000);
        let packet_budget = from.usize(1..12);
        let handle_writes = from.usize(1..6);
        let commands = from.usize(1..6);
        let linger = Duration::from_millis(from.u64(0..300));
        let overload = if from.bool() { Overload::Backlog } else { Overload::Reject };
        let queued_bytes = from.chance(60).then(|| from.usize(1_000..10_000));
        let per_address = from.chance(60).then(|| from.usize(1..5));
        let mut limit = || from.chance(80).then(|| Duration::from_millis(from.u64(50..900)));
        let (packet_timeout, write_timeout, idle_timeout) = (limit(), limit(), limit());
        let probe_after = limit();
        let faults = match from.usize(0..3) {
            0 => Faults::none(),
            1 => Faults::rough(),
            _ => Faults::hostile(),
        };
        Self {
            most,
            per_address,
            overload,
            accepts,
            read_budget,
            packet_budget,
            low,
            high,
            cap,
            inbox,
            handle_writes,
            commands,
            queued_bytes,
            half_open,
            linger,
            packet_timeout,
            write_timeout,
            idle_timeout,
            probe_after,
            stateless: from.bool(),
            faults,
        }
    }

    pub(super) fn config(&self) -> Config {
        Config::default()
            .max_connections(self.most)
            .max_connections_per_address(self.per_address)
            .overload(self.overload)
            .accepts_per_turn(self.accepts)
            .read_budget(self.read_budget)
            .packet_budget(self.packet_budget)
            .outbox(self.low, self.high, self.cap)
            .inbox(self.inbox)
            .handle_writes(self.handle_writes)
            .commands(self.commands)
            .max_queued_bytes(self.queued_bytes)
            .half_open(self.half_open)
            .linger(self.linger)
            .packet_timeout(self.packet_timeout)
            .write_timeout(self.write_timeout)
            .idle_timeout(self.idle_timeout)
            .probe_after(self.probe_after)
    }
}
