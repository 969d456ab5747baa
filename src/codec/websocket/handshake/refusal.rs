//! Why a request cannot become a WebSocket, and the answer that says so.

use std::fmt;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::codec::http::{OriginRefused, Response};

/// Why a request cannot become a WebSocket.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The method is not `GET`.
    Method {
        /// What it is.
        method: Method,
    },
    /// The version of HTTP is older than 1.1.
    HttpVersion,
    /// A body was announced: it would be read as frames.
    Body,
    /// A header is missing.
    Missing {
        /// Its name.
        header: HeaderName,
    },
    /// A header that there must be once is there more than once.
    Repeated {
        /// Its name.
        header: HeaderName,
    },
    /// A header says something else than it must.
    Bad {
        /// Its name.
        header: HeaderName,
        /// What it says.
        value: HeaderValue,
    },
    /// A version of WebSocket that is not 13, which is the only one.
    WebSocketVersion {
        /// What was asked for.
        asked: HeaderValue,
    },
    /// A page of a site that is not allowed asked for it.
    Origin(OriginRefused),
}

impl Refusal {
    pub(super) fn bad(header: HeaderName, value: &HeaderValue) -> Self {
        Self::Bad { header, value: value.clone() }
    }

    /// The status of the answer: 400, 403, 405 or 426.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::WebSocketVersion { .. } => StatusCode::UPGRADE_REQUIRED,
            Self::Origin(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer, in plain text; it closes the connection.
    #[must_use]
    pub fn response(&self) -> Response {
        let mut response = Response::text(self.status(), format!("{self}\n")).closing();
        let headers = response.headers_mut();
        match self {
            Self::Method { .. } => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::WebSocketVersion { .. } => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }
}

impl From<OriginRefused> for Refusal {
    fn from(refused: OriginRefused) -> Self {
        Self::Origin(refused)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method { method } => {
                write!(f, "a WebSocket is asked for with GET, not {method}")
            }
            Self::HttpVersion => f.write_str("a WebSocket is asked for in HTTP/1.1, not in 1.0"),
            Self::Body => f.write_str("a request for a WebSocket has no body"),
            Self::Missing { header } => {
                write!(f, "a request for a WebSocket lacks the header {header}")
            }
            Self::Repeated { header } => {
                write!(f, "a request for a WebSocket has the header {header} more than once")
            }
            Self::Bad { header, value } => {
                write!(f, "a request for a WebSocket has the header {header} as {value:?}")
            }
            Self::WebSocketVersion { asked } => {
                write!(f, "version {asked:?} of WebSocket is not spoken here, only \"13\"")
            }
            Self::Origin(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}
