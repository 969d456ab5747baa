//! What is measured: the cells of the plan, their names, and how long they take.
//!
//! A cell is one kind of work with one set of numbers, on which every peer that can do it is measured. Its name is a path
//! such as `echo/length/64B/1000c/p16`, and `--only` takes any part of one.

use serde::{Deserialize, Serialize};

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// Echoes what came.
    Bytes,
    /// Echoes frames with a big-endian `u32` in front.
    Length,
    /// Echoes binary messages of WebSocket.
    #[value(name = "websocket")]
    WebSocket,
    /// Gives each frame (as those of `Length`) to every connection.
    Broadcast,
}

impl Work {
    pub(crate) const ECHOES: [Self; 3] = [Self::Bytes, Self::Length, Self::WebSocket];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Length => "length",
            Self::WebSocket => "websocket",
            Self::Broadcast => "broadcast",
        }
    }
}

/// What is done with that work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// Instructions and system calls, counted: one connection, closed loop.
    Exact,
    /// Closed loop: each connection sends its next batch when the last one is answered.
    Echo,
    /// One connection speaks, all hear; the next word comes when all have heard the last.
    Broadcast,
    /// Open loop: messages leave at a fixed rate, whatever the server does.
    Latency,
    /// As `Echo`, but at most [`ACTIVE`] of the connections speak: the others are there.
    Crowd,
    /// Connections that come, echo once and go.
    Churn,
    /// Connections that have echoed once and stay.
    Idle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) scenario: Scenario,
    pub(crate) work: Work,
    /// Bytes of a message, without its frame.
    pub(crate) payload: usize,
    pub(crate) connections: usize,
    /// Messages in a batch; 1 where the scenario knows no batches.
    pub(crate) pipeline: usize,
    /// Messages a second over all connections; 0 where the scenario has no rate.
    pub(crate) rate: u64,
}

impl Cell {
    pub(crate) fn name(&self) -> String {
        let Self { work, payload, connections, pipeline, rate, .. } = *self;
        let work = work.name();
        match self.scenario {
            Scenario::Exact if connections > 1 => {
                format!("exact/{work}/{payload}B/{connections}c/p{pipeline}")
            }
            Scenario::Exact => format!("exact/{work}/{payload}B/p{pipeline}"),
            Scenario::Echo => format!("echo/{work}/{payload}B/{connections}c/p{pipeline}"),
            Scenario::Broadcast => format!("broadcast/{payload}B/{connections}c"),
            Scenario::Latency => format!("latency/{work}/{payload}B/{connections}c/{rate}ps"),
            Scenario::Crowd => format!("crowd/{work}/{payload}B/{connections}c"),
            Scenario::Churn => format!("churn/{work}/{payload}B/{connections}c"),
            Scenario::Idle => format!("idle/{work}/{connections}c"),
        }
    }

    pub(crate) fn exact(work: Work, payload: usize, pipeline: usize) -> Self {
        Self { scenario: Scenario::Exact, work, payload, connections: 1, pipeline, rate: 0 }
    }

    pub(crate) fn echo(work: Work, payload: usize, connections: usize, pipeline: usize) -> Self {
        Self { scenario: Scenario::Echo, work, payload, connections, pipeline, rate: 0 }
    }

    fn broadcast(payload: usize, connections: usize) -> Self {
        let work = Work::Broadcast;
        Self { scenario: Scenario::Broadcast, work, payload, connections, pipeline: 1, rate: 0 }
    }

    fn latency(work: Work, connections: usize, rate: u64) -> Self {
        Self { scenario: Scenario::Latency, work, payload: 64, connections, pipeline: 1, rate }
    }

    /// One in a hundred of many is active, or all of few.
    fn crowd(connections: usize) -> Self {
        let work = Work::Length;
        Self { scenario: Scenario::Crowd, work, payload: 64, connections, pipeline: 1, rate: 0 }
    }

