//! Packets that are all of one size.

use std::convert::Infallible;
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::detach::detached;
use super::{Decoder, Encoder, WriteBuffer};

/// Packets of exactly so many bytes.
///
/// # Wire format
///
/// Nothing but the packets, one behind the other. No bytes can be wrong, so decoding does not fail; a stream that ends
/// inside a packet ends with [`Error::Truncated`](crate::Error::Truncated).
///
/// ```
/// use bytes::BytesMut;
/// use wheelhouse::codec::{Decoder, FixedLengthCodec};
///
/// let mut codec = FixedLengthCodec::new(4);
/// let mut src = BytesMut::from("abcdefgh..");
/// assert_eq!(codec.decode(&mut src)?.unwrap(), "abcd");
/// assert_eq!(codec.decode(&mut src)?.unwrap(), "efgh");
/// assert_eq!(codec.decode(&mut src)?, None);
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixedLengthCodec {
    len: usize,
}

impl FixedLengthCodec {
    /// Packets of `len` bytes: no more, no fewer.
    ///
    /// # Panics
    ///
    /// When `len` is 0.
    #[must_use]
    pub fn new(len: usize) -> Self {
        assert!(len > 0, "there is no end to packets of 0 bytes");
        Self { len }
    }
}

impl Decoder for FixedLengthCodec {
    type Packet = Bytes;
    type Error = Infallible;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Infallible> {
        Ok((src.len() >= self.len).then(|| src.split_to(self.len).freeze()))
    }

    fn detach(packet: Bytes) -> Bytes {
        detached(packet)
    }
}

impl Encoder<Bytes> for FixedLengthCodec {
    type Error = FixedLengthError;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), FixedLengthError> {
        if packet.len() != self.len {
            return Err(FixedLengthError::WrongLength { len: packet.len(), expected: self.len });
        }
        dst.put_shared(packet);
        Ok(())
    }

    fn frame_len(&self, packet: &Bytes) -> usize {
        packet.len()
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        true
    }
}

/// Why a packet cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FixedLengthError {
    /// It is not of the one length that all packets have.
    WrongLength {
        /// Its length in bytes.
        len: usize,
        /// What it should be.
        expected: usize,
    },
}

impl fmt::Display for FixedLengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { len, expected } => {
                write!(f, "a packet of {len} bytes; every packet must have {expected}")
            }
        }
    }
}

impl std::error::Error for FixedLengthError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::test_support::*;

    proptest! {
        #[test]
        fn any_split_gives_the_same_packets(
            len in 1..9_usize,
            stream in bytes_near(b"ab\0", 60),
            pieces in piece_lengths(),
        ) {
            let outcome = assert_split_is_unseen(&FixedLengthCodec::new(len), &stream, &pieces);
            prop_assert!(outcome.most_held < len);
            prop_assert_eq!(outcome.packets, stream.chunks_exact(len).collect::<Vec<_>>());
        }

        #[test]
        fn what_was_written_is_read(
            packets in prop::collection::vec(any::<[u8; 5]>(), 0..8),
            pieces in piece_lengths(),
        ) {
            let packets: Vec<Bytes> =
                packets.into_iter().map(|packet| Bytes::copy_from_slice(&packet)).collect();
            let mut codec = FixedLengthCodec::new(5);
            let stream = encode_all(&mut codec, packets.iter().cloned()).unwrap();
            prop_assert_eq!(decode_pieces(&mut codec, &stream, &pieces).complete(), packets);
        }
    }

    #[test]
    fn a_packet_of_another_length_is_refused() {
        for len in [0, 3, 5] {
            assert_eq!(
                refused(&mut FixedLengthCodec::new(4), Bytes::from(vec![7; len])),
                FixedLengthError::WrongLength { len, expected: 4 }
            );
        }
        let error = FixedLengthError::WrongLength { len: 3, expected: 4 };
        assert_eq!(error.to_string(), "a packet of 3 bytes; every packet must have 4");
    }

    #[test]
    fn one_encoding_serves_every_connection() {
        assert!(FixedLengthCodec::new(4).is_stateless(&Bytes::new()));
    }

    #[test]
    fn an_end_inside_a_packet_leaves_its_bytes() {
        let outcome = decode_whole(&mut FixedLengthCodec::new(4), b"abcdef");
        assert_eq!(outcome.packets, ["abcd"]);
        assert!(matches!(outcome.end, End::Truncated(2)), "{outcome:?}");
    }

    #[test]
    fn other_protocols_are_bytes_like_others() {
        let len = HTTP_REQUEST.len() / 2;
        let outcome = decode_whole(&mut FixedLengthCodec::new(len), HTTP_REQUEST);
        assert_eq!(outcome.packets[0], HTTP_REQUEST[..len]);
    }

    #[test]
    #[should_panic(expected = "no end to packets of 0 bytes")]
    fn packets_of_no_bytes_are_refused() {
        let _ = FixedLengthCodec::new(0);
    }
}
