//! What can be wrong with frames, messages and closes, and which code tells the peer.

use std::fmt;

use super::{CloseCode, CloseFrame, HandshakeError};
use crate::codec::http::{HttpError, ResponseError};

/// What can be wrong on a WebSocket connection: with what the peer sent, or with what this side was to write.
///
/// The peer is told by a close frame with [`close_code`](Self::close_code), and the connection ends.
#[derive(Debug)]
#[non_exhaustive]
pub enum WebSocketError {
    /// Read: a request that makes no sense, or passes a limit. It is answered by its status.
    Http(HttpError),
    /// As a client: what was to be asked for, or what the server answered.
    Handshake(HandshakeError),
    /// Read: a frame with bits set that no extension gave a meaning to.
    ReservedBits {
        /// The three bits, the first as 4.
        bits: u8,
    },
    /// Read: a kind of frame that there is not.
    ReservedOpcode {
        /// 3 to 7 or 11 to 15.
        opcode: u8,
    },
    /// Read, by a server: a frame whose payload is not masked.
    NotMasked,
    /// Read, by a client: a frame whose payload is masked.
    Masked,
    /// Read: a length that is written with more bytes than it needs.
    LengthNotMinimal {
        /// The length.
        len: u64,
        /// How many bytes it was written with.
        bytes: usize,
    },
    /// Read: a length with its top bit set.
    LengthTopBit {
        /// What it says.
        len: u64,
    },
    /// Read: a close, ping or pong frame that is not the last of its message.
    FragmentedControl {
        /// 8 for a close, 9 for a ping, 10 for a pong.
        opcode: u8,
    },
    /// Read or to be written: a close, ping or pong frame of more than 125 bytes.
    ControlTooLong {
        /// 8 for a close, 9 for a ping, 10 for a pong.
        opcode: u8,
        /// The length; for a frame that was read, 126 or 127 stand for more.
        len: usize,
    },
    /// Read: a frame that continues a message, where none has begun.
    NothingToContinue,
    /// Read: a new message in the middle of another.
    Interrupted {
        /// Fragments that have come of that other.
        fragments: u32,
    },
    /// Read: a text message that is not UTF-8.
    NotUtf8 {
        /// Bytes of its last frame within which the fault shows.
        within: usize,
    },
    /// Read: a close frame of one byte, which is no code.
    CloseTooShort,
    /// Read: a close frame with a code that may not be sent.
    ReservedCloseCode {
        /// The number.
        code: u16,
    },
    /// Read: a close frame whose reason is not UTF-8.
    ReasonNotUtf8,
    /// Read: a frame over the maximum.
    FrameTooLong {
        /// Bytes of payload.
        len: u64,
        /// The most that it may have.
        max: usize,
    },
    /// Read: a message over the maximum.
    MessageTooLong {
        /// Bytes of payload that have come or were announced; of a compressed message, those that were inflated.
        len: u64,
        /// The most that it may have.
        max: usize,
    },
    /// Read: a message in more frames than it may have.
    TooManyFragments {
        /// The most that it may have.
        max: u32,
    },
    /// Read: a compressed message that cannot be inflated.
    NotDeflated,
    /// To be written: a frame, while the two ends still speak HTTP.
    NotOpen,
    /// To be written: an HTTP response, or an acceptance, to a peer that waits for none.
    NothingToAnswer,
    /// To be written: a response that is none to the request that waits.
    Response(ResponseError),
    /// To be written: an offer, on a connection that has begun otherwise.
    LateOffer,
    /// To be written: anything, after a close frame.
    Closing,
    /// To be written: a close frame whose reason is too long.
    ReasonTooLong {
        /// Bytes of the reason; [`CloseFrame::MAX_REASON`] may be sent.
        len: usize,
    },
    /// To be written, by a client: the system has no random bytes for the mask.
    NoRandomness(std::io::Error),
}

