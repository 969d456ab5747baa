//! What handlers read and write on a connection that may become a WebSocket.

use bytes::Bytes;

use super::{Accept, Answer, CloseFrame, Message, Offer, Text};
use crate::codec::http::{Request, Response};

/// What a peer sends.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// An HTTP request, to be answered by an [`Accept`] or a [`Response`]. Nothing else comes before it has been.
    Request(Box<Request>),
    /// The server has agreed to this side's [`Offer`]: the connection is a WebSocket now.
    Accepted(Box<Answer>),
    /// A message, whole.
    Message(Message),
    /// The peer closes, and says why or not. The answer is sent without the handler, and nothing else comes.
    Closed(Option<CloseFrame>),
    /// The answer to a ping: told only where it was [asked for](super::WebSocket::pongs).
    Pong(Bytes),
}

/// What is written to a peer. As a rule made by `into()`, from whatever it is.
///
/// ```
/// use wheelhouse::codec::websocket::{CloseCode, Message, Outgoing};
///
/// assert!(matches!("hello".into(), Outgoing::Message(Message::Text(_))));
/// assert!(matches!(CloseCode::NORMAL.into(), Outgoing::Close(_)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outgoing {
    /// The answer to a request that makes the connection a WebSocket.
    Accept(Box<Accept>),
    /// The answer to any other request.
    Response(Box<Response>),
    /// A client's request, the first thing that it writes.
    Offer(Box<Offer>),
    /// A message.
    Message(Message),
    /// A ping, with at most 125 bytes, which the peer repeats in its pong.
    Ping(Bytes),
    /// A pong that answers no ping: a sign of life. Pings are answered without the handler.
    Pong(Bytes),
    /// The end: nothing can be written after it. The connection closes once all has been sent.
    Close(CloseFrame),
}

impl From<Accept> for Outgoing {
    fn from(accept: Accept) -> Self {
        Self::Accept(Box::new(accept))
    }
}

impl From<Response> for Outgoing {
    fn from(response: Response) -> Self {
        Self::Response(Box::new(response))
    }
}

impl From<Offer> for Outgoing {
    fn from(offer: Offer) -> Self {
        Self::Offer(Box::new(offer))
    }
}

impl From<CloseFrame> for Outgoing {
    fn from(close: CloseFrame) -> Self {
        Self::Close(close)
    }
}

impl From<super::CloseCode> for Outgoing {
    fn from(code: super::CloseCode) -> Self {
        Self::Close(code.into())
    }
}

impl From<Message> for Outgoing {
    #[inline]
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}

impl From<Text> for Outgoing {
    fn from(text: Text) -> Self {
        Self::Message(text.into())
    }
}

impl From<&str> for Outgoing {
    fn from(text: &str) -> Self {
        Self::Message(text.into())
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::Message(text.into())
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::Message(bytes.into())
    }
}

impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Message(bytes.into())
    }
}
