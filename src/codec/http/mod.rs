//! The small HTTP/1.1 side of a server that has a page, a health check or a WebSocket to offer: requests without a body,
//! answered in order. No router, no chunked bodies, no TLS; what is needed of them stands in front of this server.

mod codec;
mod error;
mod files;
mod head;
mod origin;
mod parse;
mod prometheus;
mod request;
mod response;
#[cfg(test)]
mod tests;
pub(crate) mod token;

pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

pub use self::codec::{Http, HttpCodec};
pub use self::error::{HttpError, ResponseError};
pub use self::files::{Files, FilesError};
pub use self::origin::{BadOrigin, OriginRefused, Origins};
pub use self::prometheus::Metrics;
pub use self::request::Request;
pub use self::response::{InvalidHeader, Response};

/// What a WebSocket needs while it is still HTTP.
#[cfg(feature = "websocket")]
#[allow(unused_imports)]
pub(crate) use self::{
    codec::last_words,
    head::{Head, Limits},
    response::Framing,
};
