//! What can be wrong with a request, and with an answer.

use std::fmt;

use http::StatusCode;

use crate::codec::sniff::Hint;

/// What can be wrong with a request. The peer is told by an answer of this [`status`](Self::status).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// The bytes are no request, or one that two readers may understand in two ways.
    Malformed {
        /// What was wrong: the rest of a sentence that begins with "a request".
        what: &'static str,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// The target of the request, path and query together, is too long.
    TargetTooLong {
        /// The most bytes that it may have.
        max: usize,
    },
    /// The request line and the headers together are too long.
    HeadTooLong {
        /// The most bytes that they may have, with the empty line that ends them.
        max: usize,
    },
    /// There are too many headers.
    TooManyHeaders {
        /// The most that there may be.
        max: usize,
    },
    /// A version of HTTP that is neither 1.0 nor 1.1.
    Version {
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Something of HTTP that is not done here.
    Unsupported {
        /// What it was.
        what: &'static str,
    },
}

impl HttpError {
    pub(crate) fn malformed(what: &'static str) -> Self {
        Self::Malformed { what, looks_like: None }
    }

    /// The same, with what the stream begins like.
    pub(crate) fn with_guess(mut self, guess: Option<&'static str>) -> Self {
        if let Self::Malformed { looks_like, .. } | Self::Version { looks_like } = &mut self {
            *looks_like = guess;
        }
        self
    }

    /// The status of the answer: 400, 414, 431, 501 or 505.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong { .. } | Self::TooManyHeaders { .. } => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Version { .. } => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Unsupported { .. } => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Malformed { what, looks_like } => {
                write!(f, "a request {what}{}", Hint(looks_like))
            }
            Self::TargetTooLong { max } => {
                write!(f, "a request's target is longer than the maximum of {max} bytes")
            }
            Self::HeadTooLong { max } => {
                write!(f, "a request's head is longer than the maximum of {max} bytes")
            }
            Self::TooManyHeaders { max } => {
                write!(f, "a request has more than the maximum of {max} headers")
            }
            Self::Version { looks_like } => {
                write!(f, "a request is neither of HTTP/1.0 nor of HTTP/1.1{}", Hint(looks_like))
            }
            Self::Unsupported { what } => {
                write!(f, "a request wants {what}, which is not done here")
            }
        }
    }
}

impl std::error::Error for HttpError {}

/// Why a response cannot be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResponseError {
    /// There is no request that waits for one: each request has one response.
    NoRequest,
    /// A status under 200 is no answer: the response is still to come.
    Interim {
        /// That status.
        status: StatusCode,
    },
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRequest => f.write_str("no request waits for a response; each has exactly one"),
            Self::Interim { status } => {
                write!(f, "a response of status {} is not a final one", status.as_u16())
            }
        }
    }
}

impl std::error::Error for ResponseError {}
