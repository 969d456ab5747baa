//! Everything that a run found out, and the boiling down that table, plots and page share.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::canvas::grouped;
use crate::Outcome;
use crate::exact::Counts;
use crate::machine::Machine;
use crate::peers::Peer;
use crate::plan::{Cell, Plan};
use crate::stats::{Spread, ratios};
use crate::timed::{Absent, Measured, Timed};

mod canvas;
mod crowd;
mod html;
mod plots;
mod svg;
pub(crate) mod table;

/// The raw figures; everything else that is written can be made from them again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The arguments that it was run with.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) peers: Vec<PeerNote>,
    pub(crate) exact: Vec<ExactCell>,
    pub(crate) timed: Vec<TimedCell>,
    /// Who could not be measured where, and why.
    pub(crate) absent: Vec<Absent>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeerNote {
    pub(crate) peer: Peer,
    pub(crate) version: Option<String>,
    pub(crate) made: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExactCell {
    pub(crate) name: String,
    pub(crate) cell: Cell,
    pub(crate) peers: Vec<Counts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TimedCell {
    pub(crate) name: String,
    pub(crate) cell: Cell,
    pub(crate) peers: Vec<Timed>,
}

/// One peer in one cell: medians over the rounds, and medians of the ratios that were taken within each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) peer: Peer,
    /// CPU time of the server for each message, in nanoseconds.
    pub(crate) cpu: Spread,
    pub(crate) cpu_ratio: Option<Spread>,
    pub(crate) rate: Spread,
    pub(crate) rate_ratio: Option<Spread>,
    pub(crate) p50: Spread,
    pub(crate) p99: Spread,
    pub(crate) p999: Spread,
    /// The worst of all rounds.
    pub(crate) max_ns: u64,
    pub(crate) busy: Spread,
    pub(crate) resident: Spread,
}

impl TimedCell {
    /// Those that have rounds, in the order of the peers.
    pub(crate) fn summaries(&self) -> Vec<Summary> {
        let floor = self.peers.iter().find(|timed| timed.peer == Peer::Floor);
        self.peers.iter().filter_map(|timed| summary(timed, floor)).collect()
    }
}

fn summary(timed: &Timed, floor: Option<&Timed>) -> Option<Summary> {
    let each = |figure: fn(&Measured) -> f64| Spread::of(timed.rounds.iter().map(figure));
    let ratio = |figure: fn(&Measured) -> f64| {
        let of = |timed: &Timed| timed.rounds.iter().map(figure).collect::<Vec<_>>();
        Spread::of(ratios(&of(timed), &of(floor?)))
    };
    Some(Summary {
        peer: timed.peer,
        cpu: each(Measured::cpu_each)?,
        cpu_ratio: ratio(Measured::cpu_each),
        rate: each(Measured::each_second)?,
        rate_ratio: ratio(Measured::each_second),
        p50: each(|round| round.p50_ns as f64)?,
        p99: each(|round| round.p99_ns as f64)?,
        p999: each(|round| round.p999_ns as f64)?,
        max_ns: timed.rounds.iter().map(|round| round.max_ns).max()?,
        busy: each(Measured::busy)?,
        resident: each(|round| round.resident as f64)?,
    })
}

/// A load that had less of its core than this had to share it: the machine was busy.
const WHOLE_CORE: f64 = 0.95;

impl Report {
    /// What part of its core the load had, in the middle of all rounds, where that is less than it needs. It never sleeps,
    /// so whatever is missing went to somebody else, and every time is longer by it.
    fn hampered_load(&self) -> Option<f64> {
        hampered(self.timed.iter().flat_map(|cell| &cell.peers).flat_map(|timed| &timed.rounds))
    }

    pub(crate) fn write_raw(&self, directory: &Path) -> Outcome<()> {
        fs::create_dir_all(directory)?;
        write(directory, "results.json", &serde_json::to_string_pretty(self)?)
    }

    /// The raw figures, the table, the plots and the page.
    pub(crate) fn write(&self, directory: &Path) -> Outcome<()> {
        self.write_raw(directory)?;
        write(directory, "table.txt", &table::text(self))?;
        for plot in plots::all(self) {
            write(directory, &format!("{}.svg", plot.name), &plot.standalone(svg::STYLE))?;
        }
        write(directory, "index.html", &html::page(self))
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Outcome<()> {
    let path = directory.join(name);
    fs::write(&path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// Three digits, whatever the size.
pub(crate) fn short(number: f64) -> String {
    match number {
        n if n >= 100.0 => grouped(n),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// A number of nanoseconds in the unit that suits it.
pub(crate) fn time(nanos: f64) -> String {
    match nanos {
        n if n >= 1e9 => format!("{} s", short(n / 1e9)),
        n if n >= 1e6 => format!("{} ms", short(n / 1e6)),
        n if n >= 1e3 => format!("{} µs", short(n / 1e3)),
        n => format!("{n:.0} ns"),
    }
}

fn hampered<'a>(rounds: impl Iterator<Item = &'a Measured>) -> Option<f64> {
    let share = |round: &Measured| round.load_cpu_ns as f64 / round.elapsed_ns as f64;
    Spread::of(rounds.map(share)).map(|share| share.median).filter(|share| *share < WHOLE_CORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_had_to_share_its_core_is_noticed() {
        let of = |load_cpu_ns| Measured { elapsed_ns: 100, load_cpu_ns, ..Measured::default() };
        assert_eq!(hampered([of(99), of(99), of(20)].iter()), None, "one round of three");
        assert_eq!(hampered([of(99), of(50), of(20)].iter()), Some(0.5));
        assert_eq!(hampered([].iter()), None);
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(999.6), "1,000");
        assert_eq!(short(1.234), "1.23");
        assert_eq!(short(12.34), "12.3");
        assert_eq!(time(950.0), "950 ns");
        assert_eq!(time(15_300.0), "15.3 µs");
        assert_eq!(time(2_500_000.0), "2.50 ms");
    }
}
