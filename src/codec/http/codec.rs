//! One connection's half of the protocol: a request, its response, the next request.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::error::{HttpError, ResponseError};
use super::head::{Head, Limits};
use super::request::Request;
use super::response::{Framing, Response};
use crate::codec::{Decoder, Encoder, Protocol, WriteBuffer};
use crate::error::CloseReason;

/// HTTP/1.0 and HTTP/1.1: requests come in, responses go out, one for each and in order.
///
/// A request is read without a body. One that announces a body is handed over all the same
/// ([`has_body`](Request::has_body)), and its response closes the connection. The next request is not handed over before
/// the last was answered, so requests that a client sends ahead wait their turn.
///
/// A request that makes no sense, or passes a limit, is answered by the codec (see [`HttpError::status`]), `on_error` hears
/// of it, and the connection closes. So it does, with 408, where a request stays half arrived for
/// [`Config::packet_timeout`](crate::Config::packet_timeout); with 500 where the handler returned an error instead of an
/// answer; and with 503 where the server stops before there is one.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use wheelhouse::Server;
/// use wheelhouse::codec::http::{Http, Response, StatusCode};
///
/// let server = Server::bind("127.0.0.1:0", Http::new())?;
/// let addr = server.local_addr();
/// let server = server.start(|_, conn| {
///     conn.handlers().on_read(|_, conn, request| {
///         let response = match request.path() {
///             "/" => Response::html(StatusCode::OK, "<p>hello"),
///             _ => Response::text(StatusCode::NOT_FOUND, "there is / and nothing else\n"),
///         };
///         Ok(conn.write(response)?)
///     })
/// })?;
///
/// let mut peer = TcpStream::connect(addr)?;
/// peer.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
/// let mut answer = String::new();
/// peer.read_to_string(&mut answer)?;
/// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
/// assert!(answer.ends_with("\r\n\r\n<p>hello"), "{answer}");
/// # server.stop(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct Http {
    limits: Limits,
}

impl Http {
    /// With the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes of a request line and its headers, with the empty line that ends them: 16 KiB by default, and
    /// at least 16 bytes, the length of the shortest request.
    #[must_use]
    pub fn max_head(mut self, bytes: usize) -> Self {
        self.limits.head = bytes.clamp(Limits::SHORTEST, Limits::MOST_BYTES) as u32;
        self
    }

    /// The most bytes of a target (path and query): 8 KiB by default.
    #[must_use]
    pub fn max_target(mut self, bytes: usize) -> Self {
        self.limits.target = bytes.min(Limits::MOST_BYTES) as u32;
        self
    }

    /// The most headers of a request: 64 by default, and 16,384 at most; of names that were chosen to collide, some 6,000.
    #[must_use]
    pub fn max_headers(mut self, headers: usize) -> Self {
        self.limits.headers = headers.min(Limits::MOST_HEADERS) as u16;
        self
    }
}

impl Protocol for Http {
    type In = Request;
    type Out = Response;
    type Codec = HttpCodec;

    fn codec(&mut self) -> HttpCodec {
        HttpCodec::new(self.limits)
    }
}

/// The codec of one connection: made by [`Http`].
#[derive(Clone, Debug)]
pub struct HttpCodec {
    head: Head,
    limits: Limits,
    phase: Phase,
    /// What was wrong, until the peer has been told.
    error: Option<Box<HttpError>>,
}

/// Every connection has one of these.
#[cfg(not(test))]
const _: () = assert!(size_of::<HttpCodec>() <= 48);

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The peer's.
    Request,
    /// This side's, to answer a request.
    Response(Framing),
    /// Nobody's: the last response has been written.
    Over,
    /// Nobody's: the bytes were no request, or the connection closes for another reason.
    Failed,
}

impl HttpCodec {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { head: Head::default(), limits, phase: Phase::Request, error: None }
    }

    /// Whether anything of a request has come, now or earlier: a line of it, at least.
    #[cfg(feature = "websocket")]
    pub(crate) fn has_begun(&self) -> bool {
        self.phase != Phase::Request || self.head.is_later || self.head.has_begun()
    }

    #[cfg(test)]
    pub(super) fn looked_at(&self) -> usize {
        self.head.looked_at
    }
}

impl Decoder for HttpCodec {
    type Packet = Request;
    type Error = HttpError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Request>, HttpError> {
        match self.phase {
            Phase::Response(_) => return Ok(None),
            Phase::Request => {}
            Phase::Over | Phase::Failed => {
                src.clear();
                return Ok(None);
            }
        }
        match self.head.parse(src, self.limits) {
            Ok(Some(request)) => {
                self.phase = Phase::Response(Framing::of(&request));
                Ok(Some(request))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.phase = Phase::Failed;
                self.error = Some(Box::new(error.clone()));
                Err(error)
            }
        }
    }

    const SPEAKS: bool = true;

    fn is_blocked(&self) -> bool {
        matches!(self.phase, Phase::Response(_))
    }

    fn take_reply(&mut self) -> Option<Bytes> {
        self.error.take().map(|error| last_words(error.status(), &error.to_string(), Framing::LAST))
    }

    fn is_silent(&self) -> bool {
        self.error.is_none() && self.phase != Phase::Over
    }

    fn ending(&self) -> Option<CloseReason> {
        (self.phase == Phase::Over).then_some(CloseReason::Local)
    }

    fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        let phase = std::mem::replace(&mut self.phase, Phase::Failed);
        let (status, text, framing) = match (phase, reason) {
            (Phase::Request, CloseReason::ProtocolError) if self.head.has_begun() => {
                let text = "the rest of a request did not come in time";
                (StatusCode::REQUEST_TIMEOUT, text, Framing::LAST)
            }
            (Phase::Response(framing), CloseReason::HandlerError) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "this server failed to answer", framing)
            }
            (Phase::Response(framing), CloseReason::Shutdown) => {
                (StatusCode::SERVICE_UNAVAILABLE, "this server is stopping", framing)
            }
            _ => return None,
        };
        Some(last_words(status, text, framing))
    }
}

impl Encoder<Response> for HttpCodec {
    type Error = ResponseError;

    fn encode(&mut self, response: Response, dst: &mut WriteBuffer) -> Result<(), ResponseError> {
        let Phase::Response(framing) = self.phase else { return Err(ResponseError::NoRequest) };
        if response.status().is_informational() {
            return Err(ResponseError::Interim { status: response.status() });
        }
        let keeps_alive = response.write(framing, dst);
        self.phase = if keeps_alive { Phase::Request } else { Phase::Over };
        Ok(())
    }

    /// The length of the body: a lower bound.
    fn frame_len(&self, response: &Response) -> usize {
        match self.phase {
            Phase::Response(framing) => response.body_len(framing),
            Phase::Request | Phase::Over | Phase::Failed => 0,
        }
    }
}

/// A short text that ends the connection.
pub(crate) fn last_words(status: StatusCode, text: &str, framing: Framing) -> Bytes {
    let response = Response::text(status, format!("{text}\n")).closing();
    let mut dst = WriteBuffer::new();
    response.write(framing, &mut dst);
    dst.take_shared()
}
