//! Servers as child processes, and what the kernel says of them: memory, descriptors, time on a processor.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;
use crate::serve::Service;

/// A server that has not ended so long after it was asked to is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server under way. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) addr: SocketAddr,
    child: Child,
    out: BufReader<ChildStdout>,
    complaints: PathBuf,
}

impl Server {
    /// Starts it, and returns when it listens. What it says on stderr goes to a file in `directory`.
    pub(crate) fn start(
        service: Service,
        core: Option<usize>,
        directory: &Path,
        arguments: &[String],
    ) -> Outcome<Self> {
        fs::create_dir_all(directory)?;
        let complaints = directory.join(format!("{}.log", service.name()));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", service.name(), "--directory"]).arg(directory).args(arguments);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        // A group of its own: Ctrl-C is for the run, which then stops the server in its own time.
        command.process_group(0).env("RUST_LOG", "error").env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&complaints)?);
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("the server's output is not piped")?;
        let mut out = BufReader::new(out);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let Some(addr) = address(&line) else {
            drop(child.kill());
            child.wait()?;
            let said = fs::read_to_string(&complaints)?;
            return Err(format!("{} does not listen: {}", service.name(), said.trim()).into());
        };
        Ok(Self { service, addr, child, out, complaints })
    }

    pub(crate) fn usage(&self) -> Outcome<Usage> {
        let name = self.service.name();
        Usage::of(self.child.id()).map_err(|error| format!("{name} has gone: {error}").into())
    }

    /// Stops it, and returns its last words. An error where it does not end by itself and well, or has panicked.
    pub(crate) fn stop(mut self) -> Outcome<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let name = self.service.name();
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => {
                    return Err(format!("{name} does not stop within {PATIENCE:?}").into());
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut said = String::new();
        self.out.read_to_string(&mut said)?;
        let complaints = fs::read_to_string(&self.complaints)?;
        if !status.success() || complaints.contains("panicked") {
            return Err(format!("{name}: {status}; {}", complaints.trim()).into());
        }
        Ok(said.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From a line such as `listening on http://127.0.0.1:8080`.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.trim().split_once("listening on ")?;
    rest.trim_start_matches("http://").parse().ok()
}

/// What a process has and had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
    /// On a processor, all its threads together, to a hundredth of a second.
    pub(crate) cpu: Duration,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let file = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let pages = fs::read_to_string(file("statm"))?;
        let resident: u64 = pages.split(' ').nth(1).ok_or("statm is too short")?.parse()?;
        let stat = fs::read_to_string(file("stat"))?;
        // The name is in brackets, and may hold anything.
        let (_, after_name) = stat.rsplit_once(") ").ok_or("stat has no name")?;
        let mut times = after_name.split(' ').skip(11).map(str::parse::<u64>);
        let mut ticks = || times.next().ok_or("stat is too short");
        let ticks = ticks()?? + ticks()??;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Self {
            resident_kib: resident * rustix::param::page_size() as u64 / 1024,
            descriptors: fs::read_dir(file("fd"))?.count() as u64,
            cpu: Duration::from_nanos(ticks * (1_000_000_000 / per_second)),
        })
    }
}

/// Keeps this thread, and those that it will start, on one core.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(core);
    let pinned = sched_setaffinity(None, &set);
    pinned.map_err(|error| format!("cannot be kept on core {core}: {error}").into())
}

/// A core for a server and one for the load on it, where there are two.
pub(crate) fn two_cores() -> Option<(usize, usize)> {
    let set = sched_getaffinity(None).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    Some((cores.next()?, cores.next()?))
}

/// As many descriptors as the system allows.
pub(crate) fn raise_descriptors() -> Outcome<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_servers_say_where_they_listen() {
        let expected = "127.0.0.1:80".parse().ok();
        assert_eq!(address("listening on 127.0.0.1:80\n"), expected);
        assert_eq!(address("listening on http://127.0.0.1:80\n"), expected);
        assert_eq!(address("no such address"), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let before = Usage::of(std::process::id()).expect("a process");
        let _file = File::open("/dev/null").expect("a file");
        let usage = Usage::of(std::process::id()).expect("a process");
        assert!(usage.resident_kib > 100, "{usage:?}");
        assert!(usage.descriptors > 2, "{before:?} {usage:?}");
    }
}
