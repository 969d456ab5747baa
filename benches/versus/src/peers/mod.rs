//! The servers that are compared, and what they have in common: the listener, and what each can do.
//!
//! A server is a process of its own: this program, started again as `serve PEER WORK`. It prints its port, and ends when
//! its stdin is closed. All of them echo; none logs, counts or checks anything beyond its protocol.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;
use crate::plan::{Cell, Scenario, Work};

mod cut;
mod floor;
mod floor_ws;
mod message_io;
mod monoio;
mod smol;
mod threads;
mod tokio;
mod upgrade;
mod wheelhouse;
mod ws_fastwebsockets;
mod ws_tungstenite;

/// The longest frame or message that a server takes.
pub(crate) const LONGEST: usize = 64 * 1024;

/// The buffer that a server without a codec keeps for each connection: the largest message fits, with its frame.
pub(crate) const READ_SIZE: usize = 32 * 1024;

/// Newcomers that the system keeps for a server, for every peer alike.
const BACKLOG: i32 = 1_024;

/// How many broadcasts may wait for one connection, in the peers that queue them in a channel.
pub(crate) const WAITING: usize = 64;

#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    clap::ValueEnum,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    Floor,
    Wheelhouse,
    WheelhouseBusy,
    Tokio,
    TokioMt,
    TokioRaw,
    Smol,
    MonoioLegacy,
    MonoioUring,
    MessageIo,
    Threads,
    Fastwebsockets,
    Tungstenite,
}

impl Peer {
    pub(crate) const ALL: [Self; 13] = [
        Self::Floor,
        Self::Wheelhouse,
        Self::WheelhouseBusy,
        Self::Tokio,
        Self::TokioMt,
        Self::TokioRaw,
        Self::Smol,
        Self::MonoioLegacy,
        Self::MonoioUring,
        Self::MessageIo,
        Self::Threads,
        Self::Fastwebsockets,
        Self::Tungstenite,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Wheelhouse => "wheelhouse",
            Self::WheelhouseBusy => "wheelhouse-busy",
            Self::Tokio => "tokio",
            Self::TokioMt => "tokio-mt",
            Self::TokioRaw => "tokio-raw",
            Self::Smol => "smol",
            Self::MonoioLegacy => "monoio-legacy",
            Self::MonoioUring => "monoio-uring",
            Self::MessageIo => "message-io",
            Self::Threads => "threads",
            Self::Fastwebsockets => "fastwebsockets",
            Self::Tungstenite => "tungstenite",
        }
    }

    /// How the server is made, for the report.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Floor => {
                "a bare epoll loop, edge-triggered, one shared buffer, no limits, no errors handled: not a server, \
                 a limit; frames go back as bytes, since the answer is what came"
            }
            Self::Wheelhouse => {
                "this project's reactor and codecs, default features and settings: limits, deadlines and budgets are on"
            }
            Self::WheelhouseBusy => {
                "the same with `Config::busy_poll` of 100 µs: it looks for news for so long before it sleeps; in the \
                 cells of latency alone, where its price, CPU, stands beside what it buys"
            }
            Self::Tokio => {
                "current-thread runtime, a task for each connection, tokio-util's codecs on both halves, joined by \
                 `forward` (which flushes when no more frames are there)"
            }
            Self::TokioMt => {
                "the same on the multi-thread runtime, as `#[tokio::main]` makes it; kept on the one core like every \
                 server, where it starts one worker"
            }
            Self::TokioRaw => {
                "current-thread runtime, no codec: `read` into a buffer for each connection, `write_all` from it"
            }
            Self::Smol => {
                "a `LocalExecutor` under `block_on`, a buffer for each connection, frames cut by 40 lines of our own; \
                 four of its calls of the system are the echo, the others its reactor's, which arms timer, notifier and \
                 socket anew before each sleep"
            }
            Self::MonoioLegacy => "monoio over epoll, buffers and frames as smol's",
            Self::MonoioUring => "monoio over io_uring, buffers and frames as smol's",
            Self::MessageIo => {
                "`Transport::Tcp` and `for_each`, frames as smol's; TCP_NODELAY is set behind its back; where a peer \
                 takes nothing, its `send` tries again and again, and nobody else is served meanwhile"
            }
            Self::Threads => {
                "a thread with a stack of 64 KiB for each connection, blocking calls, frames as smol's"
            }
            Self::Fastwebsockets => {
                "fastwebsockets on tokio's current-thread runtime; the upgrade is by our own 60 lines"
            }
            Self::Tungstenite => {
                "tokio-tungstenite on tokio's current-thread runtime, flushed when no more messages are there"
            }
        }
    }

    /// The package whose version in `Cargo.lock` tells which one ran.
    pub(crate) fn package(self) -> Option<&'static str> {
        match self {
            Self::Floor => Some("rustix"),
            Self::Wheelhouse | Self::WheelhouseBusy => Some("wheelhouse"),
            Self::Tokio | Self::TokioMt | Self::TokioRaw => Some("tokio"),
            Self::Smol => Some("smol"),
            Self::MonoioLegacy | Self::MonoioUring => Some("monoio"),
            Self::MessageIo => Some("message-io"),
            Self::Threads => None,
            Self::Fastwebsockets => Some("fastwebsockets"),
            Self::Tungstenite => Some("tokio-tungstenite"),
        }
    }

    /// Whether it has anything to show for this work.
    pub(crate) fn does(self, work: Work) -> bool {
        match self {
            Self::Floor | Self::Wheelhouse => true,
            Self::WheelhouseBusy => work != Work::Broadcast,
            Self::Fastwebsockets | Self::Tungstenite => work == Work::WebSocket,
            Self::TokioRaw => work == Work::Bytes,
            _ => work != Work::WebSocket,
        }
    }

    /// Whether it is measured in this cell.
    pub(crate) fn is_in(self, cell: &Cell) -> bool {
        self.does(cell.work)
            && match cell.scenario {
                Scenario::Latency => true,
                // Silent connections and exact counts: a question about this project's own lists.
                Scenario::Exact if cell.connections > 1 => self == Self::Wheelhouse,
                _ => self != Self::WheelhouseBusy,
            }
    }
}

