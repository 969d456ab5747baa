//! The long way of what comes: frame by frame, in any pieces, of either end, with fragments, compression and control frames.

use std::num::NonZeroU8;

use bytes::{Buf, Bytes, BytesMut};

use super::super::assembly::Assembly;
use super::super::error::WebSocketError;
use super::super::frame::{self, Header};
use super::super::{CloseFrame, Incoming, Message, Settings, Text, mask};
use super::{Life, Rare, Role};

#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    /// Bytes of the header, which waits with the payload.
    header: NonZeroU8,
    first: u8,
    key: [u8; 4],
    /// Bytes of payload.
    len: usize,
    /// How many of them have been unmasked, and validated.
    done: usize,
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

impl Rare {
    /// Frame by frame, until one of them makes something to be handed on.
    pub(super) fn decode_frames(
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
        if self.role() == Role::Server {
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
        let reserved = if self.deflate.is_some() { frame::RSV1 } else { 0 };
        let Some(header) = Header::read(src, self.role() == Role::Server, reserved)? else {
            return Ok(None);
        };
        if !header.is_control() {
            check_fits(&header, self.message.as_ref(), settings)?;
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
            frame::CONTINUATION => self.message.as_ref().is_some_and(Assembly::is_plain_text),
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
                self.replies.pong(&payload, self.keys.as_mut())?;
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
        let mut message = self.message.take().unwrap_or_else(|| Assembly::new(first));
        message.push(first, payload, self.deflate.as_mut(), settings)?;
        if first & frame::FIN == 0 {
            self.message = Some(message);
            return Ok(Progress::Silent);
        }
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
    // What does not compress grows by some bytes; what is inflated is held against the maximum itself.
    let is_compressed =
        header.first & frame::RSV1 != 0 || begun.is_some_and(Assembly::is_compressed);
    let growth = if is_compressed { settings.max_message / 64 + 64 } else { 0 };
    if len > settings.max_message.saturating_add(growth) as u64 {
        return Err(WebSocketError::MessageTooLong { len, max: settings.max_message });
    }
    if header.len > settings.max_frame as u64 {
        return Err(WebSocketError::FrameTooLong { len: header.len, max: settings.max_frame });
    }
    Ok(())
}
