//! What can only be timed: the server's CPU time for each message first, and throughput, latency and memory beside it.
//!
//! All servers of a cell run at once, each with its own load, and all but one pair sleep. The rounds are short and go from
//! peer to peer, so that the ratio to the floor is taken within seconds, and the median over the rounds stands: a machine
//! that is twice as slow for a minute is so for the floor, too.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::load::Round;
use crate::load::idle::{self, Memory};
use crate::machine::Cores;
use crate::peers::Peer;
use crate::plan::{Cell, Plan, Scenario};
use crate::process::{Driver, Server};

/// What one peer did in a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timed {
    pub(crate) peer: Peer,
    /// In the order of time.
    pub(crate) rounds: Vec<Measured>,
    /// All rounds' latencies together, as pairs of a quantile and nanoseconds.
    pub(crate) latency_curve: Vec<(f64, u64)>,
    /// Of idle connections only.
    pub(crate) memory: Option<Memory>,
}

/// A round, with its latencies boiled down.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) messages: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) server_cpu_ns: u64,
    pub(crate) load_cpu_ns: u64,
    pub(crate) resident: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
}

impl Measured {
    pub(crate) fn cpu_each(&self) -> f64 {
        self.server_cpu_ns as f64 / self.messages as f64
    }

    pub(crate) fn each_second(&self) -> f64 {
        self.messages as f64 * 1e9 / self.elapsed_ns as f64
    }

    /// How much of the round the server was at work.
    pub(crate) fn busy(&self) -> f64 {
        self.server_cpu_ns as f64 / self.elapsed_ns as f64
    }
}

/// A peer that could not be measured, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Absent {
    pub(crate) cell: String,
    pub(crate) peer: Peer,
    pub(crate) why: String,
}

/// A server and its load, between rounds.
struct Pair {
    peer: Peer,
    /// Which of the cells that are measured together.
    place: usize,
    cell: Cell,
    server: Server,
    driver: Driver,
    rounds: Vec<Measured>,
    latencies: Histogram<u64>,
}

pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cores: Option<Cores>,
    pub(crate) absent: &'a mut Vec<Absent>,
}

impl Run<'_> {
    /// Measures all these peers in cells of which each round of one stands beside a round of the others; in most cases it
    /// is one cell. `tell` hears what is being done, and with whom.
    pub(crate) fn cells(
        &mut self,
        cells: &[Cell],
        peers: &[Peer],
        mut tell: impl FnMut(&str, Peer),
    ) -> Outcome<Vec<Vec<Timed>>> {
        if let [cell @ Cell { scenario: Scenario::Idle, .. }] = cells {
            return Ok(vec![self.idle(cell, peers, tell)]);
        }
        let mut pairs = Vec::new();
        for peer in peers {
            for (place, cell) in cells.iter().enumerate().filter(|(_, cell)| peer.is_in(cell)) {
                tell("starting", *peer);
                match self.pair(cell, *peer, place) {
                    Ok(pair) => pairs.push(pair),
                    Err(error) => self.absent(cell, *peer, error.to_string()),
                }
            }
        }
        for round in 0..self.plan.rounds {
            let words = format!("round {} of {}", round + 1, self.plan.rounds);
            // Another one begins each time, so that nobody always follows the same neighbour's heat.
            let begin = if pairs.is_empty() { 0 } else { round % pairs.len() };
            pairs.rotate_left(begin);
            let mut left = Vec::new();
            for mut pair in pairs {
                tell(&words, pair.peer);
                match pair.round(self.plan.round_ms) {
                    Ok(()) => left.push(pair),
                    Err(error) => {
                        let cell = pair.cell;
                        let (peer, why) = pair.post_mortem(&error);
                        self.absent(&cell, peer, why);
                    }
                }
            }
            pairs = left;
            pairs.sort_by_key(|pair| (pair.peer, pair.place));
        }
        let mut measured: Vec<Vec<Timed>> = cells.iter().map(|_| Vec::new()).collect();
        for pair in pairs {
            measured[pair.place].push(pair.end()?);
        }
        Ok(measured)
    }

    fn pair(&self, cell: &Cell, peer: Peer, place: usize) -> Outcome<Pair> {
        let server = Server::start(peer, cell.work, self.cores.map(|cores| cores.server))?;
        let driver = match Driver::start(cell, &server, self.cores.map(|cores| cores.load)) {
            Ok(driver) => driver,
            Err(error) => return Err(server.post_mortem(&error).into()),
        };
        let latencies = Histogram::new_with_bounds(1, 120_000_000_000, 3)?;
        let rounds = Vec::new();
        let mut pair = Pair { peer, place, cell: *cell, server, driver, rounds, latencies };
        // One round to warm up, which does not count.
        match pair.driver.round(self.plan.round_ms.min(100)) {
            Ok(_) => Ok(pair),
            Err(error) => Err(pair.post_mortem(&error).1.into()),
        }
    }

    /// One server after another: memory does not drift.
    fn idle(
        &mut self,
        cell: &Cell,
        peers: &[Peer],
        mut tell: impl FnMut(&str, Peer),
    ) -> Vec<Timed> {
        let mut all = Vec::new();
        for peer in peers {
            tell("connecting", *peer);
            match self.idle_one(cell, *peer) {
                Ok(memory) => all.push(Timed {
                    peer: *peer,
                    rounds: Vec::new(),
                    latency_curve: Vec::new(),
                    memory: Some(memory),
                }),
                Err(error) => self.absent(cell, *peer, error.to_string()),
            }
        }
        all
    }

    fn idle_one(&self, cell: &Cell, peer: Peer) -> Outcome<Memory> {
        let server = Server::start(peer, cell.work, self.cores.map(|cores| cores.server))?;
        match idle::measure(cell, server.port, server.pid) {
            Ok(memory) => server.stop().map(|_| memory),
            Err(error) => Err(server.post_mortem(&error).into()),
        }
    }

    fn absent(&mut self, cell: &Cell, peer: Peer, why: String) {
        self.absent.push(Absent { cell: cell.name(), peer, why });
    }
}

