//! Each codec by itself, beside the one of the same kind that tokio-util has: no socket, no loop. `codecs.sh` runs this
//! several times over and puts the two next to each other; `docs/benchmarks.md` says what came of it.
//!
//! Each measurement decodes, or encodes, 64 KiB of payload in packets of one size. What a codec needs for that is made
//! beforehand and dropped afterwards; the packets that it makes are dropped as they come. The items of the counter are
//! packets, its bytes are their payload.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use serde::{Deserialize, Serialize};
use tokio_util::codec as theirs;
use tokio_util::codec::{Decoder as TheirDecoder, Encoder as TheirEncoder};
use wheelhouse::codec as ours;
use wheelhouse::codec::{Decoder as OurDecoder, Encoder as OurEncoder, WriteBuffer};

/// Bytes of payload in one packet. A `WriteBuffer` takes the largest by reference.
const PAYLOADS: [usize; 5] = [16, 64, 1024, 8 * 1024, 16 * 1024];

/// Bytes of payload in one measurement.
const BATCH: usize = 64 * 1024;

/// The maximum for every codec that has one: no packet here is over it.
const MAX: usize = 64 * 1024;

/// So few to a sample that the buffers of all of them stay in the second-level cache.
const BATCHES_IN_A_SAMPLE: u32 = 2;

const SAMPLES: u32 = 500;

fn main() {
    divan::Divan::from_args().sample_size(BATCHES_IN_A_SAMPLE).sample_count(SAMPLES).main();
}

/// Text without line ends, so that it is a payload for every codec.
fn text(payload: usize) -> String {
    "the quick brown fox jumps over the lazy dog; ".chars().cycle().take(payload).collect()
}

/// The packets of one batch, each in memory of its own.
fn packets(payload: usize) -> Vec<Bytes> {
    let text = text(payload);
    (0..BATCH / payload).map(|_| Bytes::copy_from_slice(text.as_bytes())).collect()
}

/// What a peer sends for one batch.
fn stream(payload: usize, front: &[u8], behind: &[u8]) -> BytesMut {
    let frame = [front, text(payload).as_bytes(), behind].concat();
    BytesMut::from(&frame.repeat(BATCH / payload)[..])
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, payload: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(BATCH / payload)).counter(BytesCount::new(BATCH))
}

/// Decodes batch after batch with one codec, and sees that every packet is found.
fn decoding<C>(
    bencher: Bencher<'_, '_>,
    payload: usize,
    codec: C,
    stream: &BytesMut,
    decode: impl Fn(&mut C, &mut BytesMut) -> bool,
) {
    let codec = RefCell::new(codec);
    counted(bencher, payload).with_inputs(|| BytesMut::from(&stream[..])).bench_local_refs(|src| {
        let codec = &mut *codec.borrow_mut();
        let mut packets = 0;
        while decode(codec, src) {
            packets += 1;
        }
        assert_eq!(packets, BATCH / payload);
    });
}

fn decode_ours<C: OurDecoder>(
    bencher: Bencher<'_, '_>,
    payload: usize,
    codec: C,
    stream: &BytesMut,
) {
    decoding(bencher, payload, codec, stream, |codec, src| {
        black_box(codec.decode(src).expect("a good stream")).is_some()
    });
}

fn decode_theirs<C>(bencher: Bencher<'_, '_>, payload: usize, codec: C, stream: &BytesMut)
where
    C: TheirDecoder,
    C::Error: std::fmt::Debug,
{
    decoding(bencher, payload, codec, stream, |codec, src| {
        black_box(codec.decode(src).expect("a good stream")).is_some()
    });
}

/// Room for a batch with its frames, so that nothing has to grow.
const ROOM: usize = BATCH + BATCH / 2;

/// A buffer whose pages are there already: the system's work to map them is no codec's.
fn room() -> BytesMut {
    let mut room = BytesMut::zeroed(ROOM);
    room.clear();
    room
}

