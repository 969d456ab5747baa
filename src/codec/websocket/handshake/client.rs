//! The client's side: the request, and what must be true of the answer (RFC 6455, section 4.1).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use memchr::memmem;

use super::{KEY_LEN, accept_value, put_header};
use crate::codec::WriteBuffer;
use crate::codec::http::token::{is_token, list_has};
use crate::codec::scan::Scan;
use crate::codec::sniff::{Hint, looks_like};

const END: &[u8] = b"\r\n\r\n";

/// The most bytes of an answer's head, and of those of interim ones before it.
const MAX_ANSWER: usize = 16 * 1024;

/// The most headers of an answer.
const MAX_HEADERS: usize = 64;

/// A request for a WebSocket, until its answer has come.
#[derive(Clone)]
pub struct Offer {
    target: HeaderValue,
    host: HeaderValue,
    key: [u8; KEY_LEN],
    subprotocols: Vec<Box<str>>,
    extensions: Option<HeaderValue>,
    headers: HeaderMap,
    scan: Scan,
    /// Bytes of interim answers.
    interim: usize,
}

/// What the server has agreed to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The subprotocol, one of those that were offered.
    pub subprotocol: Option<Box<str>>,
    /// The value of the header that names extensions. There is none where none was offered.
    pub extensions: Option<HeaderValue>,
}

impl Offer {
    /// A request to `host` (with `:port` where it is not the scheme's own) for `target` (path and query).
    ///
    /// The nonce must be random, and new for each connection.
    ///
    /// # Errors
    ///
    /// When one of them cannot stand in a request: a blank or a line break, say.
    pub fn new(host: &str, target: &str, nonce: [u8; 16]) -> Result<Self, HandshakeError> {
        let printable = |text: &str, what| match HeaderValue::from_str(text) {
            Ok(value) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(value)
            }
            _ => Err(HandshakeError::BadOffer { what }),
        };
        let target_value = printable(target, "the target has blanks or other letters than ASCII")?;
        if !target.starts_with('/') || target.contains('#') {
            return Err(HandshakeError::BadOffer {
                what: "the target does not begin with /, or has a #",
            });
        }
        let mut key = [0; KEY_LEN];
        let len = STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 letters");
        debug_assert_eq!(len, KEY_LEN);
        Ok(Self {
            target: target_value,
            host: printable(host, "the host is empty, has blanks or other letters than ASCII")?,
            key,
            subprotocols: Vec::new(),
            extensions: None,
            headers: HeaderMap::new(),
            scan: Scan::default(),
            interim: 0,
        })
    }

    /// Offers a subprotocol, one that is less dear than those before.
    ///
    /// # Errors
    ///
    /// When the name is no token, or was offered already.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, HandshakeError> {
        if !is_token(name) || self.subprotocols.iter().any(|other| **other == *name) {
            return Err(HandshakeError::BadOffer {
                what: "a subprotocol is no token, or is there twice",
            });
        }
        self.subprotocols.push(name.into());
        Ok(self)
    }

    /// Offers extensions: the value of the header.
    #[must_use]
    pub fn extensions(mut self, value: HeaderValue) -> Self {
        self.extensions = Some(value);
        self
    }

    /// Adds a header: `Origin`, `Authorization`, `Cookie`. Those of the handshake itself are not sent twice.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Appends the request.
    pub fn encode(&self, dst: &mut WriteBuffer) {
        dst.put_slice(b"GET ");
        dst.put_slice(self.target.as_bytes());
        dst.put_slice(b" HTTP/1.1\r\n");
        put_header(dst, &header::HOST, self.host.as_bytes());
        dst.put_slice(b"upgrade: websocket\r\nconnection: Upgrade\r\n");
        put_header(dst, &header::SEC_WEBSOCKET_KEY, &self.key);
        dst.put_slice(b"sec-websocket-version: 13\r\n");
        if !self.subprotocols.is_empty() {
            put_header(
                dst,
                &header::SEC_WEBSOCKET_PROTOCOL,
                self.subprotocols.join(", ").as_bytes(),
            );
        }
        if let Some(value) = &self.extensions {
            put_header(dst, &header::SEC_WEBSOCKET_EXTENSIONS, value.as_bytes());
        }
        for (name, value) in &self.headers {
            if !is_own(name) {
                put_header(dst, name, value.as_bytes());
            }
        }
        dst.put_slice(b"\r\n");
    }

    /// Takes the server's answer off the front of `src`, once it has come; what stands behind it is frames. Interim answers
    /// (RFC 9110, section 15.2) are passed over.
    ///
    /// # Errors
    ///
    /// When the server refuses, or answers something else than it must, or more than 16 KiB.
    pub fn read_answer(&mut self, src: &mut BytesMut) -> Result<Option<Answer>, HandshakeError> {
        while let Some(len) = self.find_head(src)? {
            let answer = self.judge(&src[..len])?;
            src.advance(len);
            if answer.is_some() {
                return Ok(answer);
            }
            self.interim += len;
        }
        Ok(None)
    }

    /// The length of the head at the front.
    fn find_head(&mut self, src: &[u8]) -> Result<Option<usize>, HandshakeError> {
        let most = MAX_ANSWER - self.interim;
        let window = &src[..src.len().min(most)];
        let find = |new: &[u8]| memmem::find(new, END);
        let Some(end) = self.scan.find(window, END.len(), find) else {
            if window.len() == most {
                return Err(HandshakeError::TooLong { max: MAX_ANSWER });
            }
            if window.len() >= 5 && !window.starts_with(b"HTTP/") {
                return Err(HandshakeError::NotHttp { looks_like: looks_like(window) });
            }
            return Ok(None);
        };
        Ok(Some(end + END.len()))
    }

    /// `None` for an interim answer.
    fn judge(&self, head: &[u8]) -> Result<Option<Answer>, HandshakeError> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut slots);
        let not_http = || HandshakeError::NotHttp { looks_like: None };
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err(HandshakeError::TooManyHeaders { max: MAX_HEADERS });
            }
            _ => return Err(not_http()),
        }
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(not_http)?;
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let interim = status.is_informational();
            return if interim { Ok(None) } else { Err(HandshakeError::Refused { status }) };
        }
        let mut headers = HeaderMap::with_capacity(parsed.headers.len());
        for parsed in parsed.headers {
            let name = HeaderName::from_bytes(parsed.name.as_bytes()).map_err(|_| not_http())?;
            let value = HeaderValue::from_bytes(parsed.value).map_err(|_| not_http())?;
            headers.append(name, value);
        }
        self.check(&headers).map(Some)
    }

    fn check(&self, headers: &HeaderMap) -> Result<Answer, HandshakeError> {
        for (name, element) in [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")] {
            if !list_has(headers, &name, element) {
                return Err(HandshakeError::BadAnswer { header: name });
            }
        }
        let accept = only(headers, header::SEC_WEBSOCKET_ACCEPT)?;
        if accept.is_none_or(|value| value.as_bytes() != accept_value(&self.key)) {
            return Err(HandshakeError::BadAnswer { header: header::SEC_WEBSOCKET_ACCEPT });
        }
        let subprotocol = match only(headers, header::SEC_WEBSOCKET_PROTOCOL)? {
            None => None,
            Some(value) => {
                let offered = self.subprotocols.iter().find(|name| value == &***name);
                let bad = HandshakeError::BadAnswer { header: header::SEC_WEBSOCKET_PROTOCOL };
                Some(offered.cloned().ok_or(bad)?)
            }
        };
        let extensions = only(headers, header::SEC_WEBSOCKET_EXTENSIONS)?.cloned();
        if extensions.is_some() && self.extensions.is_none() {
            return Err(HandshakeError::BadAnswer { header: header::SEC_WEBSOCKET_EXTENSIONS });
        }
        Ok(Answer { subprotocol, extensions })
    }
}

