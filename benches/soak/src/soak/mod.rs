//! The soak: servers, peers, a sample now and then, and a verdict.
//!
//! What peers do is in `peers/`; what they share in `field.rs`; what is written in `report.rs`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::field::{Count, Field, Latency, Timed};
use self::peers::Servers;
use self::report::Report;
use crate::Outcome;
use crate::latency::Latencies;
use crate::process::{self, Server, Usage};
use crate::progress::Progress;
use crate::serve::Service;
use crate::stop::Stop;
use crate::verdict::{self, Check};

mod field;
mod peers;
mod report;

const SERVICES: [Service; 3] = [Service::Lines, Service::Length, Service::Chat];

/// The part of the run that memory takes to become what it will be, and that the line through it leaves out.
const WARM_UP: f64 = 0.25;

/// What a server's memory may grow in a run of minutes, in KiB: a page of its allocator or two; and for the chat, the page
/// cache of SQLite, which takes some ten minutes to fill to its 2 MiB.
fn grain(service: Service) -> f64 {
    if service == Service::Chat { 2_560.0 } else { 512.0 }
}

/// How long descriptors may take to be as many as before, when all peers have gone.
const RETURN: Duration = Duration::from_secs(60);

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    minutes: f64,
    /// Where the figures and the plot go
    #[arg(long, value_name = "DIR", default_value = "target/soak")]
    out: PathBuf,
    /// What peers do by chance [default: by chance]
    #[arg(long)]
    seed: Option<u64>,
    /// The most that a server's memory may grow, once it is warm
    #[arg(long, value_name = "KIB/H", default_value_t = 1024.0)]
    slope: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1e5 => Ok(number),
        _ => Err("a number of minutes is wanted, over 0 and up to 100000".into()),
    }
}

/// What was seen at one moment, or since the one before.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    at: f64,
    /// By server, in the order of `SERVICES`.
    resident_kib: [u64; 3],
    descriptors: [u64; 3],
    /// Of one processor.
    cpu: [f64; 3],
    load_cpu: f64,
    /// Connections, as the peers count them.
    connections: i64,
    /// In the order of `Timed::ALL`, in microseconds.
    latency: [Latency; 3],
    /// All that were counted so far, in the order of `Count::ALL`.
    counts: [u64; Count::ALL.len()],
    errors: u64,
}

/// Runs it. Whether all held.
pub(crate) fn run(args: &Args) -> Outcome<bool> {
    let stop = Stop::listen()?;
    process::raise_descriptors()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: --seed {seed}");
    std::fs::create_dir_all(&args.out)?;
    let folder = tempfile::tempdir()?; // on the same disk as other temporary files
    let start = |service| Server::start(service, None, folder.path(), &[]);
    let servers = [start(SERVICES[0])?, start(SERVICES[1])?, start(SERVICES[2])?];
    let before = rested(&servers)?;

    let field = Arc::new(Field::new()?);
    let [lines, length, chat] = [0, 1, 2].map(|at: usize| servers[at].addr);
    let threads = peers::start(&field, Servers { lines, length, chat }, seed)?;
    let mut watch = Watch::begin(args, &field, &servers)?;
    let watched = watch.until_the_end(&stop);
    let (all, mut samples) = (watch.all, watch.samples);
    field.end();
    join(threads, &field);
    watched?;

    let mut checks = returned(&servers, before)?;
    let stopped = servers.map(|server| (server.service, server.stop()));
    for (service, stopped) in stopped {
        let (found, holds) = match stopped {
            Ok(said) => (said, true),
            Err(error) => (error.to_string(), false),
        };
        let what = format!("the stop of {}", service.name());
        checks.push(Check::new(what, found, "by itself, without a panic", holds));
    }
    if let Some(last) = samples.last_mut() {
        last.counts = counts(&field); // with what came to its end after the last sample
        last.errors = field.wrong();
    }
    let report = Report::new(args, seed, samples, &all, field.errors(), checks);
    report.write(&args.out)?;
    print!("{}", report.table());
    println!("\nraw figures and plot: {}", args.out.display());
    Ok(report.holds())
}

fn counts(field: &Field) -> [u64; Count::ALL.len()] {
    Count::ALL.map(|(what, _)| field.counted(what))
}

fn join(threads: Vec<JoinHandle<()>>, field: &Field) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            field.error(&name, "it panicked");
        }
    }
}

fn descriptors(servers: &[Server; 3]) -> Outcome<[u64; 3]> {
    let mut counts = [0; 3];
    for (server, count) in servers.iter().zip(&mut counts) {
        *count = server.usage()?.descriptors;
    }
    Ok(counts)
}