/// Serves until stdin is closed, which ends the process.
pub(crate) fn serve(peer: Peer, work: Work) -> Outcome<()> {
    if !peer.does(work) {
        return Err(format!("{} has no server for {}", peer.name(), work.name()).into());
    }
    match peer {
        Peer::Wheelhouse => return wheelhouse::serve(work, Duration::ZERO),
        Peer::WheelhouseBusy => return wheelhouse::serve(work, wheelhouse::BUSY_POLL),
        Peer::MessageIo => return message_io::serve(work),
        _ => {}
    }
    let listener = listen()?;
    announce(listener.local_addr()?.port())?;
    match peer {
        Peer::Floor if work == Work::WebSocket => floor_ws::serve(&listener),
        Peer::Floor => floor::serve(&listener, work),
        Peer::Tokio => tokio::serve(listener, work, tokio::Threads::Current),
        Peer::TokioMt => tokio::serve(listener, work, tokio::Threads::Multi),
        Peer::TokioRaw => tokio::serve_raw(listener),
        Peer::Smol => smol::serve(listener, work),
        Peer::MonoioLegacy => monoio::serve_legacy(listener, work),
        Peer::MonoioUring => monoio::serve_uring(listener, work),
        Peer::Threads => threads::serve(&listener, work),
        Peer::Fastwebsockets => ws_fastwebsockets::serve(listener),
        Peer::Tungstenite => ws_tungstenite::serve(listener),
        // Served above: they listen by themselves.
        Peer::Wheelhouse | Peer::WheelhouseBusy | Peer::MessageIo => Ok(()),
    }
}

/// Tells the parent where to connect, and who serves: its child may be a tool that has this process for a child.
fn announce(port: u16) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{port} {}", std::process::id())?;
    Ok(out.flush()?)
}

/// The listener of every peer that takes one, with the options that wheelhouse sets on its own.
fn listen() -> Outcome<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?; // accepted sockets inherit it
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
