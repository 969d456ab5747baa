//! What the tests of every codec need: a stream that is fed in pieces, as the loop would, and told what came of it.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{Decoder, Encoder, WriteBuffer};

/// What a decoder made of a whole stream.
#[derive(Debug)]
pub(crate) struct Outcome<P, E> {
    pub(crate) packets: Vec<P>,
    pub(crate) end: End<E>,
    /// The most bytes that waited for more to come.
    pub(crate) most_held: usize,
}

#[derive(Debug)]
pub(crate) enum End<E> {
    Clean,
    /// This many bytes remained.
    Truncated(usize),
    Failed(E),
}

impl<P, E: std::fmt::Debug> Outcome<P, E> {
    /// The packets of a stream that ends where a packet does.
    pub(crate) fn complete(self) -> Vec<P> {
        assert!(matches!(self.end, End::Clean), "ended as {:?}", self.end);
        self.packets
    }

    pub(crate) fn error(self) -> E {
        match self.end {
            End::Failed(error) => error,
            end => panic!("expected an error, ended as {end:?}"),
        }
    }
}

/// Two ends of the same stream. An error may know more or less of what the stream begins like, by what has come of it.
fn same_end<E>(one: &End<E>, other: &End<E>) -> bool {
    match (one, other) {
        (End::Clean, End::Clean) => true,
        (End::Truncated(one), End::Truncated(other)) => one == other,
        (End::Failed(one), End::Failed(other)) => {
            std::mem::discriminant(one) == std::mem::discriminant(other)
        }
        _ => false,
    }
}

/// Feeds `stream` to `codec` in pieces of the given lengths, over and over, and then its end.
///
/// # Panics
///
/// When the decoder yields a packet without consuming a byte, or reserves memory.
pub(crate) fn decode_pieces<D: Decoder>(
    codec: &mut D,
    stream: &[u8],
    lengths: &[usize],
) -> Outcome<D::Packet, D::Error> {
    let mut src = BytesMut::new();
    let mut outcome = Outcome { packets: Vec::new(), end: End::Clean, most_held: 0 };
    let mut rest = stream;
    let mut lengths = lengths.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        src.extend_from_slice(piece);
        rest = behind;
        if let Err(error) = drain(&mut outcome.packets, &mut src, |src| codec.decode(src)) {
            outcome.end = End::Failed(error);
            return outcome;
        }
        outcome.most_held = outcome.most_held.max(src.len());
    }
    outcome.end = match drain(&mut outcome.packets, &mut src, |src| codec.decode_eof(src)) {
        Err(error) => End::Failed(error),
        Ok(()) if src.is_empty() => End::Clean,
        Ok(()) => End::Truncated(src.len()),
    };
    outcome
}

fn drain<P, E>(
    packets: &mut Vec<P>,
    src: &mut BytesMut,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<P>, E>,
) -> Result<(), E> {
    loop {
        let (held, capacity) = (src.len(), src.capacity());
        let packet = decode(src)?;
        assert!(src.capacity() <= capacity, "the decoder reserved");
        let Some(packet) = packet else { return Ok(()) };
        assert!(src.len() < held, "a packet of no bytes");
        packets.push(packet);
    }
}

/// Feeds `stream` whole.
pub(crate) fn decode_whole<D: Decoder>(
    codec: &mut D,
    stream: &[u8],
) -> Outcome<D::Packet, D::Error> {
    decode_pieces(codec, stream, &[])
}

/// Holds that a split of the stream changes nothing, and returns what came of it.
pub(crate) fn assert_split_is_unseen<D>(
    codec: &D,
    stream: &[u8],
    lengths: &[usize],
) -> Outcome<D::Packet, D::Error>
where
    D: Decoder + Clone,
    D::Packet: PartialEq + std::fmt::Debug,
{
    let whole = decode_whole(&mut codec.clone(), stream);
    let pieces = decode_pieces(&mut codec.clone(), stream, lengths);
    assert_eq!(whole.packets, pieces.packets);
    assert!(same_end(&whole.end, &pieces.end), "whole {:?}, in pieces {:?}", whole.end, pieces.end);
    pieces
}

/// The bytes of the packets, one after the other, each as long as `frame_len` says.
pub(crate) fn encode_all<P, C: Encoder<P>>(
    codec: &mut C,
    packets: impl IntoIterator<Item = P>,
) -> Result<Bytes, C::Error> {
    let mut dst = WriteBuffer::new();
    for packet in packets {
        let (before, len) = (dst.queued(), codec.frame_len(&packet));
        codec.encode(packet, &mut dst)?;
        assert_eq!(dst.queued(), before + len, "frame_len is not exact");
    }
    Ok(dst.take_shared())
}

/// The error of a packet that cannot be sent.
pub(crate) fn refused<P, C: Encoder<P>>(codec: &mut C, packet: P) -> C::Error {
    let mut dst = WriteBuffer::new();
    let error = codec.encode(packet, &mut dst).expect_err("a packet that cannot be sent");
    assert!(dst.is_drained(), "bytes of a refused packet");
    error
}

/// Lengths of pieces, many of them a byte or two.
pub(crate) fn piece_lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![3 => 1..4_usize, 1 => 1..64_usize], 1..8)
}

/// Bytes that are mostly taken from `alphabet`, so that chance finds what means something.
pub(crate) fn bytes_near(alphabet: &'static [u8], max: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![6 => prop::sample::select(alphabet), 1 => any::<u8>()];
    prop::collection::vec(byte, 0..=max)
}

/// The start of a TLS ClientHello, as it arrives at a port that knows nothing of TLS.
pub(crate) const CLIENT_HELLO: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x9a\x17\x42\x00\xe1\x0c\xf8\x33";

/// An HTTP request of the kind that a health check sends.
pub(crate) const HTTP_REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: example.com\r\n\r\n";