/// The descriptors of servers that have nothing to do, once they have been as many for a while.
fn rested(servers: &[Server; 3]) -> Outcome<[u64; 3]> {
    let mut before = descriptors(servers)?;
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = descriptors(servers)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

/// Whether the descriptors are as many again as before, by server.
fn returned(servers: &[Server; 3], before: [u64; 3]) -> Outcome<Vec<Check>> {
    let begun = Instant::now();
    let mut now = descriptors(servers)?;
    while now.iter().zip(before).any(|(now, before)| *now > before) && begun.elapsed() < RETURN {
        thread::sleep(Duration::from_millis(50));
        now = descriptors(servers)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let check = |(at, service): (usize, &Service)| {
        let what = format!("descriptors of {}", service.name());
        let found = format!("{} {took:.1} s after the last peer", now[at]);
        Check::new(what, found, format!("{} as at the start", before[at]), now[at] <= before[at])
    };
    Ok(SERVICES.iter().enumerate().map(check).collect())
}

/// The one who looks on.
struct Watch<'a> {
    field: &'a Field,
    servers: &'a [Server; 3],
    begun: Instant,
    span: Duration,
    each: Duration,
    /// Processor time of each server and of this process, and when that was.
    before: ([Duration; 4], Instant),
    samples: Vec<Sample>,
    all: [Latencies; 3],
    csv: File,
}

impl<'a> Watch<'a> {
    fn begin(args: &Args, field: &'a Field, servers: &'a [Server; 3]) -> Outcome<Self> {
        let mut csv = File::create(args.out.join("samples.csv"))?;
        writeln!(csv, "{}", report::csv_heading())?;
        let span = Duration::from_secs_f64(args.minutes * 60.0);
        let each = match span.as_secs() {
            ..30 => span / 12,
            _ => (span / 720).clamp(Duration::from_secs(1), Duration::from_secs(10)),
        };
        let begun = Instant::now();
        let before = (cpu(servers)?, begun);
        let all = [Latencies::new()?, Latencies::new()?, Latencies::new()?];
        Ok(Self { field, servers, begun, span, each, before, samples: Vec::new(), all, csv })
    }

    /// Samples, until the time is over or somebody asks for the end.
    fn until_the_end(&mut self, stop: &Stop) -> Outcome<()> {
        let mut progress = Progress::new(self.span.as_secs_f64());
        let mut due = self.begun;
        while self.begun.elapsed() < self.span && !stop.is_asked() {
            due = (due + self.each).max(Instant::now()); // not all at once after a stop of the machine
            while Instant::now() < due && !stop.is_asked() {
                let left = due.saturating_duration_since(Instant::now());
                thread::sleep(left.min(Duration::from_millis(100)));
            }
            let sample = self.sample()?;
            writeln!(self.csv, "{}", report::csv_line(&sample))?;
            progress.begin("soak", &report::glance(&sample), self.each.as_secs_f64());
            self.samples.push(sample);
        }
        progress.end();
        Ok(())
    }

    fn sample(&mut self) -> Outcome<Sample> {
        let mut usages = Vec::new();
        for server in self.servers {
            usages.push(server.usage()?);
        }
        let now = (cpu(self.servers)?, Instant::now());
        let seconds = now.1.duration_since(self.before.1).as_secs_f64().max(1e-6);
        let share = |at: usize| (now.0[at] - self.before.0[at]).as_secs_f64() / seconds;
        let sample = Sample {
            at: self.begun.elapsed().as_secs_f64(),
            resident_kib: [0, 1, 2].map(|at: usize| usages[at].resident_kib),
            descriptors: [0, 1, 2].map(|at: usize| usages[at].descriptors),
            cpu: [0, 1, 2].map(share),
            load_cpu: share(3),
            connections: self.field.open(),
            latency: self.field.take_latencies(&mut self.all)?,
            counts: counts(self.field),
            errors: self.field.wrong(),
        };
        self.before = now;
        Ok(sample)
    }
}

fn cpu(servers: &[Server; 3]) -> Outcome<[Duration; 4]> {
    let mut cpu = [Duration::ZERO; 4];
    for (server, cpu) in servers.iter().zip(&mut cpu) {
        *cpu = server.usage()?.cpu;
    }
    cpu[3] = Usage::of(std::process::id())?.cpu;
    Ok(cpu)
}

/// What has to hold of the samples.
fn judge(samples: &[Sample], all: &[Latency; 3], slope: f64) -> Vec<Check> {
    let end = samples.last().map_or(0.0, |last| last.at);
    let warm: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= end * WARM_UP).collect();
    let mut checks: Vec<Check> = SERVICES
        .iter()
        .enumerate()
        .map(|(at, service)| {
            let point = |sample: &&Sample| (sample.at / 3600.0, sample.resident_kib[at] as f64);
            let points: Vec<_> = warm.iter().map(point).collect();
            verdict::memory(service.name(), &points, slope, grain(*service))
        })
        .collect();
    let errors = samples.last().map_or(0, |last| last.errors);
    checks.push(Check::new("errors", errors.to_string(), "none", errors == 0));
    for ((_, name), latency) in Timed::ALL.iter().zip(all) {
        let found = format!("{}, max {:.1} ms", latency.count, latency.max as f64 / 1e3);
        checks.push(Check::new(format!("replies, {name}"), found, "some", latency.count > 0));
    }
    checks
}
