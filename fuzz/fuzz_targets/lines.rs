//! Lines, strict and lossy, with both ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wheelhouse::codec::LinesCodec;
use wheelhouse_fuzz::{Arrival, assert_round_trip, packets_of};

fuzz_target!(|input: (u8, bool, bool, Vec<String>, Arrival<'_>)| {
    let (max, lossy, crlf, lines, arrival) = input;
    let with = |max: usize| {
        let codec = LinesCodec::new(max);
        let codec = if lossy { codec.lossy() } else { codec };
        if crlf { codec.crlf() } else { codec }
    };
    let max = usize::from(max);
    let read = packets_of(&with(max), &arrival, max + 1);
    // A replaced byte becomes three.
    assert!(read.iter().all(|line| line.len() <= max * if lossy { 3 } else { 1 }));
    assert_round_trip(&with(1 << 20), read, true);
    assert_round_trip(&with(1 << 20), lines, true);
});
