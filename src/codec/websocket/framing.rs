//! A connection that has become a WebSocket: frames in, messages out. What it writes, and says by itself, is in
//! `framing/sending.rs`.
//!
//! Frames are unmasked where they lie in the read buffer, and what came in one frame is handed on as a slice of it. Text is
//! validated once, by the piece where a frame comes in pieces, so that a fault is told before the frame is whole; a byte
//! that has been unmasked and validated is not looked at again. Nothing here knows of HTTP.

mod sending;

use std::num::NonZeroU8;

use bytes::{Buf, Bytes, BytesMut};

use super::assembly::Assembly;
use super::deflate::Deflate;
use super::error::WebSocketError;
use super::frame::{self, Header};
use super::mask;
use super::outgoing::Keys;
use super::replies::Replies;
use super::utf8::Utf8;
use super::{CloseFrame, Incoming, Message, Settings, Text};

/// What one end knows of an open WebSocket. Small: most of the time there is nothing but an idle connection.
#[derive(Debug)]
pub(super) struct Framing {
    /// The frame that has begun and is not whole.
    partial: Option<Partial>,
    /// The text that is being received, where it comes in more than one piece.
    utf8: Utf8,
    role: Role,
    life: Life,
    /// What few connections have, and most of those for a moment.
    rare: Option<Box<Rare>>,
}

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Server,
    /// It masks what it sends.
    Client,
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

#[derive(Clone, Copy, Debug)]
struct Partial {
    /// Bytes of the header, which waits with the payload.
    header: NonZeroU8,
    first: u8,
    key: [u8; 4],
    /// Bytes of payload.
    len: usize,
    /// How many of them have been unmasked, and validated.
    done: usize,
}

#[derive(Default, Debug)]
struct Rare {
    /// A message that comes in fragments.
    message: Option<Assembly>,
    replies: Replies,
    /// A client's.
    keys: Option<Keys>,
    /// Where it was agreed on.
    deflate: Option<Deflate>,
}

impl Framing {
    pub(super) fn new(role: Role, deflate: Option<Deflate>) -> Self {
        let keys = (role == Role::Client).then(Keys::new);
        let is_rare = keys.is_some() || deflate.is_some();
        Self {
            partial: None,
            utf8: Utf8::default(),
            role,
            life: Life::Open,
            rare: is_rare.then(|| Box::new(Rare { keys, deflate, ..Rare::default() })),
        }
    }

    /// Of a connection that is not open yet: nothing but a place.
    pub(super) fn unopened() -> Self {
        Self::new(Role::Server, None)
    }

