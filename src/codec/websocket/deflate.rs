//! permessage-deflate (RFC 7692): messages compressed one by one, as both ends agreed in the handshake.
//!
//! What is inflated is bounded while it is inflated, so that a bomb goes off inside the limit of a message.

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::error::WebSocketError;

mod negotiation;
#[cfg(test)]
mod tests;

pub(super) use self::negotiation::Agreement;

/// What every compressed message ends with, and what is left off on the wire.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Inflated and compressed by pieces of this size.
const PIECE: usize = 8 * 1024;

/// How messages are compressed (permessage-deflate, RFC 7692). Needs the feature `websocket-deflate`.
///
/// It costs memory on each connection that agrees to it and has used it: some 370 KiB to compress, with a window of 15
/// bits (250 with 9), and some 46 KiB to inflate. With [`no_context_takeover`](Self::no_context_takeover) that is given
/// back after each message, which then compresses worse, as messages resemble each other.
///
/// Broadcasts are compressed for each connection anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeflateOptions {
    level: u32,
    window_bits: u8,
    takeover: bool,
    min_len: usize,
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self { level: 6, window_bits: 15, takeover: true, min_len: 32 }
    }
}

impl DeflateOptions {
    /// The defaults: level 6, a window of 15 bits, a context that is kept, messages from 32 bytes on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How hard it tries, from 1 (fast) to 9 (small). Default: 6. Other numbers are taken for the nearest of these.
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        self.level = level.clamp(1, 9);
        self
    }

    /// How far back a repetition may be, as a power of two: 9 (512 bytes) to 15 (32 KiB), the default. It holds for what is
    /// compressed here, and for what is inflated where the peer can be told. Other numbers are taken for the nearest of
    /// these.
    #[must_use]
    pub fn window_bits(mut self, bits: u8) -> Self {
        self.window_bits = bits.clamp(9, 15);
        self
    }

    /// Each message is compressed by itself, in both directions.
    #[must_use]
    pub fn no_context_takeover(mut self) -> Self {
        self.takeover = false;
        self
    }

    /// Messages with fewer bytes go as they are. Default: 32.
    #[must_use]
    pub fn min_len(mut self, bytes: usize) -> Self {
        self.min_len = bytes;
        self
    }
}

/// One direction, as it was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Direction {
    pub(super) window_bits: u8,
    /// A message may refer back to those before it.
    pub(super) takeover: bool,
}

/// Both directions of one connection. Their state is made when the first message needs it.
#[derive(Debug)]
pub(super) struct Deflate {
    outgoing: Direction,
    incoming: Direction,
    level: u32,
    min_len: usize,
    compress: Option<Compress>,
    decompress: Option<Decompress>,
}

impl Deflate {
    pub(super) fn new(options: DeflateOptions, outgoing: Direction, incoming: Direction) -> Self {
        let DeflateOptions { level, min_len, .. } = options;
        Self { outgoing, incoming, level, min_len, compress: None, decompress: None }
    }

    /// Appends what the payload of one frame inflates to; at most `max` bytes stand in `out` afterwards.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        is_last: bool,
        out: &mut BytesMut,
        max: usize,
    ) -> Result<(), WebSocketError> {
        // There is no window of 8 bits; in one of 9 the same comes out.
        let bits = self.incoming.window_bits.max(9);
        let decompress =
            self.decompress.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        inflate_all(decompress, payload, out, max)?;
        if is_last {
            inflate_all(decompress, &TAIL, out, max)?;
            if !self.incoming.takeover {
                self.decompress = None;
            }
        }
        Ok(())
    }

    /// The message as it goes on the wire; `None` where that is not worth it.
    pub(super) fn compress(&mut self, payload: &[u8]) -> Option<Bytes> {
        if payload.len() < self.min_len.max(1) {
            return None;
        }
        let (level, bits) = (Compression::new(self.level), self.outgoing.window_bits);
        let compress =
            self.compress.get_or_insert_with(|| Compress::new_with_window_bits(level, false, bits));
        let compressed = compress_all(compress, payload);
        // After a failure the two ends may not have the same context any more.
        if !self.outgoing.takeover || compressed.is_none() {
            self.compress = None;
        }
        compressed
    }
}

fn inflate_all(
    decompress: &mut Decompress,
    mut payload: &[u8],
    out: &mut BytesMut,
    max: usize,
) -> Result<(), WebSocketError> {
    let mut piece = [0; PIECE];
    loop {
        let (read, written) = (decompress.total_in(), decompress.total_out());
        let status = decompress.decompress(payload, &mut piece, FlushDecompress::Sync);
        let status = status.map_err(|_| WebSocketError::NotDeflated)?;
        let consumed = (decompress.total_in() - read) as usize;
        let inflated = (decompress.total_out() - written) as usize;
        payload = &payload[consumed..];
        let len = out.len() + inflated;
        if len > max {
            return Err(WebSocketError::MessageTooLong { len: len as u64, max });
        }
        out.extend_from_slice(&piece[..inflated]);
        if status == Status::StreamEnd {
            // The peer ended the stream with this message; the next one begins another.
            decompress.reset(false);
            if payload.is_empty() {
                return Ok(());
            }
        } else if inflated < PIECE && (payload.is_empty() || consumed == 0) {
            // With room left over, what there was has been inflated; or what is left cannot be.
            return if payload.is_empty() { Ok(()) } else { Err(WebSocketError::NotDeflated) };
        }
    }
}

fn compress_all(compress: &mut Compress, mut payload: &[u8]) -> Option<Bytes> {
    let mut piece = [0; PIECE];
    let mut out = BytesMut::new();
    loop {
        let (read, written) = (compress.total_in(), compress.total_out());
        compress.compress(payload, &mut piece, FlushCompress::Sync).ok()?;
        let consumed = (compress.total_in() - read) as usize;
        let made = (compress.total_out() - written) as usize;
        payload = &payload[consumed..];
        out.extend_from_slice(&piece[..made]);
        if payload.is_empty() && made < PIECE {
            break;
        }
    }
    let len = out.len().checked_sub(TAIL.len()).filter(|&len| out[len..] == TAIL)?;
    out.truncate(len);
    Some(out.freeze())
}