    fn churn(connections: usize) -> Self {
        let work = Work::Bytes;
        Self { scenario: Scenario::Churn, work, payload: 64, connections, pipeline: 1, rate: 0 }
    }

    fn idle(work: Work, connections: usize) -> Self {
        Self { scenario: Scenario::Idle, work, payload: 64, connections, pipeline: 1, rate: 0 }
    }

    /// Connections that speak; the others are silent once they have spoken once.
    pub(crate) fn active(&self) -> usize {
        match self.scenario {
            Scenario::Exact | Scenario::Crowd => self.connections.min(ACTIVE),
            _ => self.connections,
        }
    }

    /// Whether this connection is one of them: they lie evenly among the others.
    pub(crate) fn is_active(&self, number: usize) -> bool {
        number.is_multiple_of(self.connections.div_ceil(self.active()))
    }

    /// Whether a round of the one is to be set beside the same round of the other, and so has to follow it at once.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        let like = Self { connections: other.connections, ..*self };
        self.scenario == Scenario::Crowd && like == *other
    }

    /// Bytes that are on their way at once, when every connection has sent its batch.
    fn in_flight(&self) -> usize {
        self.payload * self.pipeline * self.connections
    }
}

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Size {
    /// A glance, within two minutes.
    Quick,
    /// One axis at a time: payloads over 64 connections, connections over 64 bytes.
    Standard,
    /// Every payload with every number of connections and every pipeline.
    Full,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) size: Size,
    pub(crate) rounds: usize,
    pub(crate) round_ms: u64,
    pub(crate) cells: Vec<Cell>,
}

const PAYLOADS: [usize; 4] = [16, 64, 1_024, 16_384];
const CONNECTIONS: [usize; 4] = [1, 64, 1_000, 5_000];
const PIPELINES: [usize; 2] = [1, 16];

/// Connections that speak in a crowd.
pub(crate) const ACTIVE: usize = 50;

/// A crowd of which all speak, and one of which one in a hundred does.
const CROWDS: [usize; 2] = [ACTIVE, 100 * ACTIVE];

/// More than this at once would measure the memory that the kernel lends to sockets.
const MOST_IN_FLIGHT: usize = 96 << 20;

impl Plan {
    pub(crate) fn new(size: Size) -> Self {
        let (rounds, round_ms) = match size {
            Size::Quick => (5, 120),
            Size::Standard => (9, 300),
            Size::Full => (11, 500),
        };
        Self { size, rounds, round_ms, cells: cells(size) }
    }

    /// Leaves the cells of whose names one of `parts` is a part; all, where there are none.
    pub(crate) fn only(&mut self, parts: &[String]) {
        let wanted = |cell: &Cell| parts.iter().any(|part| cell.name().contains(part));
        self.cells.retain(|cell| parts.is_empty() || wanted(cell));
    }
}

fn cells(size: Size) -> Vec<Cell> {
    let mut cells = exact(size);
    cells.extend(echoes(size));
    if size == Size::Quick {
        cells.push(Cell::latency(Work::Length, 64, 10_000));
        cells.push(Cell::idle(Work::Length, 1_000));
        return cells;
    }
    cells.extend(CROWDS.map(Cell::crowd));
    cells.extend([Cell::broadcast(64, 1_000), Cell::broadcast(1_024, 1_000)]);
    cells.extend([Cell::latency(Work::Length, 64, 20_000)]);
    cells.extend([Cell::latency(Work::Length, 1_000, 20_000)]);
    cells.extend([Cell::latency(Work::WebSocket, 64, 20_000)]);
    cells.push(Cell::churn(64));
    cells.extend(Work::ECHOES.map(|work| Cell::idle(work, 5_000)));
    cells
}

