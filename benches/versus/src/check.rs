//! The check that a CI can hold steady: wheelhouse's own counts against those that are written down.
//!
//! A count that grew by more than the tolerance fails; one that fell by more than it asks to be written down, so that the
//! gain is kept. Counts depend on the compiler and the C library, which are written down beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::exact;
use crate::machine::{Machine, is_there};
use crate::peers::Peer;
use crate::plan::{Cell, Work};

const TOLERANCE: f64 = 0.03;

/// Instructions, and calls, that a count may differ by from one run to the next, however small it is: a batch of 32 has
/// 3 calls in all, so that a rounding is a large part of a message's share.
const NOISE: [f64; 2] = [1.0, 0.02];

const UPDATE: &str = "cargo run --release -p wheelhouse-versus -- --check --update";

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Expected {
    rustc: String,
    /// User instructions and system calls for each message, by cell.
    counts: BTreeMap<String, Count>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Count {
    instructions: f64,
    calls: f64,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.json")
}

fn cells() -> Vec<Cell> {
    Work::ECHOES
        .into_iter()
        .flat_map(|work| [1, 32].map(|pipeline| Cell::exact(work, 64, pipeline)))
        .collect()
}

/// Counts, and compares with what is written down or writes it down.
///
/// # Errors
///
/// When a count grew, when a tool is absent, or when nothing is written down for a cell.
pub(crate) fn run(machine: &Machine, update: bool) -> Outcome<()> {
    for (tool, said) in [("valgrind", &machine.valgrind), ("strace", &machine.strace)] {
        if !is_there(said) {
            return Err(format!("{tool} is not installed, and the check counts by it").into());
        }
    }
    let mut counts = BTreeMap::new();
    for cell in cells() {
        let (found, failures) = exact::count(&cell, Peer::Wheelhouse, machine);
        let (Some(instructions), Some(calls)) = (found.instructions, found.calls_in_all()) else {
            return Err(format!("{}: {}", cell.name(), failures.join("; ")).into());
        };
        // Tenths and hundredths: what lies below is the tools' own noise.
        let count = Count {
            instructions: (instructions * 10.0).round() / 10.0,
            calls: (calls * 100.0).round() / 100.0,
        };
        counts.insert(cell.name(), count);
    }
    let found = Expected { rustc: machine.rustc.clone(), counts };
    if update {
        fs::write(path(), serde_json::to_string_pretty(&found)? + "\n")?;
        println!("written down in {}", path().display());
        return Ok(());
    }
    let text = fs::read_to_string(path());
    let text =
        text.map_err(|error| format!("{}: {error}; make it by: {UPDATE}", path().display()))?;
    let (said, is_worse) = compare(&serde_json::from_str(&text)?, &found);
    print!("{said}");
    if is_worse { Err("a message costs more than is written down".into()) } else { Ok(()) }
}

/// What there is to say, and whether something got worse.
fn compare(expected: &Expected, found: &Expected) -> (String, bool) {
    let mut said = String::new();
    let mut is_worse = false;
    if expected.rustc != found.rustc {
        let _ =
            writeln!(said, "written down with {}, counted with {}", expected.rustc, found.rustc);
    }
    for (name, count) in &found.counts {
        let Some(before) = expected.counts.get(name) else {
            let _ = writeln!(said, "{name}: nothing is written down; add it by: {UPDATE}");
            is_worse = true;
            continue;
        };
        let figures = [
            ("instructions", before.instructions, count.instructions),
            ("calls", before.calls, count.calls),
        ];
        for ((what, before, now), noise) in figures.into_iter().zip(NOISE) {
            let change = now / before - 1.0;
            let verdict = match change {
                _ if (now - before).abs() <= noise => "as it was".into(),
                change if change > TOLERANCE => {
                    is_worse = true;
                    format!("WORSE, over the tolerance of {:.0} %", TOLERANCE * 100.0)
                }
                change if change < -TOLERANCE => format!("better: keep it by: {UPDATE}"),
                _ => "as it was".into(),
            };
            let change = change * 100.0;
            let _ =
                writeln!(said, "{name}: {now} {what}, were {before} ({change:+.1} %): {verdict}");
        }
    }
    (said, is_worse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(instructions: f64, calls: f64) -> Expected {
        let count = Count { instructions, calls };
        Expected { rustc: "rustc 1".into(), counts: BTreeMap::from([("exact/x".into(), count)]) }
    }

    #[test]
    fn within_the_tolerance_nothing_is_worse() {
        let (said, is_worse) = compare(&of(1_000.0, 3.0), &of(1_029.0, 3.0));
        assert!(!is_worse, "{said}");
        assert!(said.contains("1029 instructions, were 1000 (+2.9 %): as it was"), "{said}");
    }

    #[test]
    fn a_small_count_may_differ_by_its_noise() {
        let (said, is_worse) = compare(&of(34.5, 0.09), &of(35.4, 0.1));
        assert!(!is_worse, "{said}");
        assert!(!said.contains("better"), "{said}");
        // A fourth call in a batch of 32.
        assert!(compare(&of(34.5, 0.09), &of(34.5, 0.13)).1);
    }

    #[test]
    fn over_it_the_check_fails_and_says_by_how_much() {
        let (said, is_worse) = compare(&of(1_000.0, 3.0), &of(1_000.0, 4.0));
        assert!(is_worse);
        assert!(said.contains("4 calls, were 3 (+33.3 %): WORSE"), "{said}");
    }

    #[test]
    fn a_gain_asks_to_be_kept() {
        let (said, is_worse) = compare(&of(1_000.0, 3.0), &of(900.0, 3.0));
        assert!(!is_worse);
        assert!(said.contains("better: keep it by: cargo run"), "{said}");
    }

    #[test]
    fn a_cell_that_is_not_written_down_fails() {
        let nothing = Expected { rustc: "rustc 1".into(), counts: BTreeMap::new() };
        assert!(compare(&nothing, &of(1.0, 1.0)).1);
    }
}
