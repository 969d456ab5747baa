//! A small codec for the tests: two bytes of length, then as many of payload.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};

/// The longest payload.
pub(crate) const MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    pub(crate) stateless: bool,
}

#[derive(Debug)]
pub(crate) struct TooLong(usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes, and {MAX} is the most", self.0)
    }
}

impl std::error::Error for TooLong {}

impl Decoder for Frames {
    type Packet = Bytes;
    type Error = TooLong;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
        let Some(header) = src.first_chunk() else { return Ok(None) };
        let length = u16::from_be_bytes(*header).into();
        if length > MAX {
            return Err(TooLong(length));
        }
        if src.len() < 2 + length {
            return Ok(None);
        }
        src.advance(2);
        Ok(Some(src.split_to(length).freeze()))
    }

    fn detach(packet: Bytes) -> Bytes {
        Bytes::copy_from_slice(&packet)
    }
}

impl Encoder<Bytes> for Frames {
    type Error = TooLong;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), TooLong> {
        let length = u16::try_from(packet.len()).map_err(|_| TooLong(packet.len()))?;
        dst.put_u16(length);
        dst.put_slice(&packet);
        Ok(())
    }

    fn frame_len(&self, packet: &Bytes) -> usize {
        2 + packet.len()
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        self.stateless
    }
}

/// One frame's bytes.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}
