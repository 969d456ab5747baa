//! The servers under test, each a process of its own: this program as `serve NAME`.
//!
//! Those of the soak have short deadlines, so that slow peers meet them often. Those of the overload take a known time for
//! each request, and differ in what they do with requests that are too many.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use rustix::process::{Signal, set_parent_process_death_signal};
use wheelhouse::codec::{FixedLengthCodec, LengthDelimitedCodec, LinesCodec, Protocol};
use wheelhouse::{Config, ConnectionId, Overload, Server, ServerRef};

use crate::Outcome;
use crate::process;
use crate::spin::Spin;

/// The longest line or frame of the echo servers, in bytes.
pub(crate) const LONGEST: usize = 16 * 1024;

/// How long the echo servers wait for the rest of a packet, and for a peer to take output.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// How long the chat waits for the rest of a packet: the library's default.
pub(crate) const CHAT_DEADLINE: Duration = Duration::from_secs(30);

/// How long the chat puts up with silence; well over half a minute, which the whole machine may stand still for.
pub(crate) const CHAT_IDLE: Duration = Duration::from_secs(45);

/// Connections at a time from one address, at each server of the soak.
pub(crate) const PER_ADDRESS: usize = 128;

/// Requests and replies of the overload, in bytes: a number, a verdict, and room.
pub(crate) const PACKET: usize = 16;

/// Where the verdict stands in a reply.
pub(crate) const VERDICT: usize = 8;
pub(crate) const SERVED: u8 = 1;
pub(crate) const BUSY: u8 = 2;

/// What one request costs the servers of the overload.
pub(crate) const WORK: Duration = Duration::from_micros(100);

/// The work that may wait; what would have to wait longer is refused.
pub(crate) const BUDGET: Duration = Duration::from_millis(20);

/// How long the server works before it looks at what has come meanwhile.
const SLICE: Duration = Duration::from_millis(2);

/// Connections that the server of the visits has room for.
pub(crate) const VISITORS: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Service {
    /// Echoes lines of text
    Lines,
    /// Echoes frames with their length in front
    Length,
    /// wheelhouse-chat, with its history in a file
    Chat,
    /// Works on each request, and refuses those that would wait too long
    Refusing,
    /// Works on each request as it comes
    Patient,
    /// Echoes, with room for few connections
    Visits,
}

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Length => "length",
            Self::Chat => "chat",
            Self::Refusing => "refusing",
            Self::Patient => "patient",
            Self::Visits => "visits",
        }
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    service: Service,
    /// For what it keeps
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    core: Option<usize>,
    /// The work of a request, as it was measured for all servers of the run
    #[arg(long, value_name = "ROUNDS", default_value_t = 0)]
    work: u64,
}

pub(crate) fn run(args: &Args) -> Outcome<()> {
    // It outlives `exec`, so the chat ends with the run as well.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    process::raise_descriptors()?;
    args.core.map_or(Ok(()), process::pin)?;
    match args.service {
        Service::Lines => echo(LinesCodec::new(LONGEST)),
        Service::Length => echo(LengthDelimitedCodec::new(LONGEST)),
        Service::Chat => chat(args),
        Service::Refusing => refusing(Spin::of(args.work)),
        Service::Patient => patient(Spin::of(args.work)),
        Service::Visits => visits(),
    }
}

fn announce(addr: SocketAddr) {
    println!("listening on {addr}");
}

fn config() -> Config {
    Config::default().stop_on_signals(Duration::from_secs(5))
}

fn echo<P>(protocol: P) -> Outcome<()>
where
    P: Protocol<In = <P as Protocol>::Out>,
    P::In: Send + Sync,
{
    let config = config()
        .max_connections_per_address(PER_ADDRESS)
        .packet_timeout(DEADLINE)
        .write_timeout(DEADLINE)
        .idle_timeout(Duration::from_secs(120));
    let server = Server::bind("127.0.0.1:0", protocol)?.config(config);
    announce(server.local_addr());
    let report =
        server.run(|_, conn| conn.handlers().on_read(|_, conn, packet| Ok(conn.write(packet)?)))?;
    println!("{report}");
    Ok(())
}

