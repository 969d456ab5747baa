//! The overload: what a server can do is measured first, and then up to three times as much is asked of it.
//!
//! Too much comes in two ways. Requests that are too many, on connections that are there (`requests.rs`): to a server that
//! refuses what would wait too long, and, to compare, to one that works on all of it. And connections that are too many
//! (`visits.rs`): to a server with room for few. Every step has a server of its own, so none inherits a backlog.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use self::report::Report;
use crate::Outcome;
use crate::latency::Latencies;
use crate::process::{self, Server};
use crate::progress::Progress;
use crate::serve::{Service, VISITORS, WORK};
use crate::spin::Spin;
use crate::stop::Stop;

mod report;
mod requests;
mod visits;

/// What is offered, as multiples of what can be served.
const LOADS: [f64; 11] = [0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0];

/// A reply that comes later is of no use to anybody.
const DEADLINE: Duration = Duration::from_millis(100);

/// How long a visitor of the few stays.
const STAY: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the figures and the plot go
    #[arg(long, value_name = "DIR", default_value = "target/overload")]
    out: PathBuf,
    /// How long each step is
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(50..=60_000))]
    step_ms: u64,
    /// How often each step is made; the one of median goodput counts
    #[arg(long, value_name = "TIMES", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measures and draws, but does not fail where goodput or latency miss their bounds: for machines that are not quiet
    #[arg(long)]
    no_verdict: bool,
}

/// What became of one step.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Step {
    /// As a multiple of the capacity.
    load: f64,
    /// A second.
    offered: f64,
    /// Served within the deadline, a second.
    goodput: f64,
    /// In all: served within the deadline, served later, refused, and not answered by the end of the step and its deadline.
    served: u64,
    late: u64,
    refused: u64,
    unanswered: u64,
    /// Of what was served, from the moment at which it was due, in microseconds.
    served_p50: u64,
    served_p99: u64,
    /// From the same moment to the refusal.
    refused_p50: u64,
    refused_p99: u64,
    /// How late the load itself was, in 99 of 100 cases: near to the latencies, they would be its own.
    lag_p99: u64,
}

impl Step {
    /// With all that follows from its counts, of `total` offered in `span`, and from the latencies of what was served, of
    /// what was refused, and of the load itself.
    fn told(mut self, total: u64, span: Duration, [served, refused, lag]: [&Latencies; 3]) -> Self {
        self.unanswered = total - self.served - self.late - self.refused;
        self.goodput = self.served as f64 / span.as_secs_f64();
        (self.served_p50, self.served_p99) = quantiles(served);
        (self.refused_p50, self.refused_p99) = quantiles(refused);
        self.lag_p99 = quantiles(lag).1;
        self
    }
}

/// Where the steps run.
struct Ground {
    folder: tempfile::TempDir,
    cores: Option<(usize, usize)>,
    /// The work of a request: the same for all servers, on whatever the machine is doing when they start.
    work: Spin,
    stop: Stop,
}

impl Ground {
    fn server(&self, service: Service) -> Outcome<Server> {
        let work = ["--work".to_owned(), self.work.rounds().to_string()];
        Server::start(service, self.cores.map(|cores| cores.0), self.folder.path(), &work)
    }
}

/// Runs it. Whether all held.
pub(crate) fn run(args: &Args) -> Outcome<bool> {
    let stop = Stop::listen()?;
    process::raise_descriptors()?;
    std::fs::create_dir_all(&args.out)?;
    let cores = process::two_cores();
    // The servers choose their core themselves: what they are started by may keep to the other.
    cores.map_or(Ok(()), |(_, load)| process::pin(load))?;
    let work = Spin::lasting(WORK);
    let ground = Ground { folder: tempfile::tempdir()?, cores, work, stop };

    let span = Duration::from_millis(args.step_ms);
    let each = span.as_secs_f64() + 0.3;
    let mut progress =
        Progress::new((LOADS.len() as f64 * 3.0 + 1.0) * f64::from(args.rounds) * each);
    let mut capacities = Vec::new();
    for _ in 0..args.rounds {
        progress.begin("capacity", "", each);
        capacities.push(capacity(&ground, span)?);
    }
    let capacity = *median(&mut capacities, |capacity| *capacity);
    let mut sweep = |name: &str, can: f64, step: &mut dyn FnMut(f64) -> Outcome<Step>| {
        let mut made: Vec<Vec<Step>> = vec![Vec::new(); LOADS.len()];
        // Round by round, so that a bad minute of the machine spoils no load in all of them.
        for round in 1..=args.rounds {
            for (load, made) in LOADS.into_iter().zip(&mut made) {
                if ground.stop.is_asked() {
                    break;
                }
                let what = format!("{load} times what can be served, round {round}");
                progress.begin(name, &what, each);
                made.push(Step { load, offered: load * can, ..step(load * can)? });
            }
        }
        made.retain(|made| !made.is_empty());
        let medians = made.iter_mut().map(|made| *median(made, |step| step.goodput));
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(medians.collect())
    };
    let refusing = sweep("requests, refused", capacity, &mut |rate| {
        on(&ground, Service::Refusing, |server| requests::offer(server.addr, rate, span))
    })?;
    let patient = sweep("requests, not refused", capacity, &mut |rate| {
        on(&ground, Service::Patient, |server| requests::offer(server.addr, rate, span))
    })?;
    let room = VISITORS as f64 / STAY.as_secs_f64();
    let visits = sweep("connections", room, &mut |rate| {
        on(&ground, Service::Visits, |server| visits::offer(server.addr, rate, span))
    })?;
    progress.end();

    let report = Report::new(args, cores.is_some(), capacity, room, [refusing, patient, visits]);
    report.write(&args.out)?;
    print!("{}", report.table());
    println!("\nraw figures and plot: {}", args.out.display());
    Ok(report.holds() || args.no_verdict)
}

/// The one in the middle of what there is, which is not nothing; of an even number, the lower.
fn median<T>(of: &mut [T], by: impl Fn(&T) -> f64) -> &T {
    of.sort_by(|left, right| by(left).total_cmp(&by(right)));
    &of[(of.len() - 1) / 2]
}

/// Runs a step on a fresh server. One that is still busy with the past is not waited for.
fn on<T>(
    ground: &Ground,
    service: Service,
    step: impl FnOnce(&Server) -> Outcome<T>,
) -> Outcome<T> {
    let server = ground.server(service)?;
    let done = step(&server)?;
    drop(server);
    Ok(done)
}

/// Requests a second that are served when there are always some to serve, by the server that refuses none.
fn capacity(ground: &Ground, span: Duration) -> Outcome<f64> {
    on(ground, Service::Patient, |server| requests::closed_loop(server.addr, span))
}

/// The middle one, and the one that 99 of 100 do not exceed, in microseconds.
fn quantiles(latencies: &Latencies) -> (u64, u64) {
    (latencies.quantile(0.5), latencies.quantile(0.99))
}
