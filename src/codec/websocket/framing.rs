//! A connection that has become a WebSocket, and its short way: a whole message in one frame, in or out. Whatever is less
//! common takes the long way, in `framing/receiving.rs` and `framing/sending.rs`.
//!
//! Frames are unmasked where they lie in the read buffer, and what came in one frame is handed on as a slice of it. Text is
//! validated once, by the piece where a frame comes in pieces, so that a fault is told before the frame is whole; a byte
//! that has been unmasked and validated is not looked at again. Nothing here knows of HTTP.

mod receiving;
mod sending;

use bytes::{Buf, Bytes, BytesMut};

use self::receiving::Partial;
use super::assembly::Assembly;
use super::deflate::Deflate;
use super::error::WebSocketError;
use super::frame;
use super::mask;
use super::outgoing::{Keys, put_shared_frame};
use super::replies::Replies;
use super::utf8::Utf8;
use super::{CloseFrame, Incoming, Message, Settings, Text};
use crate::codec::WriteBuffer;
use crate::error::CloseReason;

/// One end of an open WebSocket.
///
/// Nearly every connection is nearly always *plain*: a server's, without compression, neither inside a message nor about to
/// end, with nothing owed to the peer. That there is no [`Rare`] says all of this at once, in one word of memory.
#[derive(Debug)]
pub(super) struct Framing {
    rare: Option<Box<Rare>>,
}

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Server,
    /// It masks what it sends.
    Client,
}

/// What there is to know of a connection that is not plain.
#[derive(Debug)]
struct Rare {
    life: Life,
    /// The frame that has begun and is not whole.
    partial: Option<Partial>,
    /// The text that is being received, where it comes in more than one piece.
    utf8: Utf8,
    /// A message that comes in fragments.
    message: Option<Assembly>,
    replies: Replies,
    /// A client's, which masks; a server has none.
    keys: Option<Keys>,
    /// Where it was agreed on.
    deflate: Option<Deflate>,
}

/// How far the closing has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Open,
    /// This side has sent a close frame; the peer's has not come.
    Sent,
    /// The peer's close frame has come; the answer to it has not been given.
    Received,
    /// Both.
    Over,
}

impl Rare {
    fn new(role: Role, deflate: Option<Deflate>) -> Self {
        Self {
            life: Life::Open,
            partial: None,
            utf8: Utf8::default(),
            message: None,
            replies: Replies::default(),
            keys: (role == Role::Client).then(Keys::new),
            deflate,
        }
    }

    /// Whether there is nothing to know.
    fn is_plain(&self) -> bool {
        self.keys.is_none()
            && self.deflate.is_none()
            && self.life == Life::Open
            && self.partial.is_none()
            && self.message.is_none()
            && self.replies.is_empty()
    }

    fn role(&self) -> Role {
        if self.keys.is_some() { Role::Client } else { Role::Server }
    }
}

impl Framing {
    pub(super) fn new(role: Role, deflate: Option<Deflate>) -> Self {
        let rare = Rare::new(role, deflate);
        Self { rare: (!rare.is_plain()).then(|| Box::new(rare)) }
    }

    /// Of a connection that is not open yet: nothing but a place.
    pub(super) fn unopened() -> Self {
        Self { rare: None }
    }

    /// Does something that may need, change or end what is rare.
    fn with_rare<T>(&mut self, then: impl FnOnce(&mut Rare) -> T) -> T {
        if let Some(rare) = &mut self.rare {
            let done = then(rare);
            if rare.is_plain() {
                self.rare = None;
            }
            return done;
        }
        let mut rare = Rare::new(Role::Server, None);
        let done = then(&mut rare);
        if !rare.is_plain() {
            self.rare = Some(Box::new(rare));
        }
        done
    }

    // Reading.

