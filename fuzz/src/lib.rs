//! What every target holds of its codec: a split is unseen, little is held, and what was written is read.

use std::fmt::Debug;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};

/// A stream, and the lengths of the pieces in which it comes, over and over.
#[derive(Arbitrary, Debug)]
pub struct Arrival<'a> {
    pub lengths: Vec<u8>,
    pub stream: &'a [u8],
}

/// What came of a stream: its packets, and the bytes that remained at its end, or its error.
type Outcome<D> = (Vec<<D as Decoder>::Packet>, Result<usize, <D as Decoder>::Error>);

fn decode<'a, D: Decoder>(
    codec: &mut D,
    pieces: impl Iterator<Item = &'a [u8]>,
    most_held: usize,
) -> Outcome<D> {
    let mut src = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        src.extend_from_slice(piece);
        if let Err(error) = drain(&mut packets, &mut src, |src| codec.decode(src)) {
            return (packets, Err(error));
        }
        assert!(src.len() <= most_held, "{} bytes were held, not {most_held}", src.len());
    }
    let end = drain(&mut packets, &mut src, |src| codec.decode_eof(src));
    (packets, end.map(|()| src.len()))
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

/// Decodes the stream as it arrives and whole, and returns the packets, which are the same.
///
/// # Panics
///
/// When a split shows, when more than `most_held` bytes wait for the rest of a packet, when the decoder reserves memory,
/// and when a packet consumes nothing.
pub fn packets_of<D>(codec: &D, arrival: &Arrival<'_>, most_held: usize) -> Vec<D::Packet>
where
    D: Decoder + Clone,
    D::Packet: PartialEq + Debug,
{
    let mut rest = arrival.stream;
    let mut lengths = arrival.lengths.iter().cycle();
    let pieces = std::iter::from_fn(|| {
        let length = lengths.next().map_or(rest.len(), |&length| usize::from(length.max(1)));
        let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    });
    let (packets, end) = decode(&mut codec.clone(), pieces, most_held);
    let whole = std::iter::once(arrival.stream);
    let (whole_packets, whole_end) = decode(&mut codec.clone(), whole, most_held);
    assert_eq!(packets, whole_packets);
    match (&end, &whole_end) {
        (Ok(left), Ok(whole_left)) => assert_eq!(left, whole_left),
        (Err(error), Err(whole_error)) => assert_eq!(
            std::mem::discriminant(error),
            std::mem::discriminant(whole_error),
            "in pieces: {error}; whole: {whole_error}"
        ),
        _ => panic!("in pieces: {end:?}; whole: {whole_end:?}"),
    }
    packets
}

/// Writes the packets that the codec accepts, and sees that the same are read.
///
/// # Panics
///
/// When others are read, and when `frame_len` says more than was written (or less, where it is `exact`).
pub fn assert_round_trip<C>(codec: &C, packets: Vec<C::Packet>, exact: bool)
where
    C: Decoder + Encoder<C::Packet> + Clone,
    C::Packet: Clone + PartialEq + Debug,
{
    let mut encoder = codec.clone();
    let mut stream = Vec::new();
    let mut written = Vec::new();
    for packet in packets {
        let mut dst = WriteBuffer::new();
        let expected = encoder.frame_len(&packet);
        if encoder.encode(packet.clone(), &mut dst).is_ok() {
            assert!(dst.queued() >= expected && (!exact || dst.queued() == expected));
            assert_eq!(dst.queued(), dst.len(), "a packet too large for one buffer");
            stream.extend_from_slice(&dst);
            written.push(packet);
        }
    }
    let (read, end) = decode(&mut codec.clone(), std::iter::once(&stream[..]), usize::MAX);
    assert_eq!(read, written);
    assert!(matches!(end, Ok(0)), "{end:?}");
}
