//! Other implementations of the same framing: tokio-util's, run beside this one, and the options of Netty's
//! `LengthFieldBasedFrameDecoder`, by the layouts that its documentation walks through.

use proptest::prelude::*;
use tokio_util::codec::{
    Decoder as _, Encoder as _, LengthDelimitedCodec as TokioCodec, length_delimited,
};

use super::*;

/// The fields that tokio-util has too, and its builder for the same frames as ours.
fn both(
    max: usize,
    field: LengthField,
    little: bool,
    offset: usize,
    adjustment: i64,
) -> (LengthDelimitedCodec, TokioCodec) {
    let len = field.fixed_len().expect("a field of a fixed size");
    let ours =
        LengthDelimitedCodec::builder(max).field(field).offset(offset).adjustment(adjustment);
    let mut theirs = length_delimited::Builder::new();
    theirs
        .max_frame_length(max)
        .length_field_length(len)
        .length_field_offset(offset)
        .length_adjustment(adjustment as isize)
        .num_skip(offset + len);
    if little {
        (ours.little_endian().build(), theirs.little_endian().new_codec())
    } else {
        (ours.build(), theirs.new_codec())
    }
}

fn tokio_packets(codec: &mut TokioCodec, stream: &[u8]) -> (Vec<Bytes>, bool) {
    let mut src = BytesMut::from(stream);
    let mut packets = Vec::new();
    loop {
        match codec.decode(&mut src) {
            Ok(Some(packet)) => packets.push(packet.freeze()),
            Ok(None) => return (packets, true),
            Err(_) => return (packets, false),
        }
    }
}

const FIELDS: [LengthField; 5] =
    [LengthField::U8, LengthField::U16, LengthField::U24, LengthField::U32, LengthField::U64];

proptest! {
    #[test]
    fn tokio_util_reads_the_same_packets(
        field in prop::sample::select(&FIELDS),
        little: bool,
        offset in 0..4_usize,
        stream in bytes_near(b"\0\x01\x03\x09", 80),
    ) {
        let (mut ours, mut theirs) = both(9, field, little, offset, 0);
        let outcome = decode_whole(&mut ours, &stream);
        let (packets, fine) = tokio_packets(&mut theirs, &stream);
        prop_assert_eq!(outcome.packets, packets);
        prop_assert_eq!(!matches!(outcome.end, End::Failed(_)), fine);
    }

    #[test]
    fn tokio_util_adjusts_alike(
        field in prop::sample::select(&FIELDS),
        adjustment in -4..4_i64,
        stream in bytes_near(b"\0\x04\x05\x06", 80),
    ) {
        // A maximum that neither reaches: tokio-util compares it with the field, this crate with the body.
        let (mut ours, mut theirs) = both(1 << 20, field, false, 0, adjustment);
        let outcome = decode_whole(&mut ours, &stream);
        let (packets, _) = tokio_packets(&mut theirs, &stream);
        prop_assert_eq!(outcome.packets, packets);
    }

    #[test]
    fn each_reads_what_the_other_wrote(
        field in prop::sample::select(&FIELDS),
        little: bool,
        adjustment in -4..=0_i64,
        packets in prop::collection::vec(bytes_near(b"ab\0", 40).prop_map(Bytes::from), 0..6),
    ) {
        let (mut ours, mut theirs) = both(50, field, little, 0, adjustment);
        let written = encode_all(&mut ours, packets.iter().cloned()).unwrap();
        prop_assert_eq!(tokio_packets(&mut theirs, &written), (packets.clone(), true));
        let mut dst = BytesMut::new();
        for packet in &packets {
            theirs.encode(packet.clone(), &mut dst).unwrap();
        }
        prop_assert_eq!(&dst, &written);
        prop_assert_eq!(decode_whole(&mut ours, &dst).complete(), packets);
    }
}

/// One of the documented layouts: the options in Netty's order, a frame, and what is left of it.
struct Layout {
    offset: usize,
    field: LengthField,
    adjustment: i64,
    strip: usize,
    frame: &'static [u8],
    packet: &'static [u8],
}

#[test]
fn the_layouts_of_netty_work_with_the_same_numbers() {
    use LengthField::{U16, U24};
    let layout = |offset, field, adjustment, strip, frame, packet| Layout {
        offset,
        field,
        adjustment,
        strip,
        frame,
        packet,
    };
    let layouts = [
        // the length of what follows, kept and stripped
        layout(0, U16, 0, 0, b"\0\x0cHELLO, WORLD", b"\0\x0cHELLO, WORLD"),
        layout(0, U16, 0, 2, b"\0\x0cHELLO, WORLD", b"HELLO, WORLD"),
        // the length of the whole frame
        layout(0, U16, -2, 0, b"\0\x0eHELLO, WORLD", b"\0\x0eHELLO, WORLD"),
        // something in front of the length, and something behind it that it leaves out
        layout(2, U24, 0, 0, b"\xca\xfe\0\0\x0cHELLO, WORLD", b"\xca\xfe\0\0\x0cHELLO, WORLD"),
        layout(0, U24, 2, 0, b"\0\0\x0c\xca\xfeHELLO, WORLD", b"\0\0\x0c\xca\xfeHELLO, WORLD"),
        // both: the second part of the header stays
        layout(1, U16, 1, 3, b"\xca\0\x0c\xfeHELLO, WORLD", b"\xfeHELLO, WORLD"),
        // the same, where the length is that of the whole frame
        layout(1, U16, -3, 3, b"\xca\0\x10\xfeHELLO, WORLD", b"\xfeHELLO, WORLD"),
    ];
    for (number, layout) in layouts.into_iter().enumerate() {
        let mut codec = LengthDelimitedCodec::builder(20)
            .field(layout.field)
            .offset(layout.offset)
            .adjustment(layout.adjustment)
            .skip(layout.strip)
            .build();
        let stream = layout.frame.repeat(2);
        let packets = decode_pieces(&mut codec, &stream, &[1]).complete();
        assert_eq!(packets, [layout.packet, layout.packet], "layout {number}");

        let mut written = encode_all(&mut codec, packets).unwrap().to_vec();
        if layout.strip > layout.offset {
            // What was in front of the length is not in the packet: zeros stand for it.
            for frame in written.chunks_mut(layout.frame.len()) {
                assert_eq!(frame[..layout.offset], vec![0; layout.offset]);
                frame[..layout.offset].copy_from_slice(&layout.frame[..layout.offset]);
            }
        }
        assert_eq!(written, stream, "layout {number}");
    }
}