/// Becomes the chat, which stands beside this program.
fn chat(args: &Args) -> Outcome<()> {
    let this = std::env::current_exe()?;
    let program = this.with_file_name("wheelhouse-chat");
    if !program.exists() {
        let path = program.display();
        let build = "`cargo build --release -p wheelhouse-chat` first, without --release for tests";
        return Err(format!("{path} is not there: {build}").into());
    }
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1:0", "--address-rate", "1000", "--outbox", "65536"]);
    command.arg("--db").arg(args.directory.join("chat.db"));
    command.args(["--ping-after", "10s", "--idle-timeout"]);
    command.arg(format!("{}s", CHAT_IDLE.as_secs()));
    // Sixty-four more connections than clients, for pages.
    command.args(["--address-clients", &(PER_ADDRESS - 64).to_string()]);
    Err(command.exec().into())
}

/// The reply to a request.
fn reply(request: &Bytes, verdict: u8) -> Bytes {
    let mut reply = [0; PACKET];
    reply[..VERDICT].copy_from_slice(&request[..VERDICT]);
    reply[VERDICT] = verdict;
    Bytes::copy_from_slice(&reply)
}

/// Each request is worked on when it is read. What is too much waits in the sockets, where nobody sees how long.
fn patient(spin: Spin) -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0", FixedLengthCodec::new(PACKET))?.config(config());
    announce(server.local_addr());
    server.run(move |_, conn| {
        conn.handlers().on_read(move |_, conn, request| {
            spin.work();
            Ok(conn.write(reply(&request, SERVED))?)
        })
    })?;
    Ok(())
}

/// The work of the refusing server: requests are read at once, and wait here, where their wait is known beforehand.
struct Desk {
    spin: Spin,
    waiting: VecDeque<(ConnectionId, Bytes)>,
    /// What one takes, in nanoseconds, of late.
    cost: u64,
    /// A timer is set that will work on.
    is_at_work: bool,
}

impl Desk {
    fn is_full(&self) -> bool {
        is_enough(self.waiting.len(), self.cost)
    }

    /// Works for a slice, then lets the loop look at the sockets.
    fn work(&mut self, server: &mut ServerRef<'_, FixedLengthCodec, Self>) {
        let begun = Instant::now();
        let mut at = begun;
        while at.duration_since(begun) < SLICE
            && let Some((id, request)) = self.waiting.pop_front()
        {
            self.spin.work();
            if let Some(mut conn) = server.connection(id) {
                // Refused where the peer reads nothing; its connection ends by the write timeout.
                drop(conn.write(reply(&request, SERVED)));
            }
            let now = Instant::now();
            let took = now.duration_since(at).as_nanos() as u64;
            // One that was interrupted says little of the next. The 1 lets a small estimate grow.
            self.cost = (self.cost * 15 + took.min(self.cost * 2)) / 16 + 1;
            at = now;
        }
        self.is_at_work = !self.waiting.is_empty();
        if self.is_at_work {
            server.after(Duration::ZERO, Self::work);
        }
    }
}

/// Whether so many requests of such a cost take as long as anybody may have to wait.
fn is_enough(waiting: usize, cost: u64) -> bool {
    waiting as u128 * u128::from(cost) >= BUDGET.as_nanos()
}

fn refusing(spin: Spin) -> Outcome<()> {
    let cost = WORK.as_nanos() as u64;
    let desk = Desk { spin, waiting: VecDeque::new(), cost, is_at_work: false };
    let server = Server::bind("127.0.0.1:0", FixedLengthCodec::new(PACKET))?.config(config());
    announce(server.local_addr());
    server.state(desk).run(|_, conn| {
        conn.handlers().on_read(|desk, conn, request| {
            if desk.is_full() {
                return Ok(conn.write(reply(&request, BUSY))?);
            }
            desk.waiting.push_back((conn.id(), request));
            if !desk.is_at_work {
                desk.is_at_work = true;
                conn.server().after(Duration::ZERO, Desk::work);
            }
            Ok(())
        })
    })?;
    Ok(())
}

/// Room for few: who comes when it is full is accepted and closed at once.
fn visits() -> Outcome<()> {
    let config = config().max_connections(VISITORS).overload(Overload::Reject);
    let server = Server::bind("127.0.0.1:0", FixedLengthCodec::new(PACKET))?.config(config);
    announce(server.local_addr());
    server.run(|_, conn| {
        conn.handlers().on_read(|_, conn, request| Ok(conn.write(reply(&request, SERVED))?))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_is_full_when_the_wait_would_be_the_budget() {
        let millisecond = 1_000_000;
        let room = usize::try_from(BUDGET.as_millis()).expect("a few");
        assert!(!is_enough(0, millisecond));
        assert!(!is_enough(room - 1, millisecond));
        assert!(is_enough(room, millisecond));
        assert!(!is_enough(room, millisecond / 2), "the work became quicker: there is more room");
    }
}