    pub(super) fn holds_partial(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.message.is_some())
    }

    /// The next message or close.
    #[inline(always)]
    pub(super) fn decode(
        &mut self,
        src: &mut BytesMut,
        settings: &Settings,
    ) -> Result<Option<Incoming>, WebSocketError> {
        match self.rare {
            None if src.is_empty() => Ok(None),
            None => self.decode_plain(src, settings),
            Some(_) => self.decode_frames(src, settings),
        }
    }

    /// One call, in which everything is in line, rather than a line of small calls in each loop that decodes.
    #[inline(never)]
    fn decode_plain(
        &mut self,
        src: &mut BytesMut,
        settings: &Settings,
    ) -> Result<Option<Incoming>, WebSocketError> {
        let Some((first, payload)) = take_whole(src, settings.max_whole) else {
            return self.decode_frames(src, settings);
        };
        if first == frame::FIN | frame::BINARY {
            return Ok(Some(Incoming::Message(Message::Binary(payload))));
        }
        let within = payload.len();
        match Text::try_from(payload) {
            Ok(text) => Ok(Some(Incoming::Message(Message::Text(text)))),
            Err(_) => Err(self.fail(WebSocketError::NotUtf8 { within })),
        }
    }

    #[inline(never)]
    fn decode_frames(
        &mut self,
        src: &mut BytesMut,
        settings: &Settings,
    ) -> Result<Option<Incoming>, WebSocketError> {
        self.with_rare(|rare| rare.decode_frames(src, settings))
    }

    #[cold]
    fn fail(&mut self, error: WebSocketError) -> WebSocketError {
        self.with_rare(|rare| rare.fail(error))
    }

    // Writing.

    #[inline(always)]
    pub(super) fn encode(
        &mut self,
        message: Message,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        if self.rare.is_some() {
            return self.encode_rare(message, dst);
        }
        let (opcode, payload) = opcode_and_payload(message);
        put_shared_frame(frame::FIN | opcode, payload, dst);
        Ok(())
    }

    #[inline(never)]
    fn encode_rare(
        &mut self,
        message: Message,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        self.with_rare(|rare| rare.encode(message, dst))
    }

    pub(super) fn encode_control(
        &mut self,
        opcode: u8,
        payload: &[u8],
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        self.with_rare(|rare| rare.encode_control(opcode, payload, dst))
    }

    /// The close frame of this side: nothing can be written after it.
    pub(super) fn encode_close(
        &mut self,
        close: &CloseFrame,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        self.with_rare(|rare| rare.encode_close(close, dst))
    }

    /// Exact, but for pongs that go first; 2 where it cannot be known before the message is compressed.
    #[inline(always)]
    pub(super) fn frame_len(&self, payload: usize) -> usize {
        match &self.rare {
            None => frame::header_size(payload, false) + payload,
            Some(rare) => rare.frame_len(payload),
        }
    }

    /// The length of a close, ping or pong frame.
    pub(super) fn control_len(&self, payload: usize) -> usize {
        let is_masked = self.rare.as_ref().is_some_and(|rare| rare.role() == Role::Client);
        frame::header_size(payload, is_masked) + payload
    }

    /// Whether a message's frame is the same for every peer.
    pub(super) fn is_stateless(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.is_stateless())
    }

    // What it says by itself.

    /// Whether there is neither a reply nor an end.
    #[inline]
    pub(super) fn is_silent(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.is_silent())
    }

    #[inline]
    pub(super) fn take_reply(&mut self) -> Option<Bytes> {
        if self.is_silent() { None } else { self.with_rare(Rare::take_reply) }
    }

    #[inline]
    pub(super) fn ending(&self) -> Option<CloseReason> {
        self.rare.as_ref().and_then(|rare| rare.ending())
    }

    pub(super) fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        self.with_rare(|rare| rare.farewell(reason))
    }

    /// A ping, which every peer answers.
    pub(super) fn probe(&mut self) -> Option<Bytes> {
        self.with_rare(Rare::probe)
    }
}

#[inline]
fn opcode_and_payload(message: Message) -> (u8, Bytes) {
    match message {
        Message::Text(text) => (frame::TEXT, text.into_bytes()),
        Message::Binary(bytes) => (frame::BINARY, bytes),
    }
}

/// The common case: a whole message in one frame, masked, of a length that takes two bytes at most. Everything else, and
/// everything that is wrong, is for the long way.
#[inline]
fn take_whole(src: &mut BytesMut, max: usize) -> Option<(u8, Bytes)> {
    let [first, second, key @ ..] = *src.first_chunk::<6>()?;
    if !matches!(first ^ frame::FIN, frame::TEXT | frame::BINARY) {
        return None;
    }
    let (start, len, key) = match second ^ frame::MASKED {
        len @ 0..=125 => (6, usize::from(len), key),
        126 => {
            let [_, _, high, low, key @ ..] = *src.first_chunk::<8>()?;
            let len = u16::from_be_bytes([high, low]);
            if len < 126 {
                return None;
            }
            (8, usize::from(len), key)
        }
        _ => return None,
    };
    if len > max {
        return None;
    }
    mask::apply(src.get_mut(start..start + len)?, key, 0);
    let mut payload = src.split_to(start + len).freeze();
    payload.advance(start);
    Some((first, payload))
}
