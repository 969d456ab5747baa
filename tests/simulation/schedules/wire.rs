//! What goes over the wire: numbered frames, and, where the protocol speaks for itself, its own words between them.
//!
//! A word is its kind and a number. A frame's first byte is never that of a word's kind: no frame is so long.

use bytes::{Buf, Bytes, BytesMut};
use wheelhouse::CloseReason;
use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};

use crate::frames::{Frames, TooLong};

/// From the peer: it wants the number back.
pub(crate) const PING: u8 = 0xE1;
/// From the peer: it ends the conversation, and whatever follows means nothing.
pub(crate) const QUIT: u8 = 0xE2;
/// From the server: the number of the newest ping.
pub(crate) const PONG: u8 = 0xE3;
/// From the server: is anybody there?
pub(crate) const PROBE: u8 = 0xE4;
/// From the server: that was no frame.
pub(crate) const NONSENSE: u8 = 0xE5;
/// From the server: its last word, with the reason.
pub(crate) const BYE: u8 = 0xE6;

/// The length of a word.
pub(crate) const WORD: usize = 5;

/// Behind a packet's number: the next packet has to wait until this one has been answered.
pub(crate) const ASK: u8 = b'?';

pub(crate) fn word(kind: u8, number: u32) -> [u8; WORD] {
    let [a, b, c, d] = number.to_be_bytes();
    [kind, a, b, c, d]
}

/// Whether a packet from the peer asks for an answer.
pub(crate) fn asks(packet: &[u8]) -> bool {
    packet.get(4) == Some(&ASK)
}

/// The reasons that a protocol may be told, by their numbers on the wire.
pub(crate) const REASONS: [CloseReason; 10] = [
    CloseReason::Peer,
    CloseReason::Local,
    CloseReason::Idle,
    CloseReason::ProtocolError,
    CloseReason::IoError,
    CloseReason::SlowConsumer,
    CloseReason::Shutdown,
    CloseReason::Forced,
    CloseReason::HandlerError,
    CloseReason::HandlerPanic,
];

/// The codec. Without `SPEAKS` it is [`Frames`], and words are unknown to it.
#[derive(Clone)]
pub(crate) struct Wire<const SPEAKS: bool> {
    frames: Frames,
    reply: Option<[u8; WORD]>,
    quit: bool,
    asked: bool,
}

impl<const SPEAKS: bool> Wire<SPEAKS> {
    pub(crate) fn new(stateless: bool) -> Self {
        Self { frames: Frames { stateless }, reply: None, quit: false, asked: false }
    }
}

impl<const SPEAKS: bool> Decoder for Wire<SPEAKS> {
    type Packet = Bytes;
    type Error = TooLong;

    const SPEAKS: bool = SPEAKS;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
        assert!(!self.asked, "called while it was blocked");
        while SPEAKS && !self.quit {
            match src.first() {
                Some(&(PING | QUIT)) if src.len() < WORD => return Ok(None),
                Some(&kind @ (PING | QUIT)) => {
                    src.advance(1);
                    self.quit = kind == QUIT;
                    let number = src.get_u32();
                    if kind == PING {
                        self.reply = Some(word(PONG, number));
                    }
                }
                _ => break,
            }
        }
        if self.quit {
            src.clear();
            return Ok(None);
        }
        let decoded = self.frames.decode(src);
        match &decoded {
            Ok(packet) => self.asked = SPEAKS && packet.as_deref().is_some_and(asks),
            Err(_) => self.reply = Some(word(NONSENSE, 0)),
        }
        decoded
    }

    fn is_blocked(&self) -> bool {
        self.asked
    }

    fn take_reply(&mut self) -> Option<Bytes> {
        self.reply.take().map(|word| Bytes::copy_from_slice(&word))
    }

    fn ending(&self) -> Option<CloseReason> {
        self.quit.then_some(CloseReason::Peer)
    }

    fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        let number = REASONS.iter().position(|each| *each == reason);
        Some(Bytes::copy_from_slice(&word(BYE, number.map_or(u32::MAX, |at| at as u32))))
    }

    fn probe(&mut self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&word(PROBE, 0)))
    }

    fn detach(packet: Bytes) -> Bytes {
        Frames::detach(packet)
    }
}

impl<const SPEAKS: bool> Encoder<Bytes> for Wire<SPEAKS> {
    type Error = TooLong;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), TooLong> {
        self.frames.encode(packet, dst)?;
        self.asked = false;
        Ok(())
    }

    fn frame_len(&self, packet: &Bytes) -> usize {
        self.frames.frame_len(packet)
    }

    /// A packet that answers is this codec's to encode: it ends the wait.
    fn is_stateless(&self, packet: &Bytes) -> bool {
        self.frames.is_stateless(packet) && !self.asked
    }
}
