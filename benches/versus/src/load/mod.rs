//! The load: one thread, one epoll, every reply verified. A process of its own for each server.
//!
//! It is told what to do line by line (`round MILLISECONDS`) and answers each with a line of JSON. It reads the server's
//! CPU clock at the beginning and at the end of a round, so that nothing but the round's messages lies between.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use self::connection::Connection;
use self::wire::Wire;
use crate::plan::{Cell, Scenario, Work};
use crate::process::Server;
use crate::{Outcome, os};

mod broadcast;
mod churn;
mod closed;
mod connection;
pub(crate) mod idle;
mod open;
#[cfg(test)]
mod tests;
mod wire;

/// A server that says nothing for so long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the load looks for news before it looks at the clock.
const LOOKS: usize = 10_000;

/// Connections that are opened before the server is asked whether it has them all: less than its backlog.
const AT_ONCE: usize = 256;

/// The longest time that a latency can have: two minutes, in nanoseconds.
const LONGEST_LATENCY: u64 = 120_000_000_000;

/// What the poll tells of a connection that has asked for nothing.
const NOBODY: u64 = u64::MAX;

const BUFFER: usize = 256 * 1024;

/// What one round brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Answers; deliveries, in a broadcast; lives, in churn.
    pub(crate) messages: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) server_cpu_ns: u64,
    pub(crate) load_cpu_ns: u64,
    /// The server's memory after the round, in bytes.
    pub(crate) resident: u64,
    /// How often each latency was seen, in nanoseconds to three digits.
    pub(crate) latencies: Vec<(u64, u64)>,
}

/// What a kind of load counts.
struct Tally {
    messages: u64,
    latencies: Histogram<u64>,
}

impl Tally {
    fn new() -> Outcome<Self> {
        Ok(Self { messages: 0, latencies: Histogram::new_with_bounds(1, LONGEST_LATENCY, 3)? })
    }

    #[inline]
    fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_LATENCY);
        self.latencies.saturating_record(nanos.max(1));
    }
}

/// Connections, all of one server, and the poll that watches them.
struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Those that are there and have no more to say.
    _silent: Vec<Connection>,
    wire: Wire,
    buffer: Vec<u8>,
}

impl Load {
    /// Opens the connections, and has each echo a batch: the server has accepted all of them.
    fn connect(cell: &Cell, port: u16) -> Outcome<Self> {
        let mut wire = Wire::new(cell.work, cell.payload, cell.pipeline);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections: Vec<Connection> = Vec::with_capacity(cell.connections);
        while connections.len() < cell.connections {
            let from = connections.len();
            for number in from..cell.connections.min(from + AT_ONCE) {
                connections.push(Connection::open(port, cell.work, u32::try_from(number)?)?);
            }
            match cell.work {
                Work::Broadcast => speak(&mut connections, &mut wire)?,
                _ => connections[from..].iter_mut().try_for_each(|one| one.echo(&mut wire))?,
            }
        }
        if let (Work::Broadcast, [speaker, others @ ..]) = (cell.work, &mut connections[..]) {
            others.iter_mut().for_each(|other| other.listen_to(speaker));
        }
        let (connections, silent) = parted(cell, connections);
        for (number, connection) in connections.iter().enumerate() {
            connection.set_nonblocking()?;
            let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, connection, epoll::EventData::new_u64(number as u64), interest)?;
        }
        // News of these are news of a fault.
        for connection in &silent {
            let nobody = epoll::EventData::new_u64(NOBODY);
            epoll::add(&epoll, connection, nobody, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        }
        let buffer = vec![0; BUFFER];
        Ok(Self { epoll, connections, _silent: silent, wire, buffer })
    }
}

/// Those that speak, and those that do not.
fn parted(cell: &Cell, all: Vec<Connection>) -> (Vec<Connection>, Vec<Connection>) {
    let (active, silent): (Vec<_>, Vec<_>) =
        all.into_iter().enumerate().partition(|(number, _)| cell.is_active(*number));
    let alone = |(_, connection)| connection;
    (active.into_iter().map(alone).collect(), silent.into_iter().map(alone).collect())
}

