//! Delimiters of one to eight bytes, also such as begin like they end.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wheelhouse::codec::DelimiterCodec;
use wheelhouse_fuzz::{Arrival, assert_round_trip, packets_of};

fuzz_target!(|input: ([u8; 8], u8, u8, Vec<Vec<u8>>, Arrival<'_>)| {
    let (bytes, len, max, packets, arrival) = input;
    let delimiter = &bytes[..1 + usize::from(len % 8)];
    let max = usize::from(max);
    let codec = DelimiterCodec::new(delimiter, max);
    let read = packets_of(&codec, &arrival, max + delimiter.len() - 1);
    assert!(read.iter().all(|packet| packet.len() <= max));
    // Each is followed by a delimiter in the stream, so each can be written.
    let written: usize = read.iter().map(|packet| packet.len() + delimiter.len()).sum();
    assert!(written <= arrival.stream.len());
    assert_round_trip(&codec, read, true);
    let packets = packets.into_iter().map(Bytes::from).collect();
    assert_round_trip(&DelimiterCodec::new(delimiter, 1 << 20), packets, true);
});
