//! WebSocket (RFC 6455), and the HTTP that comes before it on the same port. Needs the feature `websocket`.
//!
//! A browser asks for a WebSocket by an HTTP request, and that request is the first thing that a handler is told: its path,
//! its headers, the [origin](crate::codec::http::Request::origin) of the page that asks. The handler accepts it, or answers
//! as to any other request: a page and a health check need no second port.
//!
//! ```
//! use std::time::Duration;
//!
//! use wheelhouse::Server;
//! use wheelhouse::codec::http::{Response, StatusCode};
//! use wheelhouse::codec::websocket::{self, Incoming, Message, Upgrade, WebSocket};
//!
//! let server = Server::bind("127.0.0.1:0", WebSocket::new())?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     conn.handlers().on_read(|_, conn, incoming| {
//!         match incoming {
//!             Incoming::Request(request) if request.path() == "/echo" => {
//!                 match Upgrade::from_request(&request) {
//!                     Ok(upgrade) => conn.write(upgrade.accept().into())?,
//!                     Err(refusal) => conn.write(refusal.response().into())?,
//!                 }
//!             }
//!             Incoming::Request(_) => {
//!                 conn.write(Response::text(StatusCode::NOT_FOUND, "there is /echo\n").into())?;
//!             }
//!             Incoming::Message(message) => conn.write(message.into())?,
//!             _ => {} // the peer closes: it is answered, and `on_closed` comes next
//!         }
//!         Ok(())
//!     })
//! })?;
//!
//! let mut client = websocket::connect(addr, "/echo")?;
//! client.write("hello".into())?;
//! assert_eq!(client.read()?, Some(Incoming::Message(Message::text("hello"))));
//! client.close()?;
//! # server.stop(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is done without the handler
//!
//! - A ping is answered by a pong. Of many pings that come while the peer does not read, the first fifteen and the newest
//!   are.
//! - The peer's close is told as [`Incoming::Closed`], answered, and the connection ends; `on_closed` is told
//!   [`CloseReason::Peer`](crate::CloseReason::Peer).
//! - Whatever else ends the connection is told to the peer by a close frame with its code: 1001 when the server stops or
//!   the peer was silent for too long, 1002, 1007 or 1009 for what it did wrong, 1011 when a handler failed, 1013 when it
//!   reads too slowly. Write an [`Outgoing::Close`] to say something else; nothing can be written after it.
//! - With [`Config::probe_after`](crate::Config::probe_after), a silent peer is pinged.
//!
//! # Text
//!
//! A text message is UTF-8, validated as it comes: a fault ends the connection with 1007 at the byte that makes it one, also
//! inside a frame that has not wholly come. [`Text`] looks like `str` at no cost; a clone shares the bytes.
//!
//! # Limits
//!
//! A message has at most 1 MiB in at most 16,384 frames; the request before it has the limits of [`Http`]. [`WebSocket`]
//! changes them. What passes a limit is refused by the header that says so, before anything is buffered. A message that is
//! not whole counts as a packet half arrived, for [`Config::packet_timeout`](crate::Config::packet_timeout).
//!
//! # Compression
//!
//! With the feature `websocket-deflate`, [`WebSocket::deflate`] agrees to permessage-deflate where a peer offers it. It is
//! off unless asked for: it costs some 400 KiB for each connection and a multiple of the time, and few servers are short of
//! bandwidth.
//!
//! # Outbound
//!
//! [`connect`] returns a blocking [`Client`](crate::Client). On a server's own loop,
//! [`ServerRef::connect`](crate::ServerRef::connect) makes a connection of this same protocol, whose first packet is to be
//! an [`Offer`]; that makes it the client, which masks what it sends. [`Incoming::Accepted`] is the answer.

mod assembly;
mod client;
mod close;
mod codec;
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
mod packets;
mod replies;
#[cfg(test)]
mod tests;
mod utf8;

use std::sync::Arc;