impl WebSocketError {
    /// What the peer is told: 1002 for a broken protocol, 1007 for text that is none, 1009 for what passes a limit.
    /// `None` for what this side was to write and for what is wrong before the connection is a WebSocket.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::ReservedBits { .. }
            | Self::ReservedOpcode { .. }
            | Self::NotMasked
            | Self::Masked
            | Self::LengthNotMinimal { .. }
            | Self::LengthTopBit { .. }
            | Self::FragmentedControl { .. }
            | Self::ControlTooLong { .. }
            | Self::NothingToContinue
            | Self::Interrupted { .. }
            | Self::CloseTooShort
            | Self::ReservedCloseCode { .. } => Some(CloseCode::PROTOCOL_ERROR),
            Self::NotUtf8 { .. } | Self::ReasonNotUtf8 | Self::NotDeflated => {
                Some(CloseCode::INVALID_DATA)
            }
            Self::FrameTooLong { .. }
            | Self::MessageTooLong { .. }
            | Self::TooManyFragments { .. } => Some(CloseCode::MESSAGE_TOO_BIG),
            Self::Http(_)
            | Self::Handshake(_)
            | Self::Response(_)
            | Self::LateOffer
            | Self::NotOpen
            | Self::NothingToAnswer
            | Self::Closing
            | Self::ReasonTooLong { .. }
            | Self::NoRandomness(_) => None,
        }
    }
}

fn control(opcode: u8) -> &'static str {
    match opcode {
        8 => "close",
        9 => "ping",
        _ => "pong",
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(source) => source.fmt(f),
            Self::Handshake(source) => source.fmt(f),
            Self::Response(source) => source.fmt(f),
            Self::LateOffer => f.write_str("an offer is the first thing that a client writes"),
            Self::ReservedBits { bits } => {
                write!(f, "a frame with reserved bits {bits:03b} that no extension uses")
            }
            Self::ReservedOpcode { opcode } => write!(f, "a frame of the unknown kind {opcode:#x}"),
            Self::NotMasked => f.write_str("a frame from a client that is not masked"),
            Self::Masked => f.write_str("a frame from a server that is masked"),
            Self::LengthNotMinimal { len, bytes } => {
                write!(
                    f,
                    "a length of {len} written in {bytes} bytes, which are more than it needs"
                )
            }
            Self::LengthTopBit { len } => write!(f, "a length of {len}, with its top bit set"),
            Self::FragmentedControl { opcode } => {
                write!(f, "a {} frame that is not whole", control(*opcode))
            }
            Self::ControlTooLong { opcode, len } => write!(
                f,
                "a {} frame whose length is {len}; it may have 125 bytes",
                control(*opcode)
            ),
            Self::NothingToContinue => f.write_str("a continuation of no message"),
            Self::Interrupted { fragments } => {
                write!(f, "a new message after {fragments} fragments of an unfinished one")
            }
            Self::NotUtf8 { within } => {
                write!(
                    f,
                    "a text message that is not UTF-8, by the first {within} bytes of a frame"
                )
            }
            Self::CloseTooShort => f.write_str("a close frame of 1 byte, which is no code"),
            Self::ReservedCloseCode { code } => {
                write!(f, "a close frame with the code {code}, which may not be sent")
            }
            Self::ReasonNotUtf8 => f.write_str("a close frame whose reason is not UTF-8"),
            Self::FrameTooLong { len, max } => {
                write!(f, "a frame of {len} bytes passes the maximum of {max}")
            }
            Self::MessageTooLong { len, max } => {
                write!(f, "a message of {len} bytes or more passes the maximum of {max}")
            }
            Self::TooManyFragments { max } => {
                write!(f, "a message of more than {max} fragments")
            }
            Self::NotDeflated => f.write_str("a compressed message that cannot be inflated"),
            Self::NotOpen => f.write_str("the connection is not a WebSocket yet"),
            Self::NothingToAnswer => f.write_str("no request waits for an answer"),
            Self::Closing => {
                f.write_str("the connection is closing: nothing may follow a close frame")
            }
            Self::ReasonTooLong { len } => write!(
                f,
                "a reason of {len} bytes for closing; it may have {}",
                CloseFrame::MAX_REASON
            ),
            Self::NoRandomness(source) => write!(f, "no random bytes for a mask: {source}"),
        }
    }
}

impl std::error::Error for WebSocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http(source) => Some(source),
            Self::Handshake(source) => Some(source),
            Self::Response(source) => Some(source),
            Self::NoRandomness(source) => Some(source),
            _ => None,
        }
    }
}
