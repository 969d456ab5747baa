//! What can go wrong for a client, and who has to mend it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{Blame, BoxError};

/// Why a [`Client`](crate::Client) could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made.
    Connect {
        /// The address that was tried last; `None` when the name has none.
        address: Option<SocketAddr>,
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed. The peer's doing where it reset or vanished, otherwise the system's.
    Io {
        /// What was being done: `"read"`, `"write"` and the like.
        during: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The peer did not do its part in time. Nothing is lost: the call may be made again.
    TimedOut {
        /// What was being done: `"connect"`, `"read"`, `"write"` or `"close"`.
        during: &'static str,
        /// The limit that was set for it.
        limit: Duration,
        /// Bytes that have come of an unfinished packet (`read`), or that wait to be sent (`write`).
        bytes: usize,
    },
    /// The peer's bytes are not this protocol: the decoder's own error.
    Protocol(BoxError),
    /// The peer's stream ended inside a packet.
    Truncated {
        /// Bytes of the unfinished packet.
        bytes: usize,
    },
    /// The decoder yielded packet after packet without consuming a byte: a fault of the codec.
    StalledDecoder {
        /// How many packets it yielded from the same bytes.
        packets: u32,
    },
    /// The codec refused the packet. Nothing of it was sent.
    Encode(BoxError),
    /// A write timed out half way, and has to be completed by `flush` first. Nothing of this packet was sent.
    Unsent {
        /// Bytes that wait to be sent.
        bytes: usize,
    },
    /// An earlier read failed for good; nothing more can be read.
    Broken,
}

impl ClientError {
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Connect { source, .. } | Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected => Blame::Peer,
                io::ErrorKind::InvalidInput => Blame::Caller,
                _ => Blame::System,
            },
            Self::TimedOut { .. } | Self::Protocol(_) | Self::Truncated { .. } => Blame::Peer,
            Self::StalledDecoder { .. } | Self::Encode(_) | Self::Unsent { .. } | Self::Broken => {
                Blame::Caller
            }
        }
    }

    /// Whether a limit of time was passed, so that the same call may succeed later.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    pub(super) fn no_address() -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        Self::Connect { address: None, source }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { address: Some(address), source } => {
                write!(f, "cannot connect to {address}: {source}")
            }
            Self::Connect { address: None, source } => write!(f, "cannot connect: {source}"),
            Self::Io { during, source } => write!(f, "{during} failed: {source}"),
            Self::TimedOut { during: "read", limit, bytes } => write!(
                f,
                "the peer sent no whole packet within {limit:?} ({bytes} bytes of one have come)"
            ),
            Self::TimedOut { during: "write", limit, bytes } => write!(
                f,
                "the peer did not take the packet within {limit:?} ({bytes} bytes wait for it)"
            ),
            Self::TimedOut { during: "close", limit, .. } => {
                write!(f, "the peer did not end its side of the stream within {limit:?}")
            }
            Self::TimedOut { during, limit, .. } => {
                write!(f, "the peer did not answer the {during} within {limit:?}")
            }
            Self::Protocol(source) => write!(f, "the peer broke the protocol: {source}"),
            Self::Truncated { bytes } => {
                write!(f, "the peer's stream ended {bytes} bytes into an unfinished packet")
            }
            Self::StalledDecoder { packets } => write!(
                f,
                "the decoder yielded {packets} packets in a row without consuming a byte; \
                 decode must consume what it turns into a packet"
            ),
            Self::Encode(source) => write!(f, "this side's codec refused the packet: {source}"),
            Self::Unsent { bytes } => write!(
                f,
                "{bytes} bytes of an earlier packet, whose write timed out, wait for this side's flush"
            ),
            Self::Broken => f.write_str("an earlier read failed; this side must connect anew"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Protocol(source) | Self::Encode(source) => Some(&**source),
            _ => None,
        }
    }
}