pub use self::client::{connect, connect_with};
pub use self::close::{CloseCode, CloseFrame};
pub use self::codec::WebSocketCodec;
#[cfg(feature = "websocket-deflate")]
pub use self::deflate::DeflateOptions;
pub use self::error::WebSocketError;
pub use self::handshake::{Accept, Answer, HandshakeError, Offer, Refusal, Upgrade};
pub use self::message::{Message, Text};
pub use self::packets::{Incoming, Outgoing};
use super::Protocol;
use super::http::Http;

/// The default of [`WebSocket::max_message`].
const MAX_MESSAGE: usize = 1 << 20;

/// The default of [`WebSocket::max_fragments`].
const MAX_FRAGMENTS: u32 = 16_384;

/// The protocol: makes a codec for each connection, with these limits.
///
/// See [the module](self) for what it does.
#[derive(Clone, Debug, Default)]
pub struct WebSocket {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    http: Http,
    max_message: usize,
    max_frame: usize,
    /// The lesser of both.
    max_whole: usize,
    max_fragments: u32,
    pongs: bool,
    #[cfg(feature = "websocket-deflate")]
    deflate: Option<DeflateOptions>,
}

impl Settings {
    fn new(max_message: usize, max_frame: usize, max_fragments: u32) -> Self {
        Self {
            http: Http::new(),
            max_message,
            max_frame,
            max_whole: max_message.min(max_frame),
            max_fragments,
            pongs: false,
            #[cfg(feature = "websocket-deflate")]
            deflate: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(MAX_MESSAGE, usize::MAX, MAX_FRAGMENTS)
    }
}

impl WebSocket {
    /// With the default limits, and without compression.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes of a message that is read: 1 MiB by default. What is written is bounded by the outbox.
    #[must_use]
    pub fn max_message(self, bytes: usize) -> Self {
        self.set(|settings| settings.max_message = bytes)
    }

    /// The most bytes of one frame of a message. Default: no fewer than a message may have.
    #[must_use]
    pub fn max_frame(self, bytes: usize) -> Self {
        self.set(|settings| settings.max_frame = bytes)
    }

    /// The most frames of one message, so that empty ones do not go on for ever. Default: 16,384.
    #[must_use]
    pub fn max_fragments(self, frames: u32) -> Self {
        self.set(|settings| settings.max_fragments = frames)
    }

    /// The limits of the requests before a connection is a WebSocket.
    #[must_use]
    pub fn http(self, http: Http) -> Self {
        self.set(|settings| settings.http = http)
    }

    /// Whether pongs are handed on, as [`Incoming::Pong`]: to measure the time that a ping takes, say. Default: no.
    #[must_use]
    pub fn pongs(self, handed_on: bool) -> Self {
        self.set(|settings| settings.pongs = handed_on)
    }

    /// Compresses messages where a peer offers to (permessage-deflate), and offers it as a client. Default: no.
    #[cfg(feature = "websocket-deflate")]
    #[must_use]
    pub fn deflate(self, options: DeflateOptions) -> Self {
        self.set(|settings| settings.deflate = Some(options))
    }

    /// The codec of one connection: for [`Client::connect`](crate::Client::connect), whose first packet is then to be an
    /// [`Offer`].
    #[must_use]
    pub fn codec(&self) -> WebSocketCodec {
        WebSocketCodec::new(Arc::clone(&self.settings))
    }

    /// The codec of a server's connection that somebody else has upgraded, without compression.
    #[must_use]
    pub fn upgraded(&self) -> WebSocketCodec {
        WebSocketCodec::upgraded(Arc::clone(&self.settings))
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        change(settings);
        settings.max_whole = settings.max_message.min(settings.max_frame);
        self
    }
}

impl Protocol for WebSocket {
    type In = Incoming;
    type Out = Outgoing;
    type Codec = WebSocketCodec;

    fn codec(&mut self) -> WebSocketCodec {
        Self::codec(self)
    }
}