fn encode_ours<C, P>(bencher: Bencher<'_, '_>, payload: usize, codec: C, packets: &[P])
where
    C: OurEncoder<P>,
    P: Clone,
{
    let codec = RefCell::new(codec);
    let inputs = || {
        let mut dst = WriteBuffer::new();
        *dst = room();
        (Vec::from(packets).into_iter(), dst)
    };
    counted(bencher, payload).with_inputs(inputs).bench_local_refs(|(packets, dst)| {
        let codec = &mut *codec.borrow_mut();
        for packet in packets {
            codec.encode(packet, dst).expect("a good packet");
        }
        assert!(dst.queued() >= BATCH);
    });
}

fn encode_theirs<C, P>(bencher: Bencher<'_, '_>, payload: usize, codec: C, packets: &[P])
where
    C: TheirEncoder<P>,
    C::Error: std::fmt::Debug,
    P: Clone,
{
    let codec = RefCell::new(codec);
    let inputs = || (Vec::from(packets).into_iter(), room());
    counted(bencher, payload).with_inputs(inputs).bench_local_refs(|(packets, dst)| {
        let codec = &mut *codec.borrow_mut();
        for packet in packets {
            codec.encode(packet, dst).expect("a good packet");
        }
        assert!(dst.len() >= BATCH);
    });
}

/// Lines of text, a `String` each; written from a `&str`.
mod lines {
    use super::*;

    #[divan::bench(args = PAYLOADS)]
    fn decode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = theirs::LinesCodec::new_with_max_length(MAX);
        decode_theirs(bencher, payload, codec, &stream(payload, b"", b"\n"));
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        decode_ours(bencher, payload, ours::LinesCodec::new(MAX), &stream(payload, b"", b"\n"));
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        let text = text(payload);
        let packets = vec![text.as_str(); BATCH / payload];
        encode_theirs(bencher, payload, theirs::LinesCodec::new_with_max_length(MAX), &packets);
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let text = text(payload);
        let packets = vec![text.as_str(); BATCH / payload];
        encode_ours(bencher, payload, ours::LinesCodec::new(MAX), &packets);
    }
}

/// One byte of NUL behind each packet. Their codec takes any of several bytes, ours any one sequence of bytes.
mod delimiter {
    use super::*;

    fn their_codec() -> theirs::AnyDelimiterCodec {
        theirs::AnyDelimiterCodec::new_with_max_length(b"\0".to_vec(), b"\0".to_vec(), MAX)
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        decode_theirs(bencher, payload, their_codec(), &stream(payload, b"", b"\0"));
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = ours::DelimiterCodec::new(b"\0", MAX);
        decode_ours(bencher, payload, codec, &stream(payload, b"", b"\0"));
    }

    /// A delimiter that their codec cannot have.
    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse_of_4_bytes(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = ours::DelimiterCodec::new(b"\r\n\r\n", MAX);
        decode_ours(bencher, payload, codec, &stream(payload, b"", b"\r\n\r\n"));
    }

    /// Theirs writes a `str`. So that neither has packets to drop, ours writes static bytes.
    #[divan::bench(args = PAYLOADS)]
    fn encode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        let text = text(payload);
        let packets = vec![text.as_str(); BATCH / payload];
        encode_theirs(bencher, payload, their_codec(), &packets);
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = ours::DelimiterCodec::new(b"\0", MAX);
        let packet = Bytes::from_static(text(payload).leak().as_bytes());
        encode_ours(bencher, payload, codec, &vec![packet; BATCH / payload]);
    }
}

/// A big-endian `u32` in front, which is what both have as their default.
mod length_delimited {
    use super::*;

    fn frames(payload: usize) -> BytesMut {
        let len = u32::try_from(payload).expect("a small payload");
        stream(payload, &len.to_be_bytes(), b"")
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        decode_theirs(bencher, payload, theirs::LengthDelimitedCodec::new(), &frames(payload));
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        decode_ours(bencher, payload, ours::LengthDelimitedCodec::new(MAX), &frames(payload));
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = theirs::LengthDelimitedCodec::new();
        encode_theirs(bencher, payload, codec, &packets(payload));
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = ours::LengthDelimitedCodec::new(MAX);
        encode_ours(bencher, payload, codec, &packets(payload));
    }
}

