//! Errors, sorted by who is to blame: the peer, the system, or the code that called.
//!
//! An [`Error`] ends one connection and nothing else. It reaches that connection's `on_error`, or waits in its bounded
//! queue where no `on_error` is set. What a *call* refused (a full queue, a connection that has ended) is told to the
//! caller by [`WriteError`], with the packet given back.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::handlers::HandlerError;

/// A boxed error that may cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a connection failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The socket failed. The peer's doing where it reset or vanished, otherwise the system's.
    Io {
        /// What was being done: `"read"`, `"write"`, `"connect"` and the like.
        during: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The peer's bytes are not this protocol: the decoder's own error.
    Protocol(BoxError),
    /// The peer's stream ended inside a packet.
    Truncated {
        /// Bytes of the unfinished packet.
        bytes: usize,
    },
    /// Something that the peer owed did not come in time.
    Late(Late),
    /// A handler returned an error.
    Handler(HandlerError),
    /// A handler or a codec panicked; the panic's message.
    Panic(Cow<'static, str>),
    /// The decoder yielded packet after packet without consuming a byte: a fault of the codec.
    StalledDecoder {
        /// How many packets it yielded from the same bytes.
        packets: u32,
    },
    /// The peer did not read fast enough, and its output was dropped with it.
    SlowConsumer {
        /// Bytes that were waiting for it.
        queued: usize,
    },
}

/// What did not come in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Late {
    /// The rest of a packet, `Config::packet_timeout` after its first byte.
    Packet(Duration),
    /// The peer's taking of output, `Config::write_timeout` after it last took some.
    Output(Duration),
    /// An outbound connection, by its connect deadline.
    Connect(Duration),
}

/// Who has to mend it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Blame {
    /// The other side: its bytes, its silence, its reset.
    Peer,
    /// The operating system or the network.
    System,
    /// This program: a handler or a codec.
    Caller,
}

impl Error {
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected => Blame::Peer,
                _ => Blame::System,
            },
            Self::Protocol(_)
            | Self::Truncated { .. }
            | Self::Late(_)
            | Self::SlowConsumer { .. } => Blame::Peer,
            Self::Handler(_) | Self::Panic(_) | Self::StalledDecoder { .. } => Blame::Caller,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { during, source } => write!(f, "{during} failed: {source}"),
            Self::Protocol(source) => write!(f, "the peer broke the protocol: {source}"),
            Self::Truncated { bytes } => {
                write!(f, "the peer's stream ended {bytes} bytes into an unfinished packet")
            }
            Self::Late(late) => late.fmt(f),
            Self::Handler(source) => write!(f, "the handler failed: {source}"),
            Self::Panic(message) => write!(f, "a handler or codec panicked: {message}"),
            Self::StalledDecoder { packets } => write!(
                f,
                "the decoder yielded {packets} packets in a row without consuming a byte; \
                 decode must consume what it turns into a packet"
            ),
            Self::SlowConsumer { queued } => {
                write!(f, "the peer reads too slowly: {queued} bytes were waiting for it")
            }
        }
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(limit) => {
                write!(f, "the peer left a packet unfinished for {limit:?} (packet_timeout)")
            }
            Self::Output(limit) => {
                write!(f, "the peer took no output for {limit:?} (write_timeout)")
            }
            Self::Connect(limit) => write!(f, "no connection within {limit:?}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Protocol(source) => Some(&**source),
            Self::Handler(source) => Some(source.as_error()),
            _ => None,
        }
    }
}

/// Why a connection ended, as `on_closed` is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its stream, and everything was delivered and answered.
    Peer,
    /// This side called `close` or `abort`.
    Local,
    /// Nothing came for as long as `Config::idle_timeout` allows.
    Idle,
    /// The peer broke the protocol, or left a packet unfinished.
    ProtocolError,
    /// The socket failed: a reset, an unreachable host, a failed connect.
    IoError,
    /// The peer did not take its output in time, or too much was waiting for it.
    SlowConsumer,
    /// The server is stopping, and the connection ended within the grace.
    Shutdown,
    /// The server stopped, and the grace was over (or there was none).
    Forced,
    /// A handler returned an error.
    HandlerError,
    /// A handler or a codec panicked.
    HandlerPanic,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "the peer closed",
            Self::Local => "closed by this side",
            Self::Idle => "idle for too long",
            Self::ProtocolError => "protocol error",
            Self::IoError => "i/o error",
            Self::SlowConsumer => "slow consumer",
            Self::Shutdown => "server shutdown",
            Self::Forced => "forced by the shutdown's deadline",
            Self::HandlerError => "handler error",
            Self::HandlerPanic => "handler panic",
        })
    }
}

/// A packet that was not written, given back.
///
/// `Debug` and `Display` do not print the packet, so they ask nothing of its type.
#[non_exhaustive]
pub enum WriteError<T> {
    /// As much is queued for this peer as its limits allow. Nothing of the packet was queued.
    Full(T),
    /// The connection has ended, or its write side has been closed.
    Closed(T),
    /// The codec refused the packet. Nothing of it was queued.
    Encode(BoxError),
    /// A blocking call on the loop's own thread would wait for itself for ever.
    WouldDeadlock(T),
}

impl<T> WriteError<T> {
    /// The packet, where the codec did not consume it.
    #[must_use]
    pub fn into_packet(self) -> Option<T> {
        match self {
            Self::Full(packet) | Self::Closed(packet) | Self::WouldDeadlock(packet) => Some(packet),
            Self::Encode(_) => None,
        }
    }

    /// Whether the same write may succeed later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<T> fmt::Display for WriteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the connection's outbox is full: its peer lags"),
            Self::Closed(_) => f.write_str("the connection is closed for writing"),
            Self::Encode(source) => write!(f, "the codec refused the packet: {source}"),
            Self::WouldDeadlock(_) => f.write_str(
                "a blocking write on the loop's own thread would deadlock; \
                 use Connection::write there, or try_write",
            ),
        }
    }
}

impl<T> fmt::Debug for WriteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Encode(source) => f.debug_tuple("Encode").field(source).finish(),
            Self::WouldDeadlock(_) => f.write_str("WouldDeadlock(..)"),
        }
    }
}

impl<T> std::error::Error for WriteError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(source) => Some(&**source),
            _ => None,
        }
    }
}
