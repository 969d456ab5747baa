//! A protocol with a voice of its own, as small as one can be: lines of text, some of which it answers by itself.

use std::fmt;

use bytes::{Bytes, BytesMut};
use wheelhouse::CloseReason;
use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};

/// What the peer says: `ping …` is answered by the codec, `quit` ends the conversation, `fail` is an error, `ask …` blocks
/// until it has been answered, and everything else is a packet.
#[derive(Clone, Default, Debug)]
pub(crate) struct Talker {
    reply: Option<Bytes>,
    quit: bool,
    asked: bool,
    /// It has no last words.
    is_curt: bool,
}

impl Talker {
    pub(crate) fn curt() -> Self {
        Self { is_curt: true, ..Self::default() }
    }
}

#[derive(Debug)]
pub(crate) struct Nonsense;

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nonsense")
    }
}

impl std::error::Error for Nonsense {}

impl Decoder for Talker {
    type Packet = Bytes;
    type Error = Nonsense;

    const SPEAKS: bool = true;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Nonsense> {
        assert!(!self.asked, "called while it was blocked");
        while !self.quit {
            let Some(end) = src.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
            let line = src.split_to(end + 1).freeze().slice(..end);
            if line.starts_with(b"ping") {
                self.reply = Some(Bytes::from([b"pong", &line[4..], b"\n"].concat()));
            } else if line == "quit" {
                self.quit = true;
            } else if line == "fail" {
                self.reply = Some(Bytes::from_static(b"nonsense\n"));
                return Err(Nonsense);
            } else {
                self.asked = line.starts_with(b"ask");
                return Ok(Some(line));
            }
        }
        src.clear();
        Ok(None)
    }

    fn is_blocked(&self) -> bool {
        self.asked
    }

    fn take_reply(&mut self) -> Option<Bytes> {
        self.reply.take()
    }

    fn ending(&self) -> Option<CloseReason> {
        self.quit.then_some(CloseReason::Peer)
    }

    fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        (!self.is_curt).then(|| Bytes::from(format!("bye: {reason}\n")))
    }

    fn probe(&mut self) -> Option<Bytes> {
        Some(Bytes::from_static(b"there?\n"))
    }
}

impl Encoder<Bytes> for Talker {
    type Error = Nonsense;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Nonsense> {
        self.asked = false;
        dst.extend_from_slice(&packet);
        dst.extend_from_slice(b"\n");
        Ok(())
    }

    fn frame_len(&self, packet: &Bytes) -> usize {
        packet.len() + 1
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        !self.asked
    }
}
