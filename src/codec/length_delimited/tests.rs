use proptest::prelude::*;

use super::*;
use crate::codec::test_support::*;

mod peers;

/// Builders that may be built, of every kind.
fn codecs() -> impl Strategy<Value = LengthDelimitedCodec> {
    let field = prop::sample::select(vec![
        LengthField::U8,
        LengthField::U16,
        LengthField::U24,
        LengthField::U32,
        LengthField::U64,
        LengthField::Varint,
    ]);
    let skip = prop::sample::select(vec!["header", "none", "front", "body"]);
    (0..40_usize, field, any::<bool>(), 0..4_usize, -6..6_i64, skip).prop_map(
        |(max, field, little, offset, adjustment, skip)| {
            let mut builder = LengthDelimitedCodec::builder(max)
                .field(field)
                .offset(offset)
                .adjustment(adjustment);
            if little {
                builder = builder.little_endian();
            }
            match (skip, field.fixed_len()) {
                ("none", _) => builder.keep_header(),
                ("front", _) => builder.skip(offset),
                ("body", Some(len)) => builder.skip(offset + len + max / 2),
                _ => builder,
            }
            .build()
        },
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same_packets(
        codec in codecs(),
        stream in bytes_near(b"\0\x01\x05\x0a\x85", 80),
        pieces in piece_lengths(),
    ) {
        let outcome = assert_split_is_unseen(&codec, &stream, &pieces);
        let most = codec.layout.offset + field::VARINT_MAX + codec.layout.max;
        prop_assert!(outcome.most_held < most, "{} bytes were held", outcome.most_held);
    }

    #[test]
    fn what_was_written_is_read(
        codec in codecs(),
        packets in prop::collection::vec(bytes_near(b"\0\x05abc", 45), 0..6),
        pieces in piece_lengths(),
    ) {
        let mut codec = codec;
        let fit = packets
            .into_iter()
            .map(Bytes::from)
            .filter(|packet| encode_all(&mut codec, [packet.clone()]).is_ok());
        let fit: Vec<Bytes> = fit.collect();
        let stream = encode_all(&mut codec, fit.iter().cloned()).unwrap();
        prop_assert_eq!(decode_pieces(&mut codec, &stream, &pieces).complete(), fit);
    }

    #[test]
    fn what_was_read_can_be_written_and_is_read_again(
        codec in codecs(),
        stream in bytes_near(b"\0\x01\x05\x0a", 80),
    ) {
        let packets = decode_whole(&mut codec.clone(), &stream).packets;
        let again = encode_all(&mut codec.clone(), packets.iter().cloned()).unwrap();
        prop_assert_eq!(decode_whole(&mut codec.clone(), &again).complete(), packets);
    }
}

fn error(codec: LengthDelimitedBuilder, stream: &[u8]) -> LengthDelimitedError {
    decode_whole(&mut codec.build(), stream).error()
}

#[test]
fn the_default_is_a_big_endian_u32() {
    let mut codec = LengthDelimitedCodec::new(10);
    let stream = encode_all(&mut codec, [Bytes::from("hello"), Bytes::new()]).unwrap();
    assert_eq!(stream, b"\0\0\0\x05hello\0\0\0\0"[..]);
    assert_eq!(decode_whole(&mut codec, &stream).complete(), ["hello", ""]);
}

#[test]
fn a_body_at_the_maximum_passes_and_one_byte_more_does_not() {
    let mut codec = LengthDelimitedCodec::new(5);
    assert_eq!(decode_whole(&mut codec, b"\0\0\0\x05hello").complete(), ["hello"]);
    let too_long =
        LengthDelimitedError::TooLong { length: 6, adjustment: 0, max: 5, looks_like: None };
    assert_eq!(codec.clone().decode(&mut BytesMut::from("\0\0\0\x06")), Err(too_long.clone()));
    assert_eq!(codec.clone().decode(&mut BytesMut::from("\0\0\0\x06hello!")), Err(too_long));
    assert_eq!(codec.clone().decode(&mut BytesMut::from("\0\0\0\x01")), Ok(None));

    assert!(encode_all(&mut codec, [Bytes::from("hello")]).is_ok());
    assert_eq!(
        refused(&mut codec, Bytes::from("hello!")),
        LengthDelimitedError::PacketTooLong { len: 6, max: 5 }
    );
}

#[test]
fn hostile_lengths_are_refused_from_the_field_alone() {
    let builder = || LengthDelimitedCodec::builder(1000);
    let u32_max = error(builder(), b"\xff\xff\xff\xff");
    assert_eq!(u32_max.to_string(), "a length of 4294967295 passes the maximum of 1000 bytes");
    let u64_max = error(builder().field(LengthField::U64), &[0xff; 8]);
    assert_eq!(
        u64_max.to_string(),
        "a length of 18446744073709551615 passes the maximum of 1000 bytes"
    );
    // Where the sum passes 64 bits, or the sign, it must not come round as a small number.
    for adjustment in [1, 1000, i64::MAX] {
        let wrapped = error(builder().field(LengthField::U64).adjustment(adjustment), &[0xff; 8]);
        assert!(matches!(wrapped, LengthDelimitedError::TooLong { length: u64::MAX, .. }));
    }
    let varint =
        error(builder().field(LengthField::Varint), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    assert!(matches!(varint, LengthDelimitedError::TooLong { length: u64::MAX, .. }));
    let endless = error(builder().field(LengthField::Varint), &[0x80; 10]);
    assert_eq!(endless, LengthDelimitedError::BadVarint { looks_like: None });
}

#[test]
fn a_length_that_does_not_cover_its_own_header_is_refused() {
    let builder = || LengthDelimitedCodec::builder(10).field(LengthField::U16).adjustment(-2);
    assert_eq!(decode_whole(&mut builder().build(), b"\0\x02\0\x03a").complete(), ["", "a"]);
    let negative = error(builder(), b"\0\x01");
    assert_eq!(negative.to_string(), "a length of 1 (adjusted by -2) is less than nothing");
    let zero = error(builder().adjustment(-0x8000), b"\0\0");
    assert!(matches!(zero, LengthDelimitedError::Negative { length: 0, .. }));
}

#[test]
fn a_frame_shorter_than_what_is_skipped_is_refused() {
    let builder = LengthDelimitedCodec::builder(10).field(LengthField::U8).skip(3);
    let stream = b"\x02abx\x03abc";
    assert_eq!(decode_whole(&mut builder.clone().build(), &stream[..3]).complete(), [""]);
    let short = error(builder, b"\x01a");
    assert_eq!(short, LengthDelimitedError::TooShort { len: 2, skip: 3, looks_like: None });
}

#[test]
fn a_body_that_the_length_field_cannot_say_is_refused() {
    let mut codec = LengthDelimitedCodec::builder(1000).field(LengthField::U8).build();
    assert!(encode_all(&mut codec, [Bytes::from(vec![7; 255])]).is_ok());
    assert_eq!(
        refused(&mut codec, Bytes::from(vec![7; 256])),
        LengthDelimitedError::PacketTooLong { len: 256, max: 255 }
    );
    let mut counts_itself =
        LengthDelimitedCodec::builder(1000).field(LengthField::U8).adjustment(-1).build();
    assert_eq!(
        refused(&mut counts_itself, Bytes::from(vec![7; 255])),
        LengthDelimitedError::PacketTooLong { len: 255, max: 254 }
    );
    let mut leaves_out = LengthDelimitedCodec::builder(1000).adjustment(4).build();
    assert_eq!(
        refused(&mut leaves_out, Bytes::from("abc")),
        LengthDelimitedError::PacketTooShort { len: 3, adjustment: 4 }
    );
}

#[test]
fn a_packet_that_brings_its_header_must_bring_the_right_one() {
    let mut codec = LengthDelimitedCodec::builder(10).offset(1).keep_header().build();
    let packet = Bytes::from_static(b"M\0\0\0\x02hi");
    assert_eq!(encode_all(&mut codec, [packet.clone()]).unwrap(), packet);
    assert_eq!(
        refused(&mut codec, Bytes::from_static(b"M\0\0\0\x03hi")),
        LengthDelimitedError::WrongHeader { says: 3, expected: 2 }
    );
    assert_eq!(
        refused(&mut codec, Bytes::from_static(b"M\0\0\0")),
        LengthDelimitedError::NoHeader { len: 4 }
    );
}

#[test]
fn an_end_inside_a_frame_leaves_its_bytes() {
    for (stream, left) in [(&b"\0\0\0\x01a\0\0"[..], 2), (b"\0\0\0\x01a\0\0\0\x05hell", 8)] {
        let outcome = decode_whole(&mut LengthDelimitedCodec::new(10), stream);
        assert_eq!(outcome.packets, ["a"]);
        assert!(matches!(outcome.end, End::Truncated(bytes) if bytes == left), "{outcome:?}");
    }
}

#[test]
fn another_protocol_is_named() {
    for (stream, name) in [(HTTP_REQUEST, "an HTTP request"), (CLIENT_HELLO, "a TLS ClientHello")] {
        let outcome = decode_pieces(&mut LengthDelimitedCodec::new(1 << 20), stream, &[1]);
        let told = outcome.error().to_string();
        assert!(told.ends_with(&format!("(the stream begins like {name})")), "{told}");
    }
    let later = [b"\0\0\0\x01a", HTTP_REQUEST].concat();
    let told = error(LengthDelimitedCodec::builder(10), &later).to_string();
    assert_eq!(told, "a length of 1195725856 passes the maximum of 10 bytes");
}

#[test]
fn a_large_packet_is_queued_as_it_is() {
    let packet = Bytes::from(vec![7; 100_000]);
    let mut dst = WriteBuffer::new();
    LengthDelimitedCodec::new(1 << 20).encode(packet.clone(), &mut dst).unwrap();
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(dst.fill_slices(&mut slices), 2);
    assert_eq!(slices[1].as_ptr(), packet.as_ptr());
}

#[test]
fn a_frame_that_comes_a_byte_at_a_time_is_measured_once() {
    const LEN: usize = 64 * 1024;
    for field in [LengthField::U32, LengthField::Varint] {
        let mut codec = LengthDelimitedCodec::builder(LEN).field(field).offset(4).build();
        let stream = encode_all(&mut codec, [Bytes::from(vec![7; LEN])]).unwrap();
        assert_eq!(decode_pieces(&mut codec, &stream, &[1]).complete().len(), 1);
        assert!((4..=1 + 2 + 3 + 4).contains(&codec.looked_at), "{} bytes", codec.looked_at);
    }
}

#[test]
fn a_codec_that_cannot_work_is_not_built() {
    let builder = || LengthDelimitedCodec::builder(100).field(LengthField::U16);
    let impossible: [(LengthDelimitedBuilder, &str); 8] = [
        (LengthDelimitedCodec::builder(usize::MAX), "no frame that fits in memory"),
        (builder().offset(usize::MAX), "no frame that fits in memory"),
        (builder().adjustment(-0x1_0000), "takes away more than a length of 65535 can say"),
        (builder().adjustment(i64::MIN), "takes away more"),
        (builder().skip(1), "end inside the length field"),
        (builder().skip(103), "more than any frame has"),
        (builder().skip(usize::MAX), "more than any frame has"),
        (builder().field(LengthField::Varint).skip(1), "end in or behind a varint"),
    ];
    for (builder, message) in impossible {
        let panic = std::panic::catch_unwind(|| builder.build()).expect_err(message);
        let told = panic.downcast::<String>().expect("a message with numbers in it");
        assert!(told.contains(message), "{told}");
    }
}
