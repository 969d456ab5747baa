//! The ground that attacks stand on: their size, their turn, what a process under attack costs, and how figures are told.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{PATIENCE, now};

/// Of a figure to reach, what a small run on a busy machine may need.
const BROKEN: f64 = 10.0;

/// Whether attacks have their full size, and figures must be reached.
pub(crate) fn full() -> bool {
    std::env::var_os("WHEELHOUSE_FULL").is_some_and(|value| value != "0")
}

/// The small size, or the full one.
pub(crate) fn size<T>(small: T, large: T) -> T {
    if full() { large } else { small }
}

/// The seed of this run: `WHEELHOUSE_SEED`, or one of chance. It is printed.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("WHEELHOUSE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: WHEELHOUSE_SEED={seed}");
    seed
}

/// Attacks measure, so they go one after another; and they need descriptors.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptors();
    turn
}

/// As many descriptors as the system allows.
pub(crate) fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the hard limit");
}

/// Lets time pass, where its passing is the fault or its pace; never to wait for something.
pub(crate) fn pass(span: Duration) {
    let until = now() + span;
    while let Some(left) = until.checked_duration_since(now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// Looks every few milliseconds until `done`, at what tells of no change.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = now() + PATIENCE;
    while !done() {
        assert!(now() < give_up, "it never came: {what}");
        pass(Duration::from_millis(5));
    }
}

/// Says what a test leaves out, past the harness, which keeps to itself what a test that passes prints.
fn leave_out(why: impl Display) {
    // An error: nobody hears it.
    drop(writeln!(io::stderr(), "left out: {why}"));
}

/// Whether the machine has a program; says so if not.
pub(crate) fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    });
    if !found {
        leave_out(format_args!("there is no {program} here"));
    }
    found
}

/// Whether a command succeeds; says what it lacked if not.
pub(crate) fn works(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            leave_out(format_args!("{command:?}: {}", why.trim_end()));
            false
        }
        Err(error) => {
            leave_out(format_args!("{command:?}: {error}"));
            false
        }
    }
}

// Figures.

/// The figures of one attack, printed as they come.
#[must_use = "the figures that were missed are told by `finish`"]
pub(crate) struct Figures {
    attack: &'static str,
    missed: Vec<String>,
}

impl Figures {
    pub(crate) fn of(attack: &'static str) -> Self {
        println!("[{attack}] {} size", if full() { "full" } else { "small" });
        Self { attack, missed: Vec::new() }
    }

    pub(crate) fn tell(&self, what: &str, figure: impl Display) {
        println!("[{}] {what}: {figure}", self.attack);
    }

    /// A figure with one to reach. Missed ones end a full run when all is told, and a small one where it is beyond reason.
    #[track_caller]
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, goal: f64, unit: &str) {
        let verdict = if figure <= goal { "reached" } else { "MISSED" };
        self.tell(what, format_args!("{figure:.2} {unit} (at most {goal} {unit}: {verdict})"));
        if figure > goal {
            self.missed.push(format!("{what}: {figure:.2} {unit}, over {goal} {unit}"));
        }
        assert!(full() || figure <= goal * BROKEN, "{what}: {figure:.2} {unit}, not {goal} {unit}");
    }

    /// Fails a full run that missed a figure.
    pub(crate) fn finish(self) {
        let missed = self.missed.join("; ");
        assert!(!full() || self.missed.is_empty(), "{} missed: {missed}", self.attack);
    }
}

pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// How long answers took.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn note(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The latency that `share` of all (0.99, say) did not exceed.
    pub(crate) fn quantile(&mut self, share: f64) -> Duration {
        assert!(!self.0.is_empty(), "nothing was answered");
        self.0.sort_unstable();
        let at = ((self.0.len() - 1) as f64 * share).ceil() as usize;
        self.0[at]
    }

    pub(crate) fn summary(&mut self) -> String {
        let [half, most, max] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        format!("p50 {half:.1?}, p99 {most:.1?}, max {max:.1?} of {}", self.count())
    }
}

// Processes.

/// A process, as the kernel sees it.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// Time on a processor, of all its threads.
    pub(crate) fn cpu(self) -> Duration {
        let spent = |text: String| text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        Duration::from_nanos(self.threads("schedstat").filter_map(spent).sum())
    }

    /// How often its threads went to sleep.
    pub(crate) fn sleeps(self) -> u64 {
        self.threads("status").filter_map(|text| field(&text, "voluntary_ctxt_switches:")).sum()
    }

    fn threads(self, name: &'static str) -> impl Iterator<Item = String> {
        let tasks = fs::read_dir(self.file("task")).expect("a process that runs");
        tasks.filter_map(move |task| fs::read_to_string(task.ok()?.path().join(name)).ok())
    }

    /// Memory in use, in bytes.
    pub(crate) fn memory(self) -> u64 {
        let status = fs::read_to_string(self.file("status")).expect("a process that runs");
        field(&status, "VmRSS:").expect("its memory") * 1024
    }

    /// Descriptors open, once they have been as many for a while, and it has slept.
    #[track_caller]
    pub(crate) fn rested(self) -> usize {
        let give_up = now() + PATIENCE;
        let mut before = usize::MAX;
        loop {
            assert!(now() < give_up, "it never came to rest: {before} descriptors");
            let (count, sleeps) = (self.descriptors(), self.sleeps());
            if count == before && sleeps > 0 {
                return count;
            }
            before = count;
            pass(Duration::from_millis(100));
        }
    }

    /// Descriptors open.
    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(self.file("fd")).expect("a process that runs").count()
    }

    /// The share of one processor, and the sleeps a second, that it needs while `work` runs; then what that returned.
    pub(crate) fn cost_of<T>(self, work: impl FnOnce() -> T) -> (Cost, T) {
        let (began, cpu, sleeps): (Instant, _, _) = (now(), self.cpu(), self.sleeps());
        let done = work();
        let seconds = began.elapsed().as_secs_f64();
        let cost = Cost {
            percent: (self.cpu() - cpu).as_secs_f64() / seconds * 100.0,
            sleeps: (self.sleeps() - sleeps) as f64 / seconds,
        };
        (cost, done)
    }
}

/// What a process cost for a while.
pub(crate) struct Cost {
    /// Of one processor.
    pub(crate) percent: f64,
    /// In a second.
    pub(crate) sleeps: f64,
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
