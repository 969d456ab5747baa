//! WebSocket (RFC 6455).

mod assembly;
mod close;
#[cfg(feature = "websocket-deflate")]
mod deflate;
#[cfg(not(feature = "websocket-deflate"))]
#[path = "no_deflate.rs"]
mod deflate;
mod error;
mod frame;
mod framing;
mod handshake;
mod mask;
mod message;
mod outgoing;
mod replies;
#[cfg(test)]
mod tests;
mod utf8;

use bytes::Bytes;

pub use self::close::{CloseCode, CloseFrame};
#[cfg(feature = "websocket-deflate")]
pub use self::deflate::DeflateOptions;
pub use self::error::WebSocketError;
pub use self::handshake::{Accept, Answer, HandshakeError, Offer, Refusal, Upgrade};
pub use self::message::{Message, Text};

/// What a peer sends.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// A message, whole.
    Message(Message),
    /// The peer closes, and says why or not. The answer is sent without the handler, and nothing else comes.
    Closed(Option<CloseFrame>),
    /// The answer to a ping: told only where it was [asked for](WebSocket::pongs).
    Pong(Bytes),
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    max_message: usize,
    max_frame: usize,
    /// The lesser of both.
    max_whole: usize,
    max_fragments: u32,
    pongs: bool,
}

impl Settings {
    fn new(max_message: usize, max_frame: usize, max_fragments: u32) -> Self {
        let max_whole = max_message.min(max_frame);
        Self { max_message, max_frame, max_whole, max_fragments, pongs: false }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(MAX_MESSAGE, MAX_MESSAGE, MAX_FRAGMENTS)
    }
}

/// The default of `max_message`.
const MAX_MESSAGE: usize = 1 << 20;

/// The default of `max_fragments`.
const MAX_FRAGMENTS: u32 = 16_384;
