//! The long way of what goes: masked or compressed, behind pongs, and what ends a conversation.

use bytes::Bytes;

use super::super::error::WebSocketError;
use super::super::frame;
use super::super::outgoing::{put_frame, put_shared_frame};
use super::super::{CloseCode, CloseFrame, Message};
use super::{Life, Rare, Role, opcode_and_payload};
use crate::codec::WriteBuffer;
use crate::error::CloseReason;

impl Rare {
    // The end.

    pub(super) fn note_peer_close(&mut self, code: Option<CloseCode>) {
        self.life = match self.life {
            Life::Open => Life::Received,
            _ => Life::Over,
        };
        // What was still to be said does not matter any more, but for the answer, which repeats the code.
        self.message = None;
        self.replies.clear();
        self.replies.echo = code;
    }

    /// The peer is told what was wrong by a close frame, if it is wrong with what it sent.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, error: WebSocketError) -> WebSocketError {
        if self.life == Life::Open
            && let Some(code) = error.close_code()
        {
            self.life = Life::Over;
            // A client that has no random bytes left says nothing.
            let _ = self.replies.close(Some(code), self.keys.as_mut());
        }
        error
    }

    /// Whether there is neither a reply nor an end.
    pub(super) fn is_silent(&self) -> bool {
        self.life == Life::Open && self.replies.is_empty()
    }

    pub(super) fn take_reply(&mut self) -> Option<Bytes> {
        self.replies.take()
    }

    pub(super) fn ending(&self) -> Option<CloseReason> {
        match self.life {
            Life::Open => None,
            Life::Sent => Some(CloseReason::Local),
            Life::Received | Life::Over => Some(CloseReason::Peer),
        }
    }

    pub(super) fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        let code = match self.life {
            Life::Open => Some(CloseCode::of(reason)),
            Life::Received => self.replies.echo,
            Life::Sent | Life::Over => return None,
        };
        self.life = if self.life == Life::Open { Life::Sent } else { Life::Over };
        let _ = self.replies.close(code, self.keys.as_mut());
        self.take_reply()
    }

    /// A ping, which every peer answers.
    pub(super) fn probe(&mut self) -> Option<Bytes> {
        if self.life != Life::Open {
            return None;
        }
        let mut ping = WriteBuffer::new();
        put_frame(frame::FIN | frame::PING, &[], self.keys.as_mut(), &mut ping).ok()?;
        Some(ping.split().freeze())
    }

    // Writing.

    /// Not with pongs owed: they go with the next message, and are this peer's alone.
    pub(super) fn is_stateless(&self) -> bool {
        self.role() == Role::Server && self.deflate.is_none() && self.is_silent()
    }

    #[inline(never)]
    pub(super) fn frame_len(&self, payload: usize) -> usize {
        if self.deflate.is_some() {
            return 2;
        }
        frame::header_size(payload, self.role() == Role::Client) + payload
    }

    /// A message. Pongs that are owed go first, since the pings came before whatever this answers.
    pub(super) fn encode(
        &mut self,
        message: Message,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        if self.life != Life::Open {
            return Err(WebSocketError::Closing);
        }
        let (opcode, payload) = opcode_and_payload(message);
        let first = frame::FIN | opcode;
        self.replies.put_pongs(dst);
        if let Some(deflate) = self.deflate.as_mut()
            && let Some(compressed) = deflate.compress(&payload)
        {
            return put_frame(first | frame::RSV1, &compressed, self.keys.as_mut(), dst);
        }
        match self.keys.as_mut() {
            None => put_shared_frame(first, payload, dst),
            keys => put_frame(first, &payload, keys, dst)?,
        }
        Ok(())
    }

    pub(super) fn encode_control(
        &mut self,
        opcode: u8,
        payload: &[u8],
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        if self.life != Life::Open {
            return Err(WebSocketError::Closing);
        }
        if payload.len() > frame::CONTROL_MAX {
            return Err(WebSocketError::ControlTooLong { opcode, len: payload.len() });
        }
        put_frame(frame::FIN | opcode, payload, self.keys.as_mut(), dst)
    }

    /// The close frame of this side: nothing can be written after it.
    pub(super) fn encode_close(
        &mut self,
        close: &CloseFrame,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        let len = close.reason.len();
        if len > CloseFrame::MAX_REASON {
            return Err(WebSocketError::ReasonTooLong { len });
        }
        let payload = [&close.code.get().to_be_bytes(), close.reason.as_bytes()].concat();
        self.encode_control(frame::CLOSE, &payload, dst)?;
        self.life = Life::Sent;
        Ok(())
    }
}
