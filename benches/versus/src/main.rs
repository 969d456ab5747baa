//! wheelhouse beside async runtimes: the same echo, the same load, ratios to a bare epoll loop.
//!
//! ```sh
//! cargo run --release -p wheelhouse-versus                    # one axis at a time, half an hour
//! cargo run --release -p wheelhouse-versus -- --quick         # a glance, two minutes
//! cargo run --release -p wheelhouse-versus -- --list          # what there is to measure
//! cargo run --release -p wheelhouse-versus -- --only echo/length --peers wheelhouse,tokio
//! cargo run --release -p wheelhouse-versus -- --check         # wheelhouse's own counts, against expected.json
//! ```
//!
//! This file reads the arguments and runs the plan (`plan.rs`). Servers (`peers/`) and loads (`load/`) are this same
//! program, started again by `process.rs`; what is counted is in `exact.rs`, what is timed in `timed.rs`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::machine::Machine;
use crate::peers::Peer;
use crate::plan::{Cell, Plan, Scenario, Size, Work};
use crate::progress::Progress;
use crate::report::{ExactCell, PeerNote, Report, TimedCell, table};
use crate::timed::{Absent, Run};

mod check;
mod exact;
mod load;
mod machine;
mod os;
mod peers;
mod plan;
mod process;
mod progress;
mod report;
mod stats;
mod timed;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures wheelhouse beside async runtimes: the same echo, the same load, ratios to a bare epoll loop.
#[derive(Parser, Debug)]
#[command(name = "wheelhouse-versus", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    child: Option<Child>,
    /// A glance, within two minutes
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Every payload with every number of connections and every pipeline: an hour and a half
    #[arg(long)]
    full: bool,
    /// Only cells with this in their name (see --list); several, by commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these, by commas; the floor is always among them
    #[arg(long, value_enum, value_name = "PEER", value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Names what would be measured, and on whom
    #[arg(long)]
    list: bool,
    /// Where the raw figures, the plots and the page go
    #[arg(long, value_name = "DIR", default_value = "target/versus")]
    out: PathBuf,
    /// Rounds of each cell; 9, with --quick 5, with --full 11
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// How long a round is; 300, with --quick 120, with --full 500
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    round_ms: Option<u64>,
    /// Counts wheelhouse's instructions and system calls, and fails where they grew
    #[arg(long)]
    check: bool,
    /// With --check: writes the counts down instead
    #[arg(long, requires = "check")]
    update: bool,
    /// Measures nothing: makes table, plots and page again from the raw figures in --out
    #[arg(long)]
    render: bool,
}

