//! Packets of one size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wheelhouse::codec::FixedLengthCodec;
use wheelhouse_fuzz::{Arrival, assert_round_trip, packets_of};

fuzz_target!(|input: (u8, Arrival<'_>)| {
    let (len, arrival) = input;
    let len = usize::from(len.max(1));
    let codec = FixedLengthCodec::new(len);
    let read = packets_of(&codec, &arrival, len - 1);
    assert_eq!(read.len(), arrival.stream.len() / len);
    assert_round_trip(&codec, read, true);
});
