//! The codec of one connection: HTTP at first, frames once a request has been accepted.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::client::Dialing;
#[cfg(feature = "websocket-deflate")]
use super::deflate::Agreement;
use super::error::WebSocketError;
use super::framing::{Framing, Role};
use super::{Accept, Incoming, Outgoing, Settings, frame};
use crate::codec::http::HttpCodec;
use crate::codec::{Decoder, Encoder, Protocol, WriteBuffer};
use crate::error::CloseReason;

/// The codec of one connection: made by [`WebSocket`](super::WebSocket).
#[derive(Debug)]
pub struct WebSocketCodec {
    settings: Arc<Settings>,
    /// Until the connection is a WebSocket.
    opening: Option<Box<Opening>>,
    framing: Framing,
}

/// Every connection has one of these.
const _: () = assert!(size_of::<WebSocketCodec>() <= 24);

#[derive(Debug)]
enum Opening {
    Server {
        http: HttpCodec,
        /// What is agreed on if the request that waits for its answer is accepted.
        #[cfg(feature = "websocket-deflate")]
        deflate: Option<Agreement>,
    },
    Client(Dialing),
}

impl Opening {
    /// Whether it is not known yet which end this is.
    fn is_untouched(&self) -> bool {
        matches!(self, Self::Server { http, .. } if !http.has_begun())
    }
}

impl WebSocketCodec {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let opening = Opening::Server {
            http: { settings.http }.codec(),
            #[cfg(feature = "websocket-deflate")]
            deflate: None,
        };
        Self { settings, opening: Some(Box::new(opening)), framing: Framing::unopened() }
    }

    pub(super) fn upgraded(settings: Arc<Settings>) -> Self {
        Self { settings, opening: None, framing: Framing::new(Role::Server, None) }
    }

    #[inline(never)]
    fn decode_opening(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, WebSocketError> {
        match self.opening.as_deref_mut() {
            None => Ok(None),
            #[cfg(not(feature = "websocket-deflate"))]
            Some(Opening::Server { http }) => {
                let request = http.decode(src).map_err(WebSocketError::Http)?;
                Ok(request.map(|request| Incoming::Request(Box::new(request))))
            }
            #[cfg(feature = "websocket-deflate")]
            Some(Opening::Server { http, deflate }) => {
                let request = http.decode(src).map_err(WebSocketError::Http)?;
                Ok(request.map(|request| {
                    *deflate = agreement(&self.settings, &request);
                    Incoming::Request(Box::new(request))
                }))
            }
            Some(Opening::Client(dialing)) => {
                let Some((answer, deflate)) = dialing.decode(src)? else {
                    return Ok(None);
                };
                self.framing = Framing::new(Role::Client, deflate);
                self.opening = None;
                Ok(Some(Incoming::Accepted(Box::new(answer))))
            }
        }
    }

    fn accept(&mut self, accept: Accept, dst: &mut WriteBuffer) -> Result<(), WebSocketError> {
        let deflate = match self.opening.as_deref() {
            #[cfg(not(feature = "websocket-deflate"))]
            Some(Opening::Server { http }) if http.is_blocked() => {
                accept.encode(dst);
                None
            }
            #[cfg(feature = "websocket-deflate")]
            Some(Opening::Server { http, deflate }) if http.is_blocked() => {
                match deflate {
                    Some(agreed) => accept.extensions(agreed.answer()).encode(dst),
                    None => accept.encode(dst),
                }
                deflate.map(Agreement::for_server)
            }
            _ => return Err(WebSocketError::NothingToAnswer),
        };
        self.framing = Framing::new(Role::Server, deflate);
        self.opening = None;
        Ok(())
    }

    /// Everything but a message.
    #[cold]
    #[inline(never)]
    fn encode_other(
        &mut self,
        packet: Outgoing,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        match (packet, self.opening.as_deref_mut()) {
            (Outgoing::Accept(accept), _) => self.accept(*accept, dst),
            (Outgoing::Response(response), Some(Opening::Server { http, .. })) => {
                http.encode(*response, dst).map_err(WebSocketError::Response)
            }
            (Outgoing::Response(_), _) => Err(WebSocketError::NothingToAnswer),
            (Outgoing::Offer(offer), Some(opening)) if opening.is_untouched() => {
                *opening = Opening::Client(Dialing::begin(offer, &self.settings, dst));
                Ok(())
            }
            (Outgoing::Offer(_), _) => Err(WebSocketError::LateOffer),
            (_, Some(_)) => Err(WebSocketError::NotOpen),
            (Outgoing::Message(message), None) => self.framing.encode(message, dst),
            (Outgoing::Ping(payload), None) => {
                self.framing.encode_control(frame::PING, &payload, dst)
            }
            (Outgoing::Pong(payload), None) => {
                self.framing.encode_control(frame::PONG, &payload, dst)
            }
            (Outgoing::Close(close), None) => self.framing.encode_close(&close, dst),
        }
    }
}

