//! The client's way in: an [`Offer`] is written, an [`Answer`] read, and then it is a WebSocket.

use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::time::Duration;

use bytes::BytesMut;

use super::deflate::Deflate;
use super::error::WebSocketError;
use super::{Answer, Incoming, Offer, Settings, WebSocket, WebSocketCodec};
use crate::client::{Client, ClientError};
use crate::codec::WriteBuffer;

/// How long [`connect`] tries to connect, and how long it waits for the answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

impl Offer {
    /// A request to `host` (with `:port` where it is not the scheme's own) for `target` (path and query), with a key of its
    /// own.
    ///
    /// ```
    /// use wheelhouse::codec::websocket::{Offer, Outgoing};
    ///
    /// let offer = Offer::random("example.com", "/chat?room=lobby")?.subprotocol("chat")?;
    /// let first_packet = Outgoing::from(offer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Offer::new`], and when the system has no random bytes for the key.
    pub fn random(host: &str, target: &str) -> Result<Self, WebSocketError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| WebSocketError::NoRandomness(error.into()))?;
        Self::new(host, target, nonce).map_err(WebSocketError::Handshake)
    }
}

/// Opens a WebSocket as a client: connects, asks for `target` (path and query), and returns when the server has agreed.
/// 10 s are the limit for each of the two.
///
/// See [the module](super) for an example.
///
/// # Errors
///
/// As [`connect_with`].
pub fn connect(
    address: impl ToSocketAddrs + Display,
    target: &str,
) -> Result<Client<WebSocketCodec>, ClientError> {
    let offer = Offer::random(&address.to_string(), target)
        .map_err(|error| ClientError::Encode(Box::new(error)))?;
    let (client, _) = connect_with(address, &WebSocket::new(), offer, CONNECT_LIMIT)?;
    Ok(client)
}

/// As [`connect`], with limits, an offer of subprotocols and headers, and a time for each of the two steps; says what the
/// server agreed to.
///
/// # Errors
///
/// - [`ClientError::Connect`] and [`ClientError::TimedOut`].
/// - [`ClientError::Encode`] when the offer cannot be made.
/// - [`ClientError::Protocol`] with a [`WebSocketError::Handshake`] when the server refuses, or answers something else.
pub fn connect_with(
    address: impl ToSocketAddrs,
    protocol: &WebSocket,
    offer: Offer,
    limit: Duration,
) -> Result<(Client<WebSocketCodec>, Answer), ClientError> {
    let mut client = Client::connect_timeout(address, limit, protocol.codec())?;
    client.write(offer.into())?;
    client.set_read_timeout(Some(limit));
    match client.read()? {
        Some(Incoming::Accepted(answer)) => {
            client.set_read_timeout(None);
            Ok((client, *answer))
        }
        // The codec hands on nothing else before the answer.
        _ => Err(ClientError::Truncated { bytes: 0 }),
    }
}

/// An offer that waits for its answer.
#[derive(Debug)]
pub(super) struct Dialing {
    offer: Box<Offer>,
    #[cfg(feature = "websocket-deflate")]
    deflate: Option<super::DeflateOptions>,
}

impl Dialing {
    /// Writes the offer.
    pub(super) fn begin(offer: Box<Offer>, settings: &Settings, dst: &mut WriteBuffer) -> Self {
        #[cfg(not(feature = "websocket-deflate"))]
        let _ = settings;
        #[cfg(feature = "websocket-deflate")]
        let offer = match settings.deflate.map(super::deflate::Agreement::offer) {
            Some(extensions) => Box::new(offer.extensions(extensions)),
            None => offer,
        };
        offer.encode(dst);
        Self {
            offer,
            #[cfg(feature = "websocket-deflate")]
            deflate: settings.deflate,
        }
    }

    /// The answer, once it has come.
    pub(super) fn decode(
        &mut self,
        src: &mut BytesMut,
    ) -> Result<Option<(Answer, Option<Deflate>)>, WebSocketError> {
        let answer = self.offer.read_answer(src).map_err(WebSocketError::Handshake)?;
        let Some(answer) = answer else { return Ok(None) };
        let deflate = self.agreed(&answer)?;
        Ok(Some((answer, deflate)))
    }

    #[cfg(feature = "websocket-deflate")]
    fn agreed(&self, answer: &Answer) -> Result<Option<Deflate>, WebSocketError> {
        use super::HandshakeError::BadAnswer;
        let Some(extensions) = &answer.extensions else { return Ok(None) };
        let agreement = extensions
            .to_str()
            .ok()
            .and_then(|extensions| super::deflate::Agreement::accept(self.deflate?, extensions));
        let header = crate::codec::http::header::SEC_WEBSOCKET_EXTENSIONS;
        let agreement = agreement.ok_or(WebSocketError::Handshake(BadAnswer { header }))?;
        Ok(Some(agreement.for_client()))
    }

    /// Whatever extension was offered by hand is the caller's to speak.
    #[cfg(not(feature = "websocket-deflate"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the other one has to do")]
    fn agreed(&self, _: &Answer) -> Result<Option<Deflate>, WebSocketError> {
        Ok(None)
    }
}
