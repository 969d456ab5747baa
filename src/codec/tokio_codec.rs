//! Codecs that were written for tokio-util, as they stand.

use bytes::BytesMut;
use tokio_util::codec as tokio;

use super::{Decoder, Encoder, WriteBuffer};

/// Any codec that implements the traits of `tokio_util::codec`. Needs the feature `tokio-codec`.
///
/// No runtime runs: tokio-util's traits ask for none, and the loop takes the place of its `Framed`.
///
/// Limits, and memory that is reserved for bytes to come, are the codec's own affair: set its maximum. Its errors
/// arrive as [`Error::Protocol`](crate::Error::Protocol), and so does a stream that ends inside a packet, where the
/// codec's `decode_eof` says so (tokio-util's default does).
///
/// A codec that is `Clone` and writes what it reads is a [`Protocol`](super::Protocol) at once. Where it reads one type
/// and writes another, name both:
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use tokio_util::codec::LengthDelimitedCodec;
/// use wheelhouse::codec::{Protocol, TokioCodec};
///
/// struct Frames;
///
/// impl Protocol for Frames {
///     type In = BytesMut;
///     type Out = Bytes;
///     type Codec = TokioCodec<LengthDelimitedCodec>;
///
///     fn codec(&mut self) -> Self::Codec {
///         let codec = LengthDelimitedCodec::builder().max_frame_length(64 * 1024).new_codec();
///         TokioCodec::new(codec)
///     }
/// }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TokioCodec<C>(C);

impl<C> TokioCodec<C> {
    /// Lets the loop drive this codec.
    #[must_use]
    pub fn new(codec: C) -> Self {
        Self(codec)
    }

    /// The codec.
    pub fn get_ref(&self) -> &C {
        &self.0
    }

    /// The codec, to change it.
    pub fn get_mut(&mut self) -> &mut C {
        &mut self.0
    }

    /// The codec, back.
    pub fn into_inner(self) -> C {
        self.0
    }
}

impl<C> Decoder for TokioCodec<C>
where
    C: tokio::Decoder,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    type Packet = C::Item;
    type Error = C::Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        self.0.decode(src)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        self.0.decode_eof(src)
    }
}

/// What the codec writes is copied into the buffer, large packets as well: tokio-util's trait knows no other way.
impl<C, Packet> Encoder<Packet> for TokioCodec<C>
where
    C: tokio::Encoder<Packet>,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    type Error = C::Error;

    fn encode(&mut self, packet: Packet, dst: &mut WriteBuffer) -> Result<(), C::Error> {
        self.0.encode(packet, dst)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Protocol;
    use crate::codec::test_support::{HTTP_REQUEST, bytes_near};

    /// Feeds `stream` in pieces of `length` bytes; `test_support` has a stricter one, for codecs that must not reserve.
    fn decode_pieces<D: Decoder>(
        codec: &mut D,
        stream: &[u8],
        length: usize,
    ) -> Result<Vec<D::Packet>, D::Error> {
        let (mut src, mut packets) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(length) {
            src.extend_from_slice(piece);
            while let Some(packet) = codec.decode(&mut src)? {
                packets.push(packet);
            }
        }
        while let Some(packet) = codec.decode_eof(&mut src)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    proptest! {
        #[test]
        fn frames_go_around(
            packets in prop::collection::vec(bytes_near(b"ab\0", 30), 0..6),
            length in 1..64_usize,
        ) {
            let mut codec = TokioCodec::new(tokio::LengthDelimitedCodec::new());
            let mut dst = WriteBuffer::new();
            for packet in &packets {
                codec.encode(Bytes::copy_from_slice(packet), &mut dst).unwrap();
            }
            let stream = dst.take_shared();
            prop_assert_eq!(decode_pieces(&mut codec, &stream, length).unwrap(), packets);
        }
    }

    #[test]
    fn the_end_of_the_stream_is_told_to_the_codec() {
        let mut codec = TokioCodec::new(tokio::LinesCodec::new());
        assert_eq!(decode_pieces(&mut codec, b"one\ntwo", 2).unwrap(), ["one", "two"]);
    }

    #[test]
    fn the_codecs_own_errors_arrive() {
        let frames = tokio::LengthDelimitedCodec::builder().max_frame_length(1000).new_codec();
        let mut codec = TokioCodec::new(frames);
        let error = decode_pieces(&mut codec, HTTP_REQUEST, 100).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let mut dst = WriteBuffer::new();
        assert!(codec.encode(Bytes::from(vec![7; 1001]), &mut dst).is_err());
    }

    #[test]
    fn a_codec_that_writes_what_it_reads_is_a_protocol() {
        fn packet_of<P: Protocol<In = String, Out = String>>(mut protocol: P) -> Option<String> {
            protocol.codec().decode(&mut BytesMut::from("line\n")).ok().flatten()
        }
        let lines = TokioCodec::new(tokio::LinesCodec::new_with_max_length(10));
        assert_eq!(packet_of(lines).as_deref(), Some("line"));
    }
}
