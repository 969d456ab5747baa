//! What is sent and what must come back: one batch of each, stamped anew for each connection and each message.
//!
//! A message begins with a stamp of 8 bytes, its connection's number and its own, and goes on with filler that differs by
//! the message's place in the batch. So a reply that belongs elsewhere, comes out of order or lacks a byte is noticed,
//! and the load pays 8 bytes a message and one comparison for it.

use std::fmt;

use crate::plan::Work;

/// Every frame is masked with the same key: the servers cannot know.
const MASK: [u8; 4] = [0x9d, 0x3a, 0x5c, 0xe1];

const STAMP_LEN: usize = 8;

/// The message's number has the low bits of a stamp.
const NUMBER_BITS: u32 = 40;

#[derive(Clone)]
pub(super) struct Wire {
    pipeline: usize,
    request: Half,
    reply: Half,
}

/// One direction.
#[derive(Clone)]
struct Half {
    bytes: Vec<u8>,
    /// Where the first stamp is; the others follow at the distance of a message.
    stamp_at: usize,
    message_len: usize,
    /// What masks a stamp; zero where nothing is masked.
    mask: u64,
    stamped: Option<(u32, u64)>,
}

impl Wire {
    /// Messages of `payload` bytes, which must hold a stamp, `pipeline` of them in a batch.
    pub(super) fn new(work: Work, payload: usize, pipeline: usize) -> Self {
        assert!(payload >= STAMP_LEN, "a payload of {payload} bytes holds no stamp");
        let mut request = Vec::new();
        let mut reply = Vec::new();
        let (mut asked_at, mut answered_at) = (0, 0);
        for place in 0..pipeline {
            (asked_at, answered_at) = match work {
                Work::Bytes => (0, 0),
                Work::Length | Work::Broadcast => {
                    let header = u32::try_from(payload).unwrap_or(u32::MAX).to_be_bytes();
                    request.extend_from_slice(&header);
                    reply.extend_from_slice(&header);
                    (header.len(), header.len())
                }
                Work::WebSocket => {
                    let header = websocket_header(payload);
                    reply.extend_from_slice(&header);
                    request.extend_from_slice(&header);
                    let second = request.len() - header.len() + 1;
                    request[second] |= 0x80;
                    request.extend_from_slice(&MASK);
                    (header.len() + MASK.len(), header.len())
                }
            };
            let filler = filler(payload, place);
            reply.extend_from_slice(&filler);
            let masked = filler.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            match work {
                Work::WebSocket => request.extend(masked),
                _ => request.extend_from_slice(&filler),
            }
        }
        let [a, b, c, d] = MASK;
        let mask = match work {
            Work::WebSocket => u64::from_le_bytes([a, b, c, d, a, b, c, d]),
            _ => 0,
        };
        let request = Half::new(request, asked_at, pipeline, mask);
        let reply = Half::new(reply, answered_at, pipeline, 0);
        Self { pipeline, request, reply }
    }

    /// Batch number `batch` of a connection, as it is sent.
    pub(super) fn request(&mut self, connection: u32, batch: u64) -> &[u8] {
        self.request.stamp(connection, batch * self.pipeline as u64)
    }

    /// The answer to it.
    pub(super) fn reply(&mut self, connection: u32, batch: u64) -> &[u8] {
        self.reply.stamp(connection, batch * self.pipeline as u64)
    }

    pub(super) fn reply_len(&self) -> usize {
        self.reply.bytes.len()
    }

    pub(super) fn pipeline(&self) -> usize {
        self.pipeline
    }

    /// Compares what came with the same part of the answer, which begins `at` bytes into it.
    ///
    /// # Errors
    ///
    /// A [`Mismatch`], with the first byte that is wrong.
    pub(super) fn verify(
        &mut self,
        connection: u32,
        batch: u64,
        at: usize,
        came: &[u8],
    ) -> Result<(), Mismatch> {
        let message_len = self.reply.message_len;
        let first = batch * self.pipeline as u64;
        let expected = &self.reply(connection, batch)[at..][..came.len()];
        if expected == came {
            return Ok(());
        }
        let wrong = expected.iter().zip(came).position(|(a, b)| a != b).unwrap_or(0);
        let place = at + wrong;
        Err(Mismatch {
            connection,
            message: first + (place / message_len) as u64,
            byte: place % message_len,
            expected: expected[wrong],
            came: came[wrong],
        })
    }
}