    pub(super) fn holds_partial(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.message.is_some())
    }

    /// The next message or close.
    #[inline]
    pub(super) fn decode(
        &mut self,
        src: &mut BytesMut,
        settings: &Settings,
    ) -> Result<Option<Incoming>, WebSocketError> {
        let is_between = self.partial.is_none() && self.rare.is_none() && self.life == Life::Open;
        if is_between && src.is_empty() {
            return Ok(None);
        }
        if is_between && let Some((first, payload)) = whole_message(src, settings.max_whole) {
            if first == frame::FIN | frame::BINARY {
                return Ok(Some(Incoming::Message(Message::Binary(payload))));
            }
            let within = payload.len();
            return match Text::try_from(payload) {
                Ok(text) => Ok(Some(Incoming::Message(Message::Text(text)))),
                Err(_) => Err(self.fail(WebSocketError::NotUtf8 { within })),
            };
        }
        self.decode_frames(src, settings)
    }

    /// Frame by frame, until one of them makes something to be handed on.
    #[inline(never)]
    fn decode_frames(
        &mut self,
        src: &mut BytesMut,
        settings: &Settings,
    ) -> Result<Option<Incoming>, WebSocketError> {
        loop {
            if matches!(self.life, Life::Received | Life::Over) {
                // Nothing that follows a close frame means anything.
                src.clear();
                return Ok(None);
            }
            match self.decode_frame(src, settings) {
                Ok(Progress::Unfinished) => return Ok(None),
                Ok(Progress::Silent) => {}
                Ok(Progress::Incoming(incoming)) => return Ok(Some(incoming)),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn decode_frame(
        &mut self,
        src: &mut BytesMut,
        settings: &Settings,
    ) -> Result<Progress, WebSocketError> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => match self.begin(src, settings)? {
                Some(partial) => partial,
                None => return Ok(Progress::Unfinished),
            },
        };
        let start = usize::from(partial.header.get());
        let have = partial.len.min(src.len() - start);
        let is_whole = have == partial.len;
        let new = &mut src[start + partial.done..start + have];
        if self.role == Role::Server {
            mask::apply(new, partial.key, partial.done);
        }
        // Text that has come whole is validated as it becomes a message.
        let whole_at_once = is_whole && partial.done == 0 && self.is_one_frame(partial.first);
        if !whole_at_once && self.is_plain_text(partial.first) {
            let invalid = |_| WebSocketError::NotUtf8 { within: have };
            self.utf8.push(new).map_err(invalid)?;
        }
        if !is_whole {
            partial.done = have;
            self.partial = Some(partial);
            return Ok(Progress::Unfinished);
        }
        let size = start + partial.len;
        let mut payload = src.split_to(size);
        payload.advance(start);
        self.finish(partial.first, payload, settings)
    }

    /// The frame at the front of `src`, once its header has come, if it may come now and is within the limits.
    fn begin(
        &mut self,
        src: &[u8],
        settings: &Settings,
    ) -> Result<Option<Partial>, WebSocketError> {
        let rare = self.rare.as_deref();
        let compresses = rare.is_some_and(|rare| rare.deflate.is_some());
        let reserved = if compresses { frame::RSV1 } else { 0 };
        let Some(header) = Header::read(src, self.role == Role::Server, reserved)? else {
            return Ok(None);
        };
        if !header.is_control() {
            let begun = rare.and_then(|rare| rare.message.as_ref());
            check_fits(&header, begun, settings)?;
        }
        let Header { first, len, key, size } = header;
        let header = NonZeroU8::new(size).unwrap_or(NonZeroU8::MIN);
        // Within `max_frame`, so it fits.
        Ok(Some(Partial { header, first, key, len: len as usize, done: 0 }))
    }

    fn is_one_frame(&self, first: u8) -> bool {
        first & frame::FIN != 0 && first & 0x0f != frame::CONTINUATION
    }

    /// Whether a frame's payload is text as it stands.
    fn is_plain_text(&self, first: u8) -> bool {
        match first & 0x0f {
            frame::TEXT => first & frame::RSV1 == 0,
            frame::CONTINUATION => {
                let message = self.rare.as_ref().and_then(|rare| rare.message.as_ref());
                message.is_some_and(Assembly::is_plain_text)
            }
            _ => false,
        }
    }

    /// A frame that is whole.
    fn finish(
        &mut self,
        first: u8,
        payload: BytesMut,
        settings: &Settings,
    ) -> Result<Progress, WebSocketError> {
        match first & 0x0f {
            frame::PING => {
                self.rare_mut(|rare| rare.replies.pong(&payload, rare.keys.as_mut()))?;
                Ok(Progress::Silent)
            }
            frame::PONG => Ok(if settings.pongs {
                Progress::Incoming(Incoming::Pong(payload.freeze()))
            } else {
                Progress::Silent
            }),
            frame::CLOSE => {
                let said = CloseFrame::read(&payload)?;
                self.note_peer_close(said.as_ref().map(|said| said.code));
                Ok(Progress::Incoming(Incoming::Closed(said)))
            }
            frame::TEXT if first & frame::RSV1 == 0 && first & frame::FIN != 0 => {
                self.text(payload.freeze()).map(Progress::from)
            }
            frame::BINARY if first & frame::RSV1 == 0 && first & frame::FIN != 0 => {
                Ok(Message::Binary(payload.freeze()).into())
            }
            _ => self.gather(first, &payload, settings),
        }
    }

    /// One fragment more, or a message that has to be inflated.
    fn gather(
        &mut self,
        first: u8,
        payload: &[u8],
        settings: &Settings,
    ) -> Result<Progress, WebSocketError> {
        let rare = self.rare.get_or_insert_default();
        let mut message = rare.message.take().unwrap_or_else(|| Assembly::new(first));
        message.push(first, payload, rare.deflate.as_mut(), settings)?;
        if first & frame::FIN == 0 {
            rare.message = Some(message);
            return Ok(Progress::Silent);
        }
        self.shed_rare();
        let is_text = message.is_text();
        let bytes = message.into_bytes();
        if is_text {
            self.text(bytes).map(Progress::from)
        } else {
            Ok(Message::Binary(bytes).into())
        }
    }

    fn text(&mut self, bytes: Bytes) -> Result<Message, WebSocketError> {
        let within = bytes.len();
        let invalid = WebSocketError::NotUtf8 { within };
        if self.utf8.finish().is_err() {
            return Err(invalid);
        }
        Text::try_from(bytes).map(Message::Text).map_err(|_| invalid)
    }

    // What few connections have.

    /// Does something with it, and puts it away if nothing is in it afterwards.
    fn rare_mut(
        &mut self,
        then: impl FnOnce(&mut Rare) -> Result<(), WebSocketError>,
    ) -> Result<(), WebSocketError> {
        let done = then(self.rare.get_or_insert_default());
        self.shed_rare();
        done
    }

    fn shed_rare(&mut self) {
        if let Some(rare) = self.rare.as_deref()
            && rare.message.is_none()
            && rare.replies.is_empty()
            && rare.keys.is_none()
            && rare.deflate.is_none()
        {
            self.rare = None;
        }
    }
}

