//! Bytes as they come: no framing at all.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};

use super::detach::detached;
use super::{Decoder, Encoder, WriteBuffer};

/// Hands on whatever one read brought, and writes bytes as they are.
///
/// # Wire format
///
/// None. A packet is what happened to arrive together: never empty, at most `Config::read_budget` (64 KiB by default).
/// TCP keeps no boundaries: two writes of the peer may come as one packet, and one as two.
///
/// ```
/// use bytes::BytesMut;
/// use wheelhouse::codec::{BytesCodec, Decoder};
///
/// let mut src = BytesMut::from(&b"hello"[..]);
/// assert_eq!(BytesCodec::new().decode(&mut src)?.unwrap(), "hello");
/// assert!(src.is_empty());
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct BytesCodec;

impl BytesCodec {
    /// A codec that passes bytes through.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Decoder for BytesCodec {
    type Packet = Bytes;
    type Error = Infallible;

    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Infallible> {
        // Split off, not taken: what is free behind the bytes stays with `src`.
        if src.is_empty() { Ok(None) } else { Ok(Some(src.split().freeze())) }
    }

    fn detach(packet: Bytes) -> Bytes {
        detached(packet)
    }
}

impl Encoder<Bytes> for BytesCodec {
    type Error = Infallible;

    #[inline]
    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Infallible> {
        dst.put_shared(packet);
        Ok(())
    }

    #[inline]
    fn frame_len(&self, packet: &Bytes) -> usize {
        packet.len()
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::test_support::*;

    #[test]
    fn what_came_together_is_one_packet_and_nothing_is_none() {
        let mut codec = BytesCodec::new();
        let outcome = decode_pieces(&mut codec, b"abcdef", &[4, 2]);
        assert_eq!(outcome.complete(), ["abcd", "ef"]);
        assert!(decode_whole(&mut codec, b"").complete().is_empty());
    }

    #[test]
    fn a_packet_is_written_as_it_is_and_its_length_is_known() {
        let mut codec = BytesCodec::new();
        let packet = Bytes::from_static(b"as it is");
        assert_eq!(Encoder::<Bytes>::frame_len(&codec, &packet), packet.len());
        let stream = encode_all(&mut codec, [packet.clone()]).expect("bytes are never refused");
        assert_eq!(stream, packet);
        assert!(
            codec.is_stateless(&Bytes::new()),
            "one encoding serves every connection of a broadcast"
        );
    }
}
