//! A request: its line and its headers. A value alone; `head.rs` makes it from bytes.

use std::borrow::Cow;
use std::fmt;

use bytes::BytesMut;
use http::{HeaderMap, Method, Version, header};

use super::error::HttpError;
use super::head::{Head, Limits};

/// A request, without its body.
///
/// ```
/// use wheelhouse::codec::http::{Method, Request};
///
/// let request = Request::parse(
///     b"GET /rooms/lob%62y?user=ann+lee&since=12 HTTP/1.1\r\nHost: example.com\r\nAccept: text/html\r\n\r\n",
/// )?;
/// assert_eq!(request.method(), Method::GET);
/// assert_eq!(request.path(), "/rooms/lob%62y");
/// assert_eq!(request.decoded_path().as_deref(), Some("/rooms/lobby"));
/// assert_eq!(request.query("user").as_deref(), Some("ann lee"));
/// assert_eq!(request.header("accept"), Some("text/html"));
/// assert!(request.keep_alive());
/// # Ok::<(), wheelhouse::codec::http::HttpError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) method: Method,
    /// Printable ASCII, in the form that the method asks for.
    pub(super) target: Box<str>,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) has_body: bool,
    pub(super) keep_alive: bool,
}

impl Request {
    /// The request at the front of `bytes`, by the default limits: for tests, above all.
    ///
    /// # Errors
    ///
    /// As of a connection's, and where the head does not end.
    pub fn parse(bytes: &[u8]) -> Result<Self, HttpError> {
        let request = Head::default().parse(&mut BytesMut::from(bytes), Limits::default())?;
        request.ok_or(HttpError::malformed("does not end"))
    }

    /// `GET`, `HEAD` and so on.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What is asked for, as it came: as a rule a path and perhaps a query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path as it came, with its percent signs: `/` and what follows, or `*` where the server itself is meant.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path_and_query().0
    }

    /// The path with its `%xx` decoded, or `None` where that is not UTF-8. A slash or a `..` may have been in disguise:
    /// compare it with what is known, and never hand it to the file system.
    #[must_use]
    pub fn decoded_path(&self) -> Option<Cow<'_, str>> {
        match percent_decoded(self.path().as_bytes(), Plus::Kept) {
            Cow::Borrowed(_) => Some(Cow::Borrowed(self.path())),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// The value of the first parameter of this name in the query, decoded as forms are encoded: `%xx`, and `+` for a
    /// blank. Empty where the name stands alone. What is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.path_and_query().1?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(key) == name).then(|| form_decoded(value))
        })
    }

    /// HTTP/1.0 or HTTP/1.1.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// All headers, in the order of their coming for each name.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first header of this name, in any case of letters, where it is printable ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `Host` header.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.headers.get(header::HOST)?.to_str().ok()
    }

    /// The `Origin` header: the site whose page made a browser ask.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.headers.get(header::ORIGIN)?.to_str().ok()
    }

    /// Whether a body was announced. It is not read: the response closes the connection.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// Whether another request may follow on this connection.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The target's path and query, without the scheme and authority of an absolute one.
    fn path_and_query(&self) -> (&str, Option<&str>) {
        let target = match self.target.split_once("://") {
            Some((_, rest)) if !self.target.starts_with('/') => {
                rest.find(['/', '?']).map_or("/", |at| &rest[at..])
            }
            _ => &self.target,
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        (if path.is_empty() { "/" } else { path }, query)
    }
}

/// Without the values of headers, which may be secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("version", &self.version)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("has_body", &self.has_body)
            .field("keep_alive", &self.keep_alive)
            .finish()
    }
}

/// What a plus sign stands for: itself in a path, a blank in a form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Kept,
    Blank,
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    match percent_decoded(text.as_bytes(), Plus::Blank) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// A percent sign that two hexadecimal digits do not follow stays as it is.
fn percent_decoded(text: &[u8], plus: Plus) -> Cow<'_, [u8]> {
    if !text.iter().any(|&byte| byte == b'%' || (byte == b'+' && plus == Plus::Blank)) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        decoded.push(match (byte, behind) {
            (b'+', _) if plus == Plus::Blank => b' ',
            (b'%', [high, low, behind @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    high << 4 | low
                }
                _ => b'%',
            },
            (&byte, _) => byte,
        });
    }
    Cow::Owned(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
