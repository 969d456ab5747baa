//! One connection's far end: what it has sent, and what has come.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use wheelhouse::CloseReason;
use wheelhouse::testing::Peer;

use super::choices::Choices;
use super::wire::{ASK, BYE, NONSENSE, PING, PONG, PROBE, QUIT, REASONS, WORD, word};
use crate::frames::{MAX, frame};

pub(crate) struct Far {
    pub(crate) peer: Peer,
    /// Where each frame ends in the stream.
    ends: Vec<usize>,
    /// Where each ping ends.
    pings: Vec<usize>,
    /// Where the end of the conversation stands.
    quits_at: Option<usize>,
    /// Bytes of the stream that have been sent, and what of it is still to go.
    sent: usize,
    rest: Vec<u8>,
    /// Something that is no frame is among it.
    pub(crate) is_bad: bool,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    /// Whether it takes all that is written.
    pub(crate) is_open: bool,
    /// Since when the server is known to have read all of it, and no more has been sent.
    pub(crate) silent_since: Option<Duration>,
    /// Since when it is known to have taken nothing of what waits for it.
    pub(crate) stuck_since: Option<Duration>,
    /// Since when the server is known to wait for its end, and for nothing else.
    pub(crate) awaited_since: Option<Duration>,
    /// Bytes that have come.
    pub(crate) came: usize,
    received: BytesMut,
    pub(crate) heard: Heard,
}

/// What the protocol itself has said to it.
#[derive(Default)]
pub(crate) struct Heard {
    /// The number of the last pong.
    pub(crate) pong: Option<u32>,
    pub(crate) probes: usize,
    nonsense: bool,
    /// The last word.
    pub(crate) bye: Option<CloseReason>,
}

/// What has come.
pub(crate) struct Came {
    /// The numbers of the packets, with who wrote them.
    pub(crate) numbers: Vec<(u8, u32)>,
    /// What should not have been said.
    pub(crate) wrong: Option<String>,
}

impl Far {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            ends: Vec::new(),
            pings: Vec::new(),
            quits_at: None,
            sent: 0,
            rest: Vec::new(),
            is_bad: false,
            ended: false,
            reset: false,
            is_open: true,
            silent_since: None,
            stuck_since: None,
            awaited_since: None,
            came: 0,
            received: BytesMut::new(),
            heard: Heard::default(),
        }
    }

    // What it sends.

    /// Frames, whole or in part, several at once, and once in a while something else; words, too, if it `speaks`.
    pub(crate) fn send(&mut self, rng: &mut Choices, speaks: bool) {
        if self.ended {
            return;
        }
        let mut bytes = std::mem::take(&mut self.rest);
        for _ in 0..rng.usize(0..6) {
            if speaks && rng.chance(60) {
                bytes.extend(word(PING, self.pings.len() as u32));
                self.pings.extend(self.quits_at.is_none().then_some(self.sent + bytes.len()));
                continue;
            }
            let longest = if rng.chance(10) { MAX - 4 } else { 60 };
            let mut payload = u32::to_be_bytes(self.ends.len() as u32).to_vec();
            payload.resize(4 + rng.usize(0..longest), b'-');
            if speaks && payload.len() > 4 && rng.chance(40) {
                payload[4] = ASK;
            }
            bytes.extend(frame(&payload));
            self.ends.extend(self.quits_at.is_none().then_some(self.sent + bytes.len()));
        }
        if speaks && self.quits_at.is_none() && rng.chance(4) {
            bytes.extend(word(QUIT, 0));
            self.quits_at = Some(self.sent + bytes.len());
        }
        if rng.chance(3) {
            bytes.extend([255, 255, 0]); // a frame that is too long
            self.is_bad = true;
        }
        if rng.bool() {
            self.rest = bytes.split_off(rng.usize(0..bytes.len() + 1));
        }
        self.put(&bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.sent += bytes.len();
        self.silent_since = None;
        self.peer.send(bytes);
    }

    pub(crate) fn end(&mut self) {
        if !self.ended {
            let rest = std::mem::take(&mut self.rest);
            self.put(&rest);
            self.ended = true;
            self.peer.end();
        }
    }

    pub(crate) fn open(&mut self) {
        self.is_open = true;
        self.peer.window(usize::MAX);
    }

    /// Whole frames sent.
    pub(crate) fn whole(&self) -> u32 {
        self.ends.partition_point(|end| *end <= self.sent) as u32
    }

    /// The number of the last ping that has been sent.
    pub(crate) fn last_ping(&self) -> Option<u32> {
        self.pings.partition_point(|end| *end <= self.sent).checked_sub(1).map(|at| at as u32)
    }

    /// Whether what it has sent ends in the middle of a frame or a word.
    pub(crate) fn is_in_midst(&self) -> bool {
        let last = |places: &[usize]| {
            places.iter().rev().find(|end| **end <= self.sent).copied().unwrap_or(0)
        };
        self.sent > last(&self.ends).max(last(&self.pings))
    }

    /// Whether it has ended the conversation.
    pub(crate) fn has_quit(&self) -> bool {
        self.quits_at.is_some_and(|at| at <= self.sent)
    }

    /// Bytes of it that the server has read.
    pub(crate) fn read(&self) -> usize {
        self.sent.saturating_sub(self.peer.unread())
    }

    // What comes.

    /// Whether part of a packet, or of a word, has come.
    pub(crate) fn has_partial(&self) -> bool {
        !self.received.is_empty()
    }

    pub(crate) fn receive(&mut self) -> Came {
        let bytes = self.peer.take_received();
        if !bytes.is_empty() {
            self.stuck_since = None;
        }
        self.came += bytes.len();
        self.received.extend_from_slice(&bytes);
        let mut came = Came { numbers: Vec::new(), wrong: None };
        while let Some(&[kind, low]) = self.received.first_chunk() {
            let is_word = kind >= PING;
            let length =
                if is_word { WORD } else { 2 + usize::from(u16::from_be_bytes([kind, low])) };
            if self.received.len() < length {
                break;
            }
            let mut whole = self.received.split_to(length);
            if let Some(reason) = self.heard.bye {
                came.wrong = Some(format!("something came behind the last word, {reason:?}"));
            }
            if is_word {
                whole.advance(1);
                if let Err(wrong) = self.hear(kind, whole.get_u32()) {
                    came.wrong = Some(wrong);
                }
            } else {
                whole.advance(2);
                came.numbers.push((whole.get_u8(), whole.get_u32()));
            }
        }
        came
    }

    fn hear(&mut self, kind: u8, number: u32) -> Result<(), String> {
        let last_ping = self.last_ping();
        let heard = &mut self.heard;
        match kind {
            PONG if Some(number) > heard.pong && Some(number) <= last_ping => {
                heard.pong = Some(number);
            }
            PROBE => heard.probes += 1,
            NONSENSE if self.is_bad && !heard.nonsense => heard.nonsense = true,
            BYE => {
                let reason = REASONS.get(number as usize);
                heard.bye = Some(*reason.ok_or("a last word without a reason")?);
            }
            PONG => return Err(format!("pong {number} after {:?} of {last_ping:?}", heard.pong)),
            _ => return Err(format!("a word that was not due: {kind:#x}, {number}")),
        }
        Ok(())
    }
}
