//! What can be counted: user instructions by callgrind, system calls by strace.
//!
//! Each is counted over a short and a long run and the one is taken from the other, so that start and end cancel out.
//! Such figures are the same on a busy machine, and nearly the same on another one with the same toolchain. The load waits
//! until the server sleeps before it sends: under these tools a server is so slow that its next message would be there
//! before it looks, and whoever reads once more before it sleeps would never be seen to sleep.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::load;
use crate::machine::{Machine, is_there};
use crate::peers::Peer;
use crate::plan::Cell;
use crate::process::Server;

/// Messages of the two runs under callgrind: so many that what is done once for each 64 KiB is counted several times.
const INSTRUCTIONS: [usize; 2] = [1_024, 6_144];

/// The same where many connections are opened first: that never takes quite the same number of turns, which has to vanish
/// beside the messages.
const INSTRUCTIONS_IN_A_CROWD: [usize; 2] = [1_024, 21_504];

/// Messages of the two runs under strace, which slows each call down a hundredfold.
const CALLS: [usize; 2] = [512, 2_560];

/// What a message costs one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) peer: Peer,
    /// User instructions for each message; `None` where callgrind is not there.
    pub(crate) instructions: Option<f64>,
    /// System calls for each message, by name; `None` where strace is not there.
    pub(crate) calls: Option<BTreeMap<String, f64>>,
}

impl Counts {
    pub(crate) fn calls_in_all(&self) -> Option<f64> {
        Some(self.calls.as_ref()?.values().sum())
    }
}

/// What could be counted, and why the rest could not.
pub(crate) fn count(cell: &Cell, peer: Peer, machine: &Machine) -> (Counts, Vec<String>) {
    let mut failures = Vec::new();
    let mut instructions = None;
    let mut calls = None;
    if is_there(&machine.valgrind) {
        match self::instructions(cell, peer) {
            Ok(count) => instructions = Some(count),
            Err(error) => failures.push(format!("no instructions: {error}")),
        }
    }
    // Opening many connections takes now more calls, now fewer, by thousands: no difference of two runs is exact.
    if is_there(&machine.strace) && cell.connections == 1 {
        match self::calls(cell, peer) {
            Ok(table) => calls = Some(table),
            Err(error) => failures.push(format!("no system calls: {error}")),
        }
    }
    (Counts { peer, instructions, calls }, failures)
}

/// User instructions for each message.
pub(crate) fn instructions(cell: &Cell, peer: Peer) -> Outcome<f64> {
    if peer == Peer::MonoioUring {
        return Err("valgrind has no io_uring: a server over it never answers".into());
    }
    let run = |messages| -> Outcome<f64> {
        let mut tool = Command::new("valgrind");
        tool.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        let said = run_under(tool, cell, peer, messages)?;
        let line = said.lines().rfind(|line| line.contains("Collected"));
        let count = line.and_then(|line| line.split_whitespace().last());
        Ok(count.ok_or_else(|| format!("callgrind collected nothing: {said}"))?.parse()?)
    };
    difference(if cell.connections > 1 { INSTRUCTIONS_IN_A_CROWD } else { INSTRUCTIONS }, run)
}

/// System calls for each message, by name, those of less than one in a hundred messages left out.
fn calls(cell: &Cell, peer: Peer) -> Outcome<BTreeMap<String, f64>> {
    let run = |messages| -> Outcome<BTreeMap<String, u64>> {
        let mut tool = Command::new("strace");
        tool.args(["-c", "-f", "-U", "calls,name"]);
        Ok(table(&run_under(tool, cell, peer, messages)?))
    };
    let [short, long] = [run(CALLS[0])?, run(CALLS[1])?];
    let messages = (CALLS[1] - CALLS[0]) as f64;
    let each = |(name, calls): (String, u64)| {
        let before = short.get(&name).copied().unwrap_or(0);
        let each = calls.saturating_sub(before) as f64 / messages;
        (each >= 0.01).then_some((name, each))
    };
    Ok(long.into_iter().filter_map(each).collect())
}

/// One server, one load, one tool; what the tool had to say.
fn run_under(tool: Command, cell: &Cell, peer: Peer, messages: usize) -> Outcome<String> {
    let server = Server::start_as_its_last_arguments(tool, peer, cell.work)?;
    match load::count(cell, &server, messages) {
        Ok(()) => server.stop(),
        Err(error) => Err(server.post_mortem(&error).into()),
    }
}

fn difference(
    [short, long]: [usize; 2],
    mut run: impl FnMut(usize) -> Outcome<f64>,
) -> Outcome<f64> {
    let of_short = run(short)?;
    let each = (run(long)? - of_short) / (long - short) as f64;
    if each <= 0.0 {
        return Err(format!("{short} messages cost more than {long}").into());
    }
    Ok(each)
}

/// Reads strace's table of two columns.
fn table(said: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (calls, name) = (words.next()?.parse().ok()?, words.next()?);
        (name != "total" && words.next().is_none()).then(|| (name.to_owned(), calls))
    };
    said.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_strace_is_read() {
        let said = "strace: Process 7 attached\n    calls syscall\n--------- ----------------\n      330 recvfrom\n\
                    \x20       1 exit_group\n--------- ----------------\n      331 total\n";
        let expected = [("recvfrom".to_owned(), 330), ("exit_group".to_owned(), 1)];
        assert_eq!(table(said), BTreeMap::from(expected));
    }

    #[test]
    fn start_and_end_cancel_out() {
        let each = difference([10, 60], |messages| Ok(5_000.0 + (messages * 55) as f64));
        assert_eq!(each.expect("a count"), 55.0);
    }
}
