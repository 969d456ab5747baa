//! What an open WebSocket sends: messages, and what ends a conversation. Reading is in `framing.rs`.

use bytes::Bytes;

use super::super::deflate::Deflate;
use super::super::error::WebSocketError;
use super::super::frame;
use super::super::outgoing::{put_frame, put_shared_frame};
use super::super::{CloseCode, CloseFrame, Message};
use super::{Framing, Life, Role};
use crate::codec::WriteBuffer;
use crate::error::CloseReason;

impl Framing {
    // The end.

    pub(super) fn note_peer_close(&mut self, code: Option<CloseCode>) {
        self.life = match self.life {
            Life::Open => Life::Received,
            _ => Life::Over,
        };
        // What was still to be said does not matter any more, but for the answer, which repeats the code.
        let _ = self.rare_mut(|rare| {
            rare.message = None;
            rare.replies.clear();
            rare.replies.echo = code;
            Ok(())
        });
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
            let _ = self.rare_mut(|rare| rare.replies.close(Some(code), rare.keys.as_mut()));
        }
        error
    }

    #[inline]
    pub(in super::super) fn take_reply(&mut self) -> Option<Bytes> {
        if self.rare.is_none() { None } else { self.take_rare_reply() }
    }

    #[inline(never)]
    fn take_rare_reply(&mut self) -> Option<Bytes> {
        let rare = self.rare.as_mut()?;
        let reply = rare.replies.take();
        self.shed_rare();
        reply
    }

    #[inline]
    pub(in super::super) fn ending(&self) -> Option<CloseReason> {
        match self.life {
            Life::Open => None,
            Life::Sent => Some(CloseReason::Local),
            Life::Received | Life::Over => Some(CloseReason::Peer),
        }
    }

    pub(in super::super) fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        let code = match self.life {
            Life::Open => Some(CloseCode::of(reason)),
            Life::Received => self.rare.as_ref().and_then(|rare| rare.replies.echo),
            Life::Sent | Life::Over => return None,
        };
        self.life = if self.life == Life::Open { Life::Sent } else { Life::Over };
        let _ = self.rare_mut(|rare| rare.replies.close(code, rare.keys.as_mut()));
        self.take_reply()
    }

    /// A ping, which every peer answers.
    pub(in super::super) fn probe(&mut self) -> Option<Bytes> {
        if self.life != Life::Open {
            return None;
        }
        let mut ping = WriteBuffer::new();
        let keys = self.rare.as_mut().and_then(|rare| rare.keys.as_mut());
        put_frame(frame::FIN | frame::PING, &[], keys, &mut ping).ok()?;
        Some(ping.split().freeze())
    }

    // Writing.

    pub(in super::super) fn is_stateless(&self) -> bool {
        self.role == Role::Server && self.life == Life::Open && self.deflate().is_none()
    }

    fn deflate(&self) -> Option<&Deflate> {
        self.rare.as_ref().and_then(|rare| rare.deflate.as_ref())
    }

    /// Exact, but for pongs that go first; 2 where it cannot be known before the message is compressed.
    #[inline]
    pub(in super::super) fn frame_len(&self, payload: usize) -> usize {
        if self.rare.is_some() && self.deflate().is_some() {
            return 2;
        }
        frame::header_size(payload, self.role == Role::Client) + payload
    }

    /// The length of a close, ping or pong frame.
    pub(in super::super) fn control_len(&self, payload: usize) -> usize {
        frame::header_size(payload, self.role == Role::Client) + payload
    }

    #[inline]
    pub(in super::super) fn encode(
        &mut self,
        message: Message,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        if self.life != Life::Open {
            return Err(WebSocketError::Closing);
        }
        let (opcode, payload) = match message {
            Message::Text(text) => (frame::TEXT, text.into_bytes()),
            Message::Binary(bytes) => (frame::BINARY, bytes),
        };
        if self.rare.is_none() {
            put_shared_frame(frame::FIN | opcode, payload, dst);
            return Ok(());
        }
        self.encode_rare(opcode, payload, dst)
    }

    /// A message of a connection that masks or compresses, or that owes pongs: those go first, since the pings came before
    /// whatever this answers.
    #[inline(never)]
    fn encode_rare(
        &mut self,
        opcode: u8,
        payload: Bytes,
        dst: &mut WriteBuffer,
    ) -> Result<(), WebSocketError> {
        let first = frame::FIN | opcode;
        self.rare_mut(|rare| {
            rare.replies.put_pongs(dst);
            if let Some(deflate) = rare.deflate.as_mut()
                && let Some(compressed) = deflate.compress(&payload)
            {
                return put_frame(first | frame::RSV1, &compressed, rare.keys.as_mut(), dst);
            }
            match rare.keys.as_mut() {
                None => put_shared_frame(first, payload, dst),
                keys => put_frame(first, &payload, keys, dst)?,
            }
            Ok(())
        })
    }

    pub(in super::super) fn encode_control(
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
        let keys = self.rare.as_mut().and_then(|rare| rare.keys.as_mut());
        put_frame(frame::FIN | opcode, payload, keys, dst)
    }

    /// The close frame of this side: nothing can be written after it.
    pub(in super::super) fn encode_close(
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