/// Bytes as they come. A packet is what one read brought, so each payload is a buffer of its own to decode from.
mod bytes_as_they_come {
    use super::*;

    fn decoding_reads<C>(
        bencher: Bencher<'_, '_>,
        payload: usize,
        codec: C,
        decode: impl Fn(&mut C, &mut BytesMut) -> bool,
    ) {
        let codec = RefCell::new(codec);
        let text = text(payload);
        let reads = || vec![BytesMut::from(text.as_bytes()); BATCH / payload];
        counted(bencher, payload).with_inputs(reads).bench_local_refs(|reads| {
            let codec = &mut *codec.borrow_mut();
            for src in reads {
                assert!(decode(codec, src) && !decode(codec, src));
            }
        });
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        decoding_reads(bencher, payload, theirs::BytesCodec::new(), |codec, src| {
            black_box(codec.decode(src).expect("a good stream")).is_some()
        });
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        decoding_reads(bencher, payload, ours::BytesCodec::new(), |codec, src| {
            black_box(codec.decode(src).expect("a good stream")).is_some()
        });
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_tokio_util(bencher: Bencher<'_, '_>, payload: usize) {
        encode_theirs(bencher, payload, theirs::BytesCodec::new(), &packets(payload));
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        encode_ours(bencher, payload, ours::BytesCodec::new(), &packets(payload));
    }
}

/// Packets of one size; tokio-util has no such codec.
mod fixed_length {
    use super::*;

    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = ours::FixedLengthCodec::new(payload);
        decode_ours(bencher, payload, codec, &stream(payload, b"", b""));
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let codec = ours::FixedLengthCodec::new(payload);
        encode_ours(bencher, payload, codec, &packets(payload));
    }
}

/// A JSON object a line, of the length that the others' payloads have. tokio-util has no such codec; what serde_json needs
/// for the same objects, with no lines to be found, is the least that it can cost.
mod json_lines {
    use super::*;

    #[derive(Clone, Serialize, Deserialize)]
    struct Note {
        t: String,
    }

    /// What is around the text of a note.
    const AROUND: usize = r#"{"t":""}"#.len();

    fn notes(payload: usize) -> Vec<Note> {
        vec![Note { t: text(payload - AROUND) }; BATCH / payload]
    }

    fn objects(payload: usize) -> Vec<u8> {
        serde_json::to_vec(&notes(payload)[0]).expect("a note is JSON")
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_serde_json(bencher: Bencher<'_, '_>, payload: usize) {
        let object = BytesMut::from(&objects(payload)[..]);
        let stream = BytesMut::from(&object.repeat(BATCH / payload)[..]);
        decoding(bencher, payload, (), &stream, |(), src| {
            let object = src.split_to(payload.min(src.len()));
            !object.is_empty() && {
                black_box(serde_json::from_slice::<Note>(&object).expect("a note"));
                true
            }
        });
    }

    #[divan::bench(args = PAYLOADS)]
    fn decode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        let line = [&objects(payload)[..], b"\n"].concat();
        let stream = BytesMut::from(&line.repeat(BATCH / payload)[..]);
        decode_ours(bencher, payload, ours::JsonLines::<Note>::new(MAX), &stream);
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_serde_json(bencher: Bencher<'_, '_>, payload: usize) {
        let inputs = || (notes(payload), Vec::from(room()));
        counted(bencher, payload).with_inputs(inputs).bench_local_refs(|(notes, dst)| {
            for note in notes.drain(..) {
                serde_json::to_writer(&mut *dst, &note).expect("a note is JSON");
                dst.push(b'\n');
            }
        });
    }

    #[divan::bench(args = PAYLOADS)]
    fn encode_wheelhouse(bencher: Bencher<'_, '_>, payload: usize) {
        encode_ours(bencher, payload, ours::JsonLines::<Note>::new(MAX), &notes(payload));
    }
}
