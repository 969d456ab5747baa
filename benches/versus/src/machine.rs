//! What it ran on: the machine, the system, the toolchain, and which version of each peer.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::os;
use crate::peers::Peer;

/// The versions that this very program was built with.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Where this package lies, from wherever it is run.
const HOME: &str = env!("CARGO_MANIFEST_DIR");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpu_flags: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) clock_source: String,
    pub(crate) rustc: String,
    /// `release`, or that it was not.
    pub(crate) build: String,
    /// The commit that it was built from, where git tells.
    pub(crate) commit: String,
    /// Seconds since 1970 at the beginning.
    pub(crate) began_at: u64,
    /// The load average at the beginning, as the system gives it: who else was there.
    pub(crate) load_average: String,
    pub(crate) valgrind: String,
    pub(crate) strace: String,
    pub(crate) versions: BTreeMap<String, String>,
    /// The core of the servers and that of the loads; `None` where there is one core for both.
    pub(crate) pinned: Option<Cores>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Machine {
    pub(crate) fn look() -> Outcome<Self> {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let cores = os::cores()?;
        let pinned = match cores[..] {
            [server, load, ..] => Some(Cores { server, load }),
            _ => None,
        };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            kernel: [uname.sysname(), uname.release(), uname.machine()].map(text).join(" "),
            cpu: cpuinfo("model name"),
            cpu_flags: cpuinfo("flags"),
            cores: cores.len(),
            memory_mib: memory_mib(),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            rustc: first_line("rustc", &["--version"]),
            build: if cfg!(debug_assertions) { "debug: figures of no use" } else { "release" }
                .into(),
            commit: first_line(
                "git",
                &["-C", HOME, "describe", "--always", "--dirty", "--abbrev=10"],
            ),
            began_at: since.as_secs(),
            load_average: read("/proc/loadavg"),
            valgrind: first_line("valgrind", &["--version"]),
            strace: first_line("strace", &["--version"]),
            versions: versions(),
            pinned,
        })
    }
}

const ABSENT: &str = "absent";

/// What a program says of itself; `absent` where it is not there.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let said = output.ok().filter(|output| output.status.success());
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.and_then(|said| said.lines().next().map(str::to_owned)).unwrap_or_else(|| ABSENT.into())
}

pub(crate) fn is_there(said: &str) -> bool {
    said != ABSENT
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| ABSENT.into(), |text| text.trim().to_owned())
}

/// The first line of that name.
fn cpuinfo(name: &str) -> String {
    field(&read("/proc/cpuinfo"), name).unwrap_or_else(|| ABSENT.into())
}

fn memory_mib() -> u64 {
    let kib = field(&read("/proc/meminfo"), "MemTotal");
    kib.and_then(|kib| kib.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1_024)
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The peers' packages and those beneath them that matter.
fn versions() -> BTreeMap<String, String> {
    let mut wanted: Vec<&str> = Peer::ALL.into_iter().filter_map(Peer::package).collect();
    wanted.extend(["bytes", "io-uring", "mio", "tokio-util", "tungstenite"]);
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for (name, version) in locked(LOCK).filter(|(name, _)| wanted.contains(name)) {
        let all = versions.entry(name.to_owned()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(version);
    }
    versions
}

/// The names and versions in a `Cargo.lock`.
fn locked(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]").skip(1).filter_map(|package| {
        let value = |key| package.lines().find(|line| line.starts_with(key))?.split('"').nth(1);
        Some((value("name = ")?, value("version = ")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_have_versions() {
        let versions = versions();
        for peer in Peer::ALL {
            let Some(package) = peer.package() else { continue };
            assert!(versions.contains_key(package), "{package} in {versions:?}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        assert_eq!(field("flagship: x\nflags\t: fpu vme\n", "flags"), Some("fpu vme".into()));
        assert_eq!(field("flagship: x\n", "flags"), None);
    }
}
