//! Every layout that the builder accepts, with small numbers.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wheelhouse::codec::{LengthDelimitedCodec, LengthField};
use wheelhouse_fuzz::{Arrival, assert_round_trip, packets_of};

#[derive(Arbitrary, Debug)]
struct Layout {
    max: u16,
    field: Field,
    little_endian: bool,
    offset: u8,
    adjustment: i8,
    skip: Skip,
}

#[derive(Arbitrary, Debug)]
enum Field {
    Fixed1,
    Fixed2,
    Fixed3,
    Fixed4,
    Fixed8,
    Varint,
}

#[derive(Arbitrary, Debug)]
enum Skip {
    Header,
    Front(u8),
    Body(u8),
}

impl Layout {
    fn codec(&self) -> LengthDelimitedCodec {
        let (field, len) = match self.field {
            Field::Fixed1 => (LengthField::U8, 1),
            Field::Fixed2 => (LengthField::U16, 2),
            Field::Fixed3 => (LengthField::U24, 3),
            Field::Fixed4 => (LengthField::U32, 4),
            Field::Fixed8 => (LengthField::U64, 8),
            Field::Varint => (LengthField::Varint, 0),
        };
        let offset = usize::from(self.offset);
        let builder = LengthDelimitedCodec::builder(self.max.into())
            .field(field)
            .offset(offset)
            .adjustment(self.adjustment.into());
        let builder = if self.little_endian { builder.little_endian() } else { builder };
        match self.skip {
            Skip::Front(front) => builder.skip(offset.min(front.into())),
            Skip::Body(body) if len > 0 => {
                builder.skip(offset + len + usize::from(self.max.min(body.into())))
            }
            _ => builder,
        }
        .build()
    }
}

fuzz_target!(|input: (Layout, Vec<Vec<u8>>, Arrival<'_>)| {
    let (layout, packets, arrival) = input;
    let codec = layout.codec();
    let longest = usize::from(layout.offset) + 10 + usize::from(layout.max);
    let read = packets_of(&codec, &arrival, longest);
    assert!(read.iter().all(|packet| packet.len() <= longest));
    assert_round_trip(&codec, read, true);
    assert_round_trip(&codec, packets.into_iter().map(Bytes::from).collect(), true);
});