/// What this program is when it starts itself.
#[derive(clap::Subcommand, Debug)]
enum Child {
    /// A server: prints its port, ends with its stdin
    #[command(hide = true)]
    Serve {
        peer: Peer,
        work: Work,
        #[arg(long)]
        core: Option<usize>,
    },
    /// A load: obeys the lines of its stdin
    #[command(hide = true)]
    Drive {
        /// As JSON
        cell: String,
        port: u16,
        pid: u32,
        #[arg(long)]
        core: Option<usize>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wheelhouse-versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Outcome<()> {
    match args.child {
        Some(Child::Serve { peer, work, core }) => {
            core.map_or(Ok(()), os::pin)?;
            os::end_with_stdin()?;
            return peers::serve(peer, work);
        }
        Some(Child::Drive { cell, port, pid, core }) => {
            core.map_or(Ok(()), os::pin)?;
            return load::drive(&serde_json::from_str(&cell)?, port, pid);
        }
        None => {}
    }
    if args.render {
        let path = args.out.join("results.json");
        let raw = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let report: Report = serde_json::from_str(&raw)?;
        print!("{}", table::text(&report));
        return report.write(&args.out);
    }
    let machine = Machine::look()?;
    if args.check {
        return check::run(&machine, args.update);
    }
    let (plan, peers) = (plan(&args), peers(&args));
    if plan.cells.is_empty() {
        return Err(
            format!("no cell has {} in its name: see --list", args.only.join(" or ")).into()
        );
    }
    if args.list {
        list(&plan, &peers);
        return Ok(());
    }
    let report = measure(plan, &peers, machine, &args)?;
    print!("{}", table::text(&report));
    report.write(&args.out)?;
    println!("\nraw figures, plots and page: {}", args.out.display());
    Ok(())
}

fn plan(args: &Args) -> Plan {
    let size = match (args.quick, args.full) {
        (true, _) => Size::Quick,
        (_, true) => Size::Full,
        _ => Size::Standard,
    };
    let mut plan = Plan::new(size);
    if !args.only.is_empty() && size == Size::Standard {
        plan.cells = Plan::new(Size::Full).cells; // whoever names a cell finds it
    }
    plan.only(&args.only);
    plan.rounds = args.rounds.map_or(plan.rounds, |rounds| rounds as usize);
    plan.round_ms = args.round_ms.unwrap_or(plan.round_ms);
    plan
}

fn peers(args: &Args) -> Vec<Peer> {
    let wanted =
        |peer: &Peer| args.peers.is_empty() || *peer == Peer::Floor || args.peers.contains(peer);
    Peer::ALL.into_iter().filter(wanted).collect()
}

/// Those that have something to show in a cell.
fn able(peers: &[Peer], cell: &Cell) -> Vec<Peer> {
    peers.iter().copied().filter(|peer| peer.is_in(cell)).collect()
}

fn list(plan: &Plan, peers: &[Peer]) {
    for cell in &plan.cells {
        let names: Vec<_> = able(peers, cell).into_iter().map(Peer::name).collect();
        println!("{:<36} {}", cell.name(), names.join(" "));
    }
    println!("\nsome {:.0} minutes in all", (planned_seconds(plan, peers) / 60.0).ceil());
}

fn planned_seconds(plan: &Plan, peers: &[Peer]) -> f64 {
    plan.cells.iter().map(|cell| seconds(plan, cell) * able(peers, cell).len() as f64).sum()
}

/// How long one peer takes in a cell, as seen on a machine of 2026.
fn seconds(plan: &Plan, cell: &Cell) -> f64 {
    match cell.scenario {
        Scenario::Exact if cell.connections > 1 => 10.0,
        Scenario::Exact => 3.0,
        Scenario::Idle => 1.0,
        _ => plan.rounds as f64 * plan.round_ms as f64 / 1e3 * 1.1 + 0.5,
    }
}

fn measure(plan: Plan, peers: &[Peer], machine: Machine, args: &Args) -> Outcome<Report> {
    let note = |peer: Peer| PeerNote {
        peer,
        version: peer.package().and_then(|package| machine.versions.get(package).cloned()),
        made: peer.says().to_owned(),
    };
    let mut report = Report {
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        peers: peers.iter().copied().map(note).collect(),
        machine,
        plan: plan.clone(),
        exact: Vec::new(),
        timed: Vec::new(),
        absent: Vec::new(),
    };
    let mut progress = Progress::new(planned_seconds(&plan, peers));
    for cells in plan.cells.chunk_by(Cell::is_beside) {
        let cell = &cells[0];
        let each = seconds(&plan, cell);
        let peers = able(peers, cell);
        let name = cell.name();
        if cell.scenario == Scenario::Exact {
            let mut counted = Vec::new();
            for peer in peers {
                progress.begin(&name, peer.name(), each);
                let (counts, failures) = exact::count(cell, peer, &report.machine);
                counted.push(counts);
                for why in failures {
                    report.absent.push(Absent { cell: name.clone(), peer, why });
                }
            }
            report.exact.push(ExactCell { name, cell: *cell, peers: counted });
        } else {
            let steps = if cell.scenario == Scenario::Idle { 1 } else { plan.rounds + 1 };
            let absent = &mut report.absent;
            let mut run = Run { plan: &plan, cores: report.machine.pinned, absent };
            let measured = run.cells(cells, &peers, |what, peer| {
                let detail = format!("{what} · {}", peer.name());
                progress.begin(&name, &detail, each / steps as f64);
            })?;
            for (cell, peers) in cells.iter().zip(measured) {
                report.timed.push(TimedCell { name: cell.name(), cell: *cell, peers });
            }
        }
        report.write_raw(&args.out)?; // so that a run that is broken off leaves what it has
    }
    progress.end();
    Ok(report)
}
