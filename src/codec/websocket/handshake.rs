//! The opening handshake (RFC 6455, section 4): an HTTP request that asks for a WebSocket, and the answer to it. What is
//! agreed on about extensions is for `deflate/` to say; here their headers are text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use http::{HeaderName, HeaderValue, Method, Version, header};
use sha1::{Digest, Sha1};

use crate::codec::WriteBuffer;
use crate::codec::http::Request;
use crate::codec::http::token::{is_token, list, list_has};

mod client;
mod refusal;
#[cfg(test)]
mod tests;

pub use self::client::{Answer, HandshakeError, Offer};
pub use self::refusal::Refusal;

/// What a key is hashed with: proof that the other end means WebSocket (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 bytes of base64.
const KEY_LEN: usize = 24;

/// The 20 bytes of a SHA-1 in base64.
const ACCEPT_LEN: usize = 28;

/// The value of `Sec-WebSocket-Accept` for a key.
fn accept_value(key: &[u8]) -> [u8; ACCEPT_LEN] {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut value = [0; ACCEPT_LEN];
    let len = STANDARD.encode_slice(hash, &mut value).expect("20 bytes are 28 letters");
    debug_assert_eq!(len, ACCEPT_LEN);
    value
}

/// A request to make this connection a WebSocket, found to be in order.
///
/// ```
/// use wheelhouse::codec::WriteBuffer;
/// use wheelhouse::codec::http::Request;
/// use wheelhouse::codec::websocket::Upgrade;
///
/// let request = Request::parse(
///     b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
///       Sec-WebSocket-Version: 13\r\n\r\n",
/// )?;
/// let upgrade = Upgrade::from_request(&request)?;
/// assert!(upgrade.subprotocols().eq(["chat", "superchat"]));
///
/// let mut dst = WriteBuffer::new();
/// upgrade.accept().subprotocol("chat").encode(&mut dst);
/// assert_eq!(
///     &dst[..],
///     b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
///       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n\r\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Upgrade {
    accept: [u8; ACCEPT_LEN],
    subprotocols: Vec<Box<str>>,
    extensions: Vec<HeaderValue>,
}

impl Upgrade {
    /// Whether a request asks for a WebSocket at all, rather than for a page.
    #[must_use]
    pub fn is_wanted(request: &Request) -> bool {
        list_has(request.headers(), &header::UPGRADE, "websocket")
    }

    /// Holds a request against RFC 6455, section 4.2.1.
    ///
    /// # Errors
    ///
    /// When it is not in order. [`Refusal::response`] is the answer to it.
    pub fn from_request(request: &Request) -> Result<Self, Refusal> {
        if *request.method() != Method::GET {
            return Err(Refusal::Method { method: request.method().clone() });
        }
        if request.version() < Version::HTTP_11 {
            return Err(Refusal::HttpVersion);
        }
        if request.has_body() {
            return Err(Refusal::Body);
        }
        expect_element(request, header::UPGRADE, "websocket")?;
        expect_element(request, header::CONNECTION, "upgrade")?;
        let version = only(request, header::SEC_WEBSOCKET_VERSION)?;
        if version != "13" {
            return Err(Refusal::WebSocketVersion { asked: version.clone() });
        }
        let key = only(request, header::SEC_WEBSOCKET_KEY)?;
        if !is_key(key.as_bytes()) {
            return Err(Refusal::bad(header::SEC_WEBSOCKET_KEY, key));
        }
        Ok(Self {
            accept: accept_value(key.as_bytes()),
            subprotocols: offered_subprotocols(request)?,
            extensions: all(request, header::SEC_WEBSOCKET_EXTENSIONS).cloned().collect(),
        })
    }

    /// The subprotocols that the client can speak, the dearest to it first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.subprotocols.iter().map(|name| &**name)
    }

    /// The headers in which the client offers extensions, each a list.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions.iter().filter_map(|value| value.to_str().ok())
    }

    /// Agrees, so far without a subprotocol or an extension.
    #[must_use]
    pub fn accept(self) -> Accept {
        Accept { upgrade: self, subprotocol: None, extensions: None }
    }
}

/// The answer that makes the connection a WebSocket.
#[derive(Clone, Debug)]
pub struct Accept {
    upgrade: Upgrade,
    /// Its place among those that were offered.
    subprotocol: Option<usize>,
    extensions: Option<HeaderValue>,
}

impl Accept {
    /// Chooses a subprotocol.
    ///
    /// # Panics
    ///
    /// When the client has not offered it: it would have to fail the connection.
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        let offered = self.upgrade.subprotocols().position(|offer| offer == name);
        assert!(offered.is_some(), "the subprotocol {name:?} was not offered");
        self.subprotocol = offered;
        self
    }

    /// Agrees on extensions: the value of the answer's header.
    #[must_use]
    pub fn extensions(mut self, value: HeaderValue) -> Self {
        self.extensions = Some(value);
        self
    }

    /// The subprotocol that was chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&str> {
        self.subprotocol.map(|place| &*self.upgrade.subprotocols[place])
    }

    /// Appends the response with status 101.
    pub fn encode(&self, dst: &mut WriteBuffer) {
        dst.put_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n",
        );
        put_header(dst, &header::SEC_WEBSOCKET_ACCEPT, &self.upgrade.accept);
        if let Some(name) = self.chosen() {
            put_header(dst, &header::SEC_WEBSOCKET_PROTOCOL, name.as_bytes());
        }
        if let Some(value) = &self.extensions {
            put_header(dst, &header::SEC_WEBSOCKET_EXTENSIONS, value.as_bytes());
        }
        dst.put_slice(b"\r\n");
    }
}

/// The value must have no line breaks: that of a `HeaderValue`, or a token.
fn put_header(dst: &mut WriteBuffer, name: &HeaderName, value: &[u8]) {
    dst.put_slice(name.as_str().as_bytes());
    dst.put_slice(b": ");
    dst.put_slice(value);
    dst.put_slice(b"\r\n");
}

fn all(request: &Request, name: HeaderName) -> impl Iterator<Item = &HeaderValue> {
    request.headers().get_all(name).iter()
}

/// The header that there must be once.
fn only(request: &Request, name: HeaderName) -> Result<&HeaderValue, Refusal> {
    let mut values = all(request, name.clone());
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Refusal::Missing { header: name }),
        (Some(_), Some(_)) => Err(Refusal::Repeated { header: name }),
    }
}

fn expect_element(request: &Request, name: HeaderName, element: &str) -> Result<(), Refusal> {
    if list_has(request.headers(), &name, element) {
        return Ok(());
    }
    Err(match request.headers().get(&name) {
        Some(value) => Refusal::bad(name, value),
        None => Refusal::Missing { header: name },
    })
}

/// Whether this is the base64 of 16 bytes, in its one form.
fn is_key(key: &[u8]) -> bool {
    // The decoder wants room for a whole number of groups.
    let mut nonce = [0; KEY_LEN / 4 * 3];
    key.len() == KEY_LEN && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

fn offered_subprotocols(request: &Request) -> Result<Vec<Box<str>>, Refusal> {
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    let mut offered: Vec<Box<str>> = Vec::new();
    for offer in list(request.headers(), &name) {
        if !is_token(offer) || offered.iter().any(|other| **other == *offer) {
            let value = request.headers().get(&name).expect("it has been listed");
            return Err(Refusal::bad(name, value));
        }
        offered.push(offer.into());
    }
    Ok(offered)
}
