//! What silent connections cost: a crowd of which one in a hundred speaks, beside as many speakers by themselves.
//!
//! Times are set beside each other round by round, as those of the floor are.

use super::{ExactCell, Report, TimedCell};
use crate::exact::Counts;
use crate::peers::Peer;
use crate::plan::{Cell, Scenario};
use crate::stats::{Spread, ratios};
use crate::timed::{Measured, Timed};

/// The same load without silent connections, and with them.
pub(super) struct Crowd {
    pub(super) few: Cell,
    pub(super) many: Cell,
    pub(super) rows: Vec<Row>,
}

/// One peer: with few, and with many.
pub(super) struct Row {
    pub(super) peer: Peer,
    /// CPU time of the server for each message, in nanoseconds.
    pub(super) cpu: [f64; 2],
    pub(super) cpu_ratio: Spread,
    /// User instructions for each message, where they were counted.
    pub(super) instructions: Option<[f64; 2]>,
}

impl Row {
    pub(super) fn instructions_ratio(&self) -> Option<f64> {
        self.instructions.map(|[few, many]| many / few)
    }
}

pub(super) fn all(report: &Report) -> Vec<Crowd> {
    let couples = report.timed.windows(2).filter(|two| two[0].cell.is_beside(&two[1].cell));
    couples.map(|two| crowd(&report.exact, &two[0], &two[1])).collect()
}

fn crowd(exact: &[ExactCell], few: &TimedCell, many: &TimedCell) -> Crowd {
    let row = |few: &Timed| {
        let many = many.peers.iter().find(|timed| timed.peer == few.peer)?;
        let each = |timed: &Timed| timed.rounds.iter().map(Measured::cpu_each).collect::<Vec<_>>();
        let cpu = [each(few), each(many)];
        let [few_cpu, many_cpu] = &cpu;
        Some(Row {
            peer: few.peer,
            cpu_ratio: Spread::of(ratios(many_cpu, few_cpu))?,
            cpu: [
                Spread::of(few_cpu.iter().copied())?.median,
                Spread::of(many_cpu.iter().copied())?.median,
            ],
            instructions: None,
        })
    };
    let mut rows: Vec<Row> = few.peers.iter().filter_map(row).collect();
    for row in &mut rows {
        row.instructions = instructions(exact, [few.cell, many.cell], row.peer);
    }
    Crowd { few: few.cell, many: many.cell, rows }
}

fn instructions(exact: &[ExactCell], cells: [Cell; 2], peer: Peer) -> Option<[f64; 2]> {
    let of = |cell: Cell| {
        let wanted = Cell { scenario: Scenario::Exact, ..cell };
        let counted = exact.iter().find(|exact| exact.cell == wanted)?;
        let mine = |counts: &&Counts| counts.peer == peer;
        counted.peers.iter().find(mine)?.instructions
    };
    let [few, many] = cells;
    Some([of(few)?, of(many)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ACTIVE, Work};

    fn cell(connections: usize) -> Cell {
        let (scenario, work) = (Scenario::Crowd, Work::Length);
        Cell { scenario, work, payload: 64, connections, pipeline: 1, rate: 0 }
    }

    fn timed(connections: usize, cpu: &[u64]) -> TimedCell {
        let round = |ns: &u64| Measured { messages: 1, server_cpu_ns: *ns, ..Measured::default() };
        let rounds = cpu.iter().map(round).collect();
        let wheelhouse =
            Timed { peer: Peer::Wheelhouse, rounds, latency_curve: Vec::new(), memory: None };
        let cell = cell(connections);
        TimedCell { name: cell.name(), cell, peers: vec![wheelhouse] }
    }

    fn exact(connections: usize, instructions: f64) -> ExactCell {
        let cell = Cell { scenario: Scenario::Exact, ..cell(connections) };
        let counts =
            Counts { peer: Peer::Wheelhouse, instructions: Some(instructions), calls: None };
        ExactCell { name: cell.name(), cell, peers: vec![counts] }
    }

    #[test]
    fn the_many_are_set_beside_the_few_round_by_round() {
        // The machine is twice as slow in the last round: the ratio is not moved by it.
        let (few, many) = (timed(ACTIVE, &[100, 100, 200]), timed(5_000, &[105, 106, 212]));
        let counted = [exact(ACTIVE, 800.0), exact(5_000, 880.0)];
        let crowd = crowd(&counted, &few, &many);
        let [row] = &crowd.rows[..] else { panic!("{} rows", crowd.rows.len()) };
        assert_eq!((row.cpu, row.cpu_ratio.median), ([100.0, 106.0], 1.06));
        assert_eq!(row.instructions_ratio(), Some(1.1));
        assert_eq!(super::crowd(&[], &few, &many).rows[0].instructions, None);
    }
}