/// What became of one frame.
enum Progress {
    /// It is not whole.
    Unfinished,
    /// It was, and there is nothing to hand on.
    Silent,
    Incoming(Incoming),
}

impl From<Message> for Progress {
    fn from(message: Message) -> Self {
        Self::Incoming(Incoming::Message(message))
    }
}

/// The common case: a whole message in one frame, masked, of a length that takes two bytes at most. Everything else, and
/// everything that is wrong, is for the slow way.
#[inline]
fn whole_message(src: &mut BytesMut, max: usize) -> Option<(u8, Bytes)> {
    let [first, second, third, fourth, ..] = **src else { return None };
    if first & !3 != frame::FIN || !matches!(first & 3, frame::TEXT | frame::BINARY) {
        return None;
    }
    let (len, key_at) = match second.wrapping_sub(frame::MASKED) {
        len @ 0..=125 => (usize::from(len), 2),
        126 => (usize::from(u16::from_be_bytes([third, fourth])), 4),
        _ => return None,
    };
    let start = key_at + 4;
    let size = start + len;
    if len > max || src.len() < size || (key_at == 4 && len < 126) {
        return None;
    }
    let mut whole = src.split_to(size);
    let (header, payload) = whole.split_at_mut(start);
    if let Some(&key) = header.last_chunk() {
        mask::apply(payload, key, 0);
    }
    let mut payload = whole.freeze();
    payload.advance(start);
    Some((first, payload))
}

/// Whether a frame of data may come now, and is within the limits: told from its header.
fn check_fits(
    header: &Header,
    begun: Option<&Assembly>,
    settings: &Settings,
) -> Result<(), WebSocketError> {
    let before = match (header.opcode() == frame::CONTINUATION, begun) {
        (true, None) => return Err(WebSocketError::NothingToContinue),
        (false, Some(begun)) => {
            return Err(WebSocketError::Interrupted { fragments: begun.fragments() });
        }
        // Of a compressed message it is not known what will be inflated.
        (true, Some(begun)) if begun.is_compressed() => 0,
        (true, Some(begun)) => begun.len() as u64,
        (false, None) => 0,
    };
    let len = before.saturating_add(header.len);
    if len > settings.max_message as u64 {
        return Err(WebSocketError::MessageTooLong { len, max: settings.max_message });
    }
    if header.len > settings.max_frame as u64 {
        return Err(WebSocketError::FrameTooLong { len: header.len, max: settings.max_frame });
    }
    Ok(())
}