fn exact(size: Size) -> Vec<Cell> {
    if size == Size::Quick {
        return [Work::Length, Work::WebSocket].map(|work| Cell::exact(work, 64, 1)).to_vec();
    }
    let (pipelines, payloads): (&[usize], &[usize]) = match size {
        Size::Full => (&[1, 16, 32], &[16, 1_024, 16_384]),
        _ => (&[1, 32], &[1_024, 16_384]),
    };
    let mut cells = Vec::new();
    for work in Work::ECHOES {
        cells.extend(pipelines.iter().map(|pipeline| Cell::exact(work, 64, *pipeline)));
        cells.extend(payloads.iter().map(|payload| Cell::exact(work, *payload, 1)));
    }
    cells
        .extend(CROWDS.map(|connections| Cell { connections, ..Cell::exact(Work::Length, 64, 1) }));
    cells
}

fn echoes(size: Size) -> Vec<Cell> {
    let mut cells = Vec::new();
    for work in Work::ECHOES {
        for payload in PAYLOADS {
            for connections in CONNECTIONS {
                for pipeline in PIPELINES {
                    cells.push(Cell::echo(work, payload, connections, pipeline));
                }
            }
        }
    }
    cells.retain(|cell| {
        let is_small = cell.in_flight() <= MOST_IN_FLIGHT;
        is_small
            && match size {
                Size::Quick => {
                    let is_shown = match cell.work {
                        Work::Length => true,
                        Work::WebSocket => cell.pipeline == 1,
                        _ => false,
                    };
                    is_shown && cell.payload == 64 && cell.connections == 64
                }
                Size::Standard => cell.payload == 64 || cell.connections == 64,
                Size::Full => true,
            }
    });
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_plan_has_every_cell_that_fits() {
        let plan = Plan::new(Size::Full);
        let of = |scenario| plan.cells.iter().filter(|cell| cell.scenario == scenario).count();
        // 5,000 and 1,000 connections with 16 batches of 16 KiB would be 1.3 GB and 260 MB.
        assert_eq!(of(Scenario::Echo), 3 * (4 * 4 * 2 - 2));
        assert_eq!(of(Scenario::Exact), 3 * 6 + 2);
    }

    #[test]
    fn one_in_a_hundred_of_a_crowd_is_active() {
        let [few, many] = CROWDS.map(Cell::crowd);
        assert!(few.is_beside(&many) && !few.is_beside(&Cell::churn(64)));
        for (cell, apart) in [(few, 1), (many, 100)] {
            let active: Vec<usize> =
                (0..cell.connections).filter(|number| cell.is_active(*number)).collect();
            assert_eq!((active.len(), active[1]), (50, apart), "{}", cell.name());
        }
        let echo = Cell::echo(Work::Length, 64, 1_000, 1);
        assert!((0..1_000).all(|number| echo.is_active(number)));
    }

    #[test]
    fn every_plan_has_every_kind_of_echo_but_the_glance_leaves_the_plainest_out() {
        for (size, works) in
            [(Size::Quick, &Work::ECHOES[1..]), (Size::Standard, &Work::ECHOES[..])]
        {
            let cells = Plan::new(size).cells;
            for work in works {
                for scenario in [Scenario::Exact, Scenario::Echo] {
                    let is_there = |cell: &Cell| (cell.scenario, cell.work) == (scenario, *work);
                    assert!(cells.iter().any(is_there), "{size:?} {scenario:?} {work:?}");
                }
            }
        }
    }

    #[test]
    fn names_are_unique_and_any_part_selects() {
        let mut plan = Plan::new(Size::Full);
        let mut names: Vec<_> = plan.cells.iter().map(Cell::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), plan.cells.len());
        plan.only(&["length/64B/1000c".into(), "churn".into()]);
        let names: Vec<_> = plan.cells.iter().map(Cell::name).collect();
        assert_eq!(
            names,
            [
                "echo/length/64B/1000c/p1",
                "echo/length/64B/1000c/p16",
                "latency/length/64B/1000c/20000ps",
                "churn/bytes/64B/64c",
            ]
        );
    }
}