impl Pair {
    fn round(&mut self, length_ms: u64) -> Outcome<()> {
        let round = self.driver.round(length_ms)?;
        self.rounds.push(boil_down(&round)?);
        for (nanos, times) in &round.latencies {
            self.latencies.saturating_record_n(*nanos, *times);
        }
        Ok(())
    }

    fn post_mortem(self, error: &dyn std::fmt::Display) -> (Peer, String) {
        let load = self.driver.last_words();
        (self.peer, self.server.post_mortem(&format!("{error}: {load}")))
    }

    fn end(self) -> Outcome<Timed> {
        let Self { peer, server, driver, rounds, latencies, .. } = self;
        drop(driver.last_words());
        server.stop()?;
        let latency_curve = CURVE.map(|quantile| (quantile, latencies.value_at_quantile(quantile)));
        Ok(Timed { peer, rounds, latency_curve: latency_curve.to_vec(), memory: None })
    }
}

/// Quantiles of the curve, ever closer to 1.
const CURVE: [f64; 12] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0];

fn boil_down(round: &Round) -> Outcome<Measured> {
    if round.messages == 0 {
        return Err("a round without a single message".into());
    }
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 120_000_000_000, 3)?;
    for (nanos, times) in &round.latencies {
        latencies.saturating_record_n(*nanos, *times);
    }
    let [p50_ns, p99_ns, p999_ns] =
        [0.5, 0.99, 0.999].map(|part| latencies.value_at_quantile(part));
    Ok(Measured {
        messages: round.messages,
        elapsed_ns: round.elapsed_ns,
        server_cpu_ns: round.server_cpu_ns,
        load_cpu_ns: round.load_cpu_ns,
        resident: round.resident,
        p50_ns,
        p99_ns,
        p999_ns,
        max_ns: latencies.max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_boiled_down() {
        let latencies = (1..=1_000).map(|nanos| (nanos * 1_000, 1)).collect();
        let (messages, elapsed_ns, server_cpu_ns) = (1_000, 500_000_000, 4_000_000);
        let round = Round { messages, elapsed_ns, server_cpu_ns, latencies, ..Round::default() };
        let measured = boil_down(&round).expect("a histogram");
        assert_eq!(measured.cpu_each(), 4_000.0);
        assert_eq!(measured.each_second(), 2_000.0);
        assert_eq!(measured.busy(), 0.008);
        let near = |nanos: u64, wanted: u64| nanos.abs_diff(wanted) <= wanted / 500;
        assert!(near(measured.p50_ns, 500_000), "{measured:?}");
        assert!(near(measured.p99_ns, 990_000), "{measured:?}");
        assert!(near(measured.max_ns, 1_000_000), "{measured:?}");
    }

    #[test]
    fn a_round_without_messages_is_a_failure() {
        assert!(boil_down(&Round::default()).is_err());
    }
}