#[cfg(feature = "websocket-deflate")]
fn agreement(settings: &Settings, request: &crate::codec::http::Request) -> Option<Agreement> {
    let offers = request.headers().get_all(crate::codec::http::header::SEC_WEBSOCKET_EXTENSIONS);
    let offers = offers.iter().filter_map(|header| header.to_str().ok());
    Agreement::choose(settings.deflate?, offers)
}

impl Decoder for WebSocketCodec {
    type Packet = Incoming;
    type Error = WebSocketError;

    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, WebSocketError> {
        if self.opening.is_some() {
            return self.decode_opening(src);
        }
        self.framing.decode(src, &self.settings)
    }

    fn holds_partial(&self) -> bool {
        self.framing.holds_partial()
    }

    const SPEAKS: bool = true;

    #[inline]
    fn is_blocked(&self) -> bool {
        match self.opening.as_deref() {
            None | Some(Opening::Client(_)) => false,
            Some(Opening::Server { http, .. }) => http.is_blocked(),
        }
    }

    #[inline]
    fn take_reply(&mut self) -> Option<Bytes> {
        match self.opening.as_deref_mut() {
            None => self.framing.take_reply(),
            Some(Opening::Server { http, .. }) => http.take_reply(),
            Some(Opening::Client(_)) => None,
        }
    }

    #[inline(always)]
    fn is_silent(&self) -> bool {
        match self.opening.as_deref() {
            None => self.framing.is_silent(),
            Some(Opening::Server { http, .. }) => http.is_silent(),
            Some(Opening::Client(_)) => true,
        }
    }

    #[inline]
    fn ending(&self) -> Option<CloseReason> {
        match self.opening.as_deref() {
            None => self.framing.ending(),
            Some(Opening::Server { http, .. }) => http.ending(),
            Some(Opening::Client(_)) => None,
        }
    }

    fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        match self.opening.as_deref_mut() {
            None => self.framing.farewell(reason),
            Some(Opening::Server { http, .. }) => http.farewell(reason),
            Some(Opening::Client(_)) => None,
        }
    }

    fn probe(&mut self) -> Option<Bytes> {
        if self.opening.is_some() { None } else { self.framing.probe() }
    }

    fn detach(packet: Incoming) -> Incoming {
        match packet {
            Incoming::Message(message) => Incoming::Message(message.detach()),
            other => other,
        }
    }
}

impl Encoder<Outgoing> for WebSocketCodec {
    type Error = WebSocketError;

    #[inline(always)]
    fn encode(&mut self, packet: Outgoing, dst: &mut WriteBuffer) -> Result<(), WebSocketError> {
        match packet {
            Outgoing::Message(message) if self.opening.is_none() => {
                self.framing.encode(message, dst)
            }
            other => self.encode_other(other, dst),
        }
    }

    /// Exact for frames, but for those that are compressed or follow a pong; a lower bound for what is HTTP.
    #[inline]
    fn frame_len(&self, packet: &Outgoing) -> usize {
        match packet {
            Outgoing::Message(message) => self.framing.frame_len(message.len()),
            Outgoing::Ping(payload) | Outgoing::Pong(payload) => {
                self.framing.control_len(payload.len())
            }
            Outgoing::Close(close) => self.framing.control_len(2 + close.reason.len()),
            Outgoing::Response(response) => match self.opening.as_deref() {
                Some(Opening::Server { http, .. }) => http.frame_len(response),
                _ => 0,
            },
            Outgoing::Accept(_) | Outgoing::Offer(_) => 0,
        }
    }

    /// A close is each connection's own: nothing may follow it there.
    #[inline]
    fn is_stateless(&self, packet: &Outgoing) -> bool {
        let ends = matches!(packet, Outgoing::Close(_));
        !ends && self.opening.is_none() && self.framing.is_stateless()
    }
}