impl Half {
    fn new(bytes: Vec<u8>, stamp_at: usize, pipeline: usize, mask: u64) -> Self {
        let message_len = bytes.len() / pipeline;
        Self { bytes, stamp_at, message_len, mask, stamped: None }
    }

    /// All of the batch, with the stamps of this connection and of the messages from `first` on.
    fn stamp(&mut self, connection: u32, first: u64) -> &[u8] {
        if self.stamped != Some((connection, first)) {
            self.stamped = Some((connection, first));
            let stamps = u64::from(connection) << NUMBER_BITS | first..;
            for (stamp, message) in stamps.zip(self.bytes.chunks_exact_mut(self.message_len)) {
                let masked = (stamp ^ self.mask).to_le_bytes();
                message[self.stamp_at..][..STAMP_LEN].copy_from_slice(&masked);
            }
        }
        &self.bytes
    }
}

/// A binary message that is one frame, from the server.
fn websocket_header(payload: usize) -> Vec<u8> {
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short), _) if short < 126 => vec![0x82, short],
        (_, Ok(medium)) => [&[0x82, 126][..], &medium.to_be_bytes()].concat(),
        _ => [&[0x82, 127][..], &(payload as u64).to_be_bytes()].concat(),
    }
}

fn filler(len: usize, place: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 131 + at / 256 * 7 + place * 17 + 7) as u8).collect()
}

/// A reply that is not the answer to what was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mismatch {
    connection: u32,
    /// Its number on that connection, from 0.
    message: u64,
    /// Counted from the beginning of its frame.
    byte: usize,
    expected: u8,
    came: u8,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, message, byte, expected, came } = self;
        write!(
            f,
            "a wrong reply: connection {connection}, message {message}: its byte {byte} is {came:#04x}, not \
             {expected:#04x}"
        )
    }
}

impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_what_is_expected() {
        for work in [Work::Bytes, Work::Length] {
            let mut wire = Wire::new(work, 64, 16);
            let asked = wire.request(3, 9).to_vec();
            assert_eq!(wire.verify(3, 9, 0, &asked), Ok(()));
            assert_eq!(wire.verify(3, 9, 100, &asked[100..500]), Ok(()));
        }
    }

    #[test]
    fn a_masked_request_is_its_reply_unmasked() {
        let mut wire = Wire::new(Work::WebSocket, 200, 2);
        let asked = wire.request(5, 70).to_vec();
        let reply = wire.reply(5, 70).to_vec();
        assert_eq!(asked.len(), reply.len() + 2 * MASK.len());
        let frame = &asked[asked.len() / 2..];
        assert_eq!(frame[..8], [0x82, 0x80 | 126, 0, 200, 0x9d, 0x3a, 0x5c, 0xe1]);
        let body: Vec<u8> =
            frame[8..].iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(body, reply[reply.len() / 2 + 4..]);
    }

    #[test]
    fn a_reply_of_elsewhere_is_noticed() {
        let mut wire = Wire::new(Work::Length, 16, 2);
        let mine = wire.reply(1, 5).to_vec();
        for (connection, batch) in [(2, 5), (1, 4), (1, 6)] {
            let other = wire.reply(connection, batch).to_vec();
            assert!(wire.verify(1, 5, 0, &other).is_err(), "{connection} {batch}");
        }
        let swapped = [&mine[20..], &mine[..20]].concat();
        let error = wire.verify(1, 5, 0, &swapped).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a wrong reply: connection 1, message 10: its byte 4 is 0x0b, not 0x0a"
        );
    }

    #[test]
    fn any_byte_that_is_wrong_is_noticed() {
        let mut wire = Wire::new(Work::Bytes, 300, 3);
        let right = wire.reply(7, 1).to_vec();
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            let error = wire.verify(7, 1, 0, &wrong).unwrap_err();
            assert_eq!((error.message, error.byte), (3 + at as u64 / 300, at % 300));
        }
    }
}
