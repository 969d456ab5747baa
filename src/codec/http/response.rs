//! A response: a status, headers and a body that is there as a whole.

use std::fmt;

use bytes::Bytes;
pub use http::Error as InvalidHeader;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

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
}

/// The length of the body, not the body.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_len", &self.body.len())
            .field("closes", &self.closes)
            .finish()
    }
}
