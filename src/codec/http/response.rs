//! A response: a status, headers and a body that is there as a whole.

use std::fmt::{self, Write};

use bytes::{BufMut, Bytes};
pub use http::Error as InvalidHeader;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::request::Request;
use crate::codec::WriteBuffer;

/// What of a request decides how its response is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Framing {
    /// The method was `HEAD`.
    head_only: bool,
    keep_alive: bool,
    /// A client of HTTP/1.0 believes in a kept connection only if it is told.
    is_1_0: bool,
}

impl Framing {
    /// Of a response to nothing that was understood.
    pub(crate) const LAST: Self = Self { head_only: false, keep_alive: false, is_1_0: false };

    pub(crate) fn of(request: &Request) -> Self {
        Self {
            head_only: *request.method() == Method::HEAD,
            keep_alive: request.keep_alive(),
            is_1_0: request.version() == Version::HTTP_10,
        }
    }
}

/// A response. What frames it is written by the codec, not set here: `Content-Length` from the body, and `Connection`
/// from what the request allowed.
///
/// ```
/// use wheelhouse::codec::http::{Response, StatusCode};
///
/// let page = Response::html(StatusCode::OK, "<p>hello").header("cache-control", "no-cache")?;
/// let missing = Response::text(StatusCode::NOT_FOUND, "no such page\n");
/// # assert_eq!(missing.status(), 404);
///
/// // a line break that would begin another header is refused
/// assert!(page.header("x-user", "ann\r\nset-cookie: a=b").is_err());
/// # Ok::<(), wheelhouse::codec::http::InvalidHeader>(())
/// ```
///
/// A clone is cheap in its body, which is shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) closes: bool,
}

impl Response {
    /// A response with this status, no headers and an empty body.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), closes: false }
    }

    /// Plain text in UTF-8.
    #[must_use]
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self::new(status).body(HeaderValue::from_static("text/plain; charset=utf-8"), text)
    }

    /// A page in UTF-8.
    #[must_use]
    pub fn html(status: StatusCode, page: impl Into<Bytes>) -> Self {
        Self::new(status).body(HeaderValue::from_static("text/html; charset=utf-8"), page)
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, bytes: impl Into<Bytes>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, content_type);
        self.body = bytes.into();
        self
    }

    /// Sets a header, in the place of any of that name. `Content-Length`, `Transfer-Encoding` and `Connection` are not
    /// sent: they are the codec's.
    ///
    /// # Errors
    ///
    /// When the name is no header's name, or the value has a control character, a line break above all.
    pub fn header<N, V>(mut self, name: N, value: V) -> Result<Self, InvalidHeader>
    where
        N: TryInto<HeaderName, Error: Into<InvalidHeader>>,
        V: TryInto<HeaderValue, Error: Into<InvalidHeader>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let value = value.try_into().map_err(Into::into)?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Closes the connection behind this response, whatever the request allowed.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Its body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// How many bytes of the body go out.
    pub(crate) fn body_len(&self, framing: Framing) -> usize {
        if framing.head_only || !has_content(self.status) { 0 } else { self.body.len() }
    }

    /// Appends the response, and says whether another may follow.
    pub(crate) fn write(self, framing: Framing, dst: &mut WriteBuffer) -> bool {
        let keeps_alive = framing.keep_alive && !self.closes;
        let headers: usize = self.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        dst.reserve(ROOM_FOR_THE_REST + headers);
        let reason = self.status.canonical_reason().unwrap_or_default();
        put(dst, format_args!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()));
        for (name, value) in &self.headers {
            if !is_framing(name) {
                put_header(dst, name, value.as_bytes());
            }
        }
        if has_content(self.status) {
            put(dst, format_args!("content-length: {}\r\n", self.body.len()));
        }
        // RFC 9110, section 7.8: an Upgrade header comes with the option of its name.
        let upgrades = self.headers.contains_key(header::UPGRADE) && !framing.is_1_0;
        let options: Option<&[u8]> = match (keeps_alive, upgrades) {
            (true, true) => Some(b"upgrade"),
            (true, false) => framing.is_1_0.then_some(b"keep-alive"),
            (false, true) => Some(b"upgrade, close"),
            (false, false) => Some(b"close"),
        };
        if let Some(options) = options {
            put_header(dst, &header::CONNECTION, options);
        }
        dst.put_slice(b"\r\n");
        if self.body_len(framing) > 0 {
            dst.put_shared(self.body);
        }
        keeps_alive
    }
}

/// What the status line, the codec's own headers and the empty line take, about.
const ROOM_FOR_THE_REST: usize = 96;

/// Whether a response of this status has a length and a body at all (RFC 9110, section 6.4.1).
fn has_content(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Headers that say where the response ends: the codec's own.
fn is_framing(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name)
}

fn put(dst: &mut WriteBuffer, text: fmt::Arguments<'_>) {
    (**dst).write_fmt(text).expect("a buffer grows");
}

/// A `HeaderValue` has no line breaks.
fn put_header(dst: &mut WriteBuffer, name: &HeaderName, value: &[u8]) {
    dst.put_slice(name.as_str().as_bytes());
    dst.put_slice(b": ");
    dst.put_slice(value);
    dst.put_slice(b"\r\n");
}

/// Without the values of headers, which may be secrets, and of the body its length alone.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_len", &self.body.len())
            .field("closes", &self.closes)
            .finish()
    }
}
