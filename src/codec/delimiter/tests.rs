use proptest::prelude::*;

use super::*;
use crate::codec::test_support::*;

/// Delimiters with and without a beginning that is also their end.
fn delimiters() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["\n", "\r\n\r\n", "aa", "aba", "abab", "--\0--", "ab"])
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        delimiter in delimiters(),
        packets in prop::collection::vec(bytes_near(b"ab\r\n-\0", 12).prop_map(Bytes::from), 0..8),
        pieces in piece_lengths(),
    ) {
        let mut codec = DelimiterCodec::new(delimiter, 12);
        let fit: Vec<Bytes> = packets
            .into_iter()
            .filter(|packet| encode_all(&mut codec, [packet.clone()]).is_ok())
            .collect();
        let stream = encode_all(&mut codec, fit.iter().cloned()).unwrap();
        prop_assert_eq!(decode_pieces(&mut codec, &stream, &pieces).complete(), fit);
    }

    #[test]
    fn only_what_would_be_read_otherwise_is_refused(
        delimiter in delimiters(),
        packet in bytes_near(b"ab\r\n-\0", 8),
    ) {
        let on_the_wire = [&packet, delimiter.as_bytes()].concat();
        let first = on_the_wire
            .windows(delimiter.len())
            .position(|bytes| bytes == delimiter.as_bytes())
            .unwrap();
        let codec = DelimiterCodec::new(delimiter, 8);
        let expected = (first < packet.len()).then_some(first);
        prop_assert_eq!(codec.delimiter.inside(&packet), expected);
    }

    #[test]
    fn any_split_gives_the_same_packets(
        delimiter in delimiters(),
        stream in bytes_near(b"ab\r\n-\0", 60),
        pieces in piece_lengths(),
        max in 0..12_usize,
    ) {
        let codec = DelimiterCodec::new(delimiter, max);
        let outcome = assert_split_is_unseen(&codec, &stream, &pieces);
        prop_assert!(outcome.most_held < max + delimiter.len());
    }
}

fn decoded(delimiter: &str, max: usize, stream: &[u8]) -> Vec<Bytes> {
    decode_whole(&mut DelimiterCodec::new(delimiter, max), stream).complete()
}

#[test]
fn the_first_delimiter_ends_a_packet() {
    assert_eq!(decoded("\r\n\r\n", 20, b"one\r\ntwo\r\n\r\n\r\n\r\n"), ["one\r\ntwo", ""]);
    assert_eq!(decoded("aa", 20, b"xaaaaa"[..5].as_ref()), ["x", ""]);
    assert_eq!(decoded("\0", 0, &[0; 10_000]), vec![""; 10_000]);
    assert_eq!(decoded("END", 20, b"a\0\xff\nEND"), [&b"a\0\xff\n"[..]]);
}

#[test]
fn a_packet_at_the_maximum_passes_and_one_byte_more_does_not() {
    let too_long = DelimiterError::TooLong { max: 5, looks_like: None };
    assert_eq!(decoded("||", 5, b"abcde||"), ["abcde"]);
    assert_eq!(
        decode_whole(&mut DelimiterCodec::new("||", 5), b"abcdef||").error(),
        too_long.clone()
    );
    let endless = decode_pieces(&mut DelimiterCodec::new("||", 5), &[b'x'; 100_000], &[1]);
    assert_eq!(endless.most_held, 6);
    assert_eq!(endless.error(), too_long);
    assert_eq!(decoded("||", usize::MAX, b"abc||"), ["abc"]);
}

#[test]
fn an_end_before_the_delimiter_leaves_its_bytes() {
    for (stream, left) in [(&b"one||two"[..], 3), (b"one||two|", 4), (b"|", 1)] {
        let outcome = decode_whole(&mut DelimiterCodec::new("||", 10), stream);
        assert!(matches!(outcome.end, End::Truncated(bytes) if bytes == left), "{outcome:?}");
    }
}

#[test]
fn a_packet_that_would_be_cut_is_refused() {
    for (delimiter, packet, at) in [
        ("||", "a||b", 1),
        ("||", "a|", 1),
        ("aba", "xab", 1),
        ("aba", "xabaa", 1),
        ("\n", "\n", 0),
    ] {
        assert_eq!(
            refused(&mut DelimiterCodec::new(delimiter, 10), Bytes::from(packet)),
            DelimiterError::ContainsDelimiter { at, len: packet.len() }
        );
    }
}

#[test]
fn another_protocol_is_named() {
    for (stream, name) in [(HTTP_REQUEST, "an HTTP request"), (CLIENT_HELLO, "a TLS ClientHello")] {
        let told = decode_whole(&mut DelimiterCodec::new("||", 10), stream).error().to_string();
        assert!(told.ends_with(&format!("(the stream begins like {name})")), "{told}");
    }
}

#[test]
fn a_packet_that_comes_a_byte_at_a_time_is_searched_once() {
    const LEN: usize = 64 * 1024;
    let delimiter = "\r\n.\r\n";
    let mut codec = DelimiterCodec::new(delimiter, LEN);
    let stream = encode_all(&mut codec, [Bytes::from(vec![b'x'; LEN])]).unwrap();
    assert_eq!(decode_pieces(&mut codec, &stream, &[1]).complete().len(), 1);
    assert!(codec.scan.looked_at <= delimiter.len() * stream.len(), "{}", codec.scan.looked_at);
}

#[test]
#[should_panic(expected = "an empty delimiter is everywhere")]
fn an_empty_delimiter_is_refused() {
    let _ = DelimiterCodec::new("", 10);
}