/// Without the values of headers, which may be secrets.
impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("host", &self.host)
            .field("target", &self.target)
            .field("subprotocols", &self.subprotocols)
            .field("extensions", &self.extensions)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Headers that the handshake writes itself.
fn is_own(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::UPGRADE,
        header::CONNECTION,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ]
    .contains(name)
}

/// A header that there must not be twice.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, HandshakeError> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(HandshakeError::BadAnswer { header: name }),
    }
}

/// Why a connection that this side made is no WebSocket.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What was to be asked for cannot be put in a request.
    BadOffer {
        /// Why not.
        what: &'static str,
    },
    /// The server answered with another status than 101.
    Refused {
        /// That status.
        status: StatusCode,
    },
    /// The server agreed, but a header of its answer is missing, repeated, or not what was asked for.
    BadAnswer {
        /// The header.
        header: HeaderName,
    },
    /// The answer is not HTTP.
    NotHttp {
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// The answer does not end within its maximum.
    TooLong {
        /// The most bytes that it may have.
        max: usize,
    },
    /// The answer has too many headers.
    TooManyHeaders {
        /// The most that it may have.
        max: usize,
    },
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadOffer { what } => write!(f, "a WebSocket cannot be asked for: {what}"),
            Self::Refused { status } => {
                write!(f, "the server refuses to open a WebSocket: it answered {status}")
            }
            Self::BadAnswer { header } => write!(
                f,
                "the server's answer to the handshake has no {header}, or one that does not fit"
            ),
            Self::NotHttp { looks_like } => {
                write!(f, "the server's answer to the handshake is not HTTP{}", Hint(*looks_like))
            }
            Self::TooLong { max } => write!(
                f,
                "the server's answer to the handshake is longer than the maximum of {max} bytes"
            ),
            Self::TooManyHeaders { max } => write!(
                f,
                "the server's answer to the handshake has more than the maximum of {max} headers"
            ),
        }
    }
}

impl std::error::Error for HandshakeError {}
