//! Frames as they are written: a header and the payload, straight into the buffer; masked where a client writes.

use bytes::{BufMut, Bytes};

use super::error::WebSocketError;
use super::frame::{self, write_header};
use super::mask;
use crate::codec::WriteBuffer;

/// A frame without a mask. A large payload is not copied.
#[inline(always)]
pub(super) fn put_shared_frame(first: u8, payload: Bytes, dst: &mut WriteBuffer) {
    if payload.len() < 126 {
        // Known to be two bytes, they are stored as such; `put_slice` would copy bytes of any number.
        dst.extend_from_slice(&[first, payload.len() as u8]);
    } else {
        put_long_header(first, payload.len(), dst);
    }
    dst.put_shared(payload);
}

#[inline(never)]
fn put_long_header(first: u8, len: usize, dst: &mut WriteBuffer) {
    let (header, size) = write_header(first, len, 0);
    dst.put_slice(&header[..size]);
}

/// A frame with a copy of the payload, masked where there are keys.
pub(super) fn put_frame(
    first: u8,
    payload: &[u8],
    keys: Option<&mut Keys>,
    dst: &mut WriteBuffer,
) -> Result<(), WebSocketError> {
    let mask_bit = if keys.is_some() { frame::MASKED } else { 0 };
    let key = keys.map(Keys::next).transpose()?;
    let (header, size) = write_header(first, payload.len(), mask_bit);
    dst.put_slice(&header[..size]);
    let Some(key) = key else {
        dst.put_slice(payload);
        return Ok(());
    };
    dst.put_slice(&key);
    let start = dst.len();
    dst.put_slice(payload);
    mask::apply(&mut dst[start..], key, 0);
    Ok(())
}

/// Masking keys from the system's generator: who chooses the payload must not be able to guess them, or could choose what
/// a proxy on the way sees. Drawn many at a time, since a system call for each frame would cost more than the frame.
pub(super) struct Keys {
    drawn: Box<[u8; 256]>,
    /// Where the next one stands; at the end, all have been used.
    at: usize,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { drawn: Box::new([0; 256]), at: 256 }
    }

    fn next(&mut self) -> Result<[u8; 4], WebSocketError> {
        loop {
            if let Some(key) = self.drawn[self.at..].first_chunk() {
                let key = *key;
                self.at += 4;
                return Ok(key);
            }
            getrandom::fill(&mut self.drawn[..])
                .map_err(|error| WebSocketError::NoRandomness(error.into()))?;
            self.at = 0;
        }
    }
}

/// Keys that have not been used are nobody's to see.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}