/// The last connection speaks, and all hear it: as newcomers are accepted in order, the server has them all.
fn speak(connections: &mut [Connection], wire: &mut Wire) -> Outcome<()> {
    let Some(last) = connections.len().checked_sub(1) else { return Ok(()) };
    connections[last].speak(wire)?;
    let said = connections[last].said();
    connections.iter_mut().try_for_each(|one| one.hear(said, wire))
}

/// Looks for news, and does not sleep where there is none: the load's core is its own.
///
/// So a server never pays for waking its clients' thread, as it would not where the clients are other machines; and what
/// it costs to wake the server does not depend on whether the load was asleep.
#[inline]
fn look(epoll: &OwnedFd, events: &mut Vec<epoll::Event>) -> Outcome<()> {
    events.clear();
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), Some(&none)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Looks until there is news.
///
/// # Errors
///
/// When there is none for too long. It is CPU time that is counted, so that nothing happens while all is paused.
fn await_news(epoll: &OwnedFd, events: &mut Vec<epoll::Event>) -> Outcome<()> {
    let own = std::process::id();
    let mut begun = None;
    loop {
        for _ in 0..LOOKS {
            look(epoll, events)?;
            if !events.is_empty() {
                return Ok(());
            }
        }
        let spent = os::cpu_nanos(own)?;
        if Duration::from_nanos(spent - *begun.get_or_insert(spent)) > PATIENCE {
            return Err(format!("the server said nothing for {PATIENCE:?}").into());
        }
    }
}

fn events() -> Vec<epoll::Event> {
    Vec::with_capacity(1_024)
}

/// Obeys the lines of stdin until it ends.
pub(crate) fn drive(cell: &Cell, port: u16, pid: u32) -> Outcome<()> {
    let mut load = match cell.scenario {
        Scenario::Churn => None,
        _ => Some(Load::connect(cell, port)?),
    };
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some(length) = line.strip_prefix("round ").and_then(|ms| ms.parse().ok()) else {
            return Err(format!("no such order: {line}").into());
        };
        let length = Duration::from_millis(length);
        let round = measured(pid, || match (cell.scenario, &mut load) {
            (Scenario::Churn, _) | (_, None) => churn::round(cell, port, length),
            (Scenario::Latency, Some(load)) => open::round(load, cell.rate, length),
            (Scenario::Broadcast, Some(load)) => broadcast::round(load, length),
            (_, Some(load)) => closed::round(load, length),
        })?;
        writeln!(out, "{}", serde_json::to_string(&round)?)?;
        out.flush()?;
    }
    Ok(())
}

/// Runs a round between two looks at the clocks.
fn measured(pid: u32, round: impl FnOnce() -> Outcome<Tally>) -> Outcome<Round> {
    let own = std::process::id();
    let (server, load, begun) = (os::cpu_nanos(pid)?, os::cpu_nanos(own)?, Instant::now());
    let tally = round()?;
    let elapsed_ns = u64::try_from(begun.elapsed().as_nanos())?;
    let server_cpu_ns = os::cpu_nanos(pid)? - server;
    let load_cpu_ns = os::cpu_nanos(own)? - load;
    let seen = tally.latencies.iter_recorded();
    Ok(Round {
        messages: tally.messages,
        elapsed_ns,
        server_cpu_ns,
        load_cpu_ns,
        resident: os::resident(pid)?,
        latencies: seen
            .map(|one| (one.value_iterated_to(), one.count_since_last_iteration()))
            .collect(),
    })
}

/// Sends `messages`, on each active connection in turn, batch by batch, each when the server sleeps: the same steps every
/// time.
pub(crate) fn count(cell: &Cell, server: &Server, messages: usize) -> Outcome<()> {
    let mut wire = Wire::new(cell.work, cell.payload, cell.pipeline);
    let mut all = Vec::with_capacity(cell.connections);
    for number in 0..cell.connections {
        let mut connection = Connection::open(server.port, cell.work, u32::try_from(number)?)?;
        connection.echo(&mut wire)?;
        all.push(connection);
    }
    let (mut active, _silent) = parted(cell, all);
    let places = (0..active.len()).cycle();
    for (_, place) in (0..messages / cell.pipeline).zip(places) {
        let begun = Instant::now();
        while !os::is_asleep(server.pid)? {
            if begun.elapsed() > PATIENCE {
                return Err(format!("the server has not slept for {PATIENCE:?}").into());
            }
        }
        active[place].echo(&mut wire)?;
    }
    Ok(())
}
