//! What the protocol answers by itself: pongs, and a close frame at the end.

use bytes::{BufMut, Bytes};

use super::CloseCode;
use super::error::WebSocketError;
use super::frame;
use super::outgoing::{Keys, put_frame};
use crate::codec::WriteBuffer;

/// Pongs that may wait at a time. A ping more, and the newest takes the place of the last one, as the RFC allows.
const PONGS: usize = 16;

/// Whole frames that wait to be taken. Bounded: 16 pongs of 125 bytes and a close.
#[derive(Default, Debug)]
pub(super) struct Replies {
    frames: WriteBuffer,
    pongs: usize,
    /// Where the last pong begins.
    last: usize,
    /// The code of the peer's close frame, which the answer repeats.
    pub(super) echo: Option<CloseCode>,
}

impl Replies {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_drained() && self.echo.is_none()
    }

    pub(super) fn pong(
        &mut self,
        payload: &[u8],
        keys: Option<&mut Keys>,
    ) -> Result<(), WebSocketError> {
        if self.pongs == PONGS {
            self.frames.truncate(self.last);
        } else {
            self.pongs += 1;
            self.last = self.frames.len();
        }
        put_frame(frame::FIN | frame::PONG, payload, keys, &mut self.frames)
    }

    pub(super) fn close(
        &mut self,
        code: Option<CloseCode>,
        keys: Option<&mut Keys>,
    ) -> Result<(), WebSocketError> {
        let first = frame::FIN | frame::CLOSE;
        match code {
            Some(code) => put_frame(first, &code.get().to_be_bytes(), keys, &mut self.frames),
            None => put_frame(first, &[], keys, &mut self.frames),
        }
    }

    /// Sends the pongs with what is written next, rather than after it.
    pub(super) fn put_pongs(&mut self, dst: &mut WriteBuffer) {
        dst.put_slice(&self.frames);
        self.frames.clear();
        self.pongs = 0;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.pongs = 0;
        let frames = self.frames.split().freeze();
        (!frames.is_empty()).then_some(frames)
    }
}
