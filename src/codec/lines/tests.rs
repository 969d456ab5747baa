use proptest::prelude::*;

use super::*;
use crate::codec::test_support::*;

fn decoded(max: usize, stream: &[u8]) -> Vec<String> {
    decode_whole(&mut LinesCodec::new(max), stream).complete()
}

fn encoded(codec: LinesCodec, lines: &[&str]) -> bytes::Bytes {
    encode_all(&mut codec.clone(), lines.iter().copied()).unwrap()
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        lines in prop::collection::vec("[^\n]{0,20}[^\r\n]|", 0..8),
        crlf: bool,
        pieces in piece_lengths(),
    ) {
        let mut codec = LinesCodec::new(200);
        if crlf {
            codec = codec.crlf();
        }
        let stream = encode_all(&mut codec, &lines).unwrap();
        prop_assert_eq!(decode_pieces(&mut codec, &stream, &pieces).complete(), lines);
    }

    #[test]
    fn any_split_gives_the_same_lines(
        stream in bytes_near(b"ab\r\n\xc3\xa9", 60),
        pieces in piece_lengths(),
        max in 0..12_usize,
        lossy: bool,
    ) {
        let mut codec = LinesCodec::new(max);
        if lossy {
            codec = codec.lossy();
        }
        let outcome = assert_split_is_unseen(&codec, &stream, &pieces);
        prop_assert!(outcome.most_held <= max + 1, "{} bytes were held", outcome.most_held);
    }

    #[test]
    fn lines_are_what_a_naive_split_gives(stream in "[a-c\r\n]{0,60}") {
        let mut expected: Vec<&str> = stream.split('\n').collect();
        if expected.last() == Some(&"") {
            expected.pop();
        }
        let expected: Vec<&str> =
            expected.into_iter().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        prop_assert_eq!(decoded(60, stream.as_bytes()), expected);
    }
}

#[test]
fn both_line_ends_are_read_and_one_is_written() {
    assert_eq!(decoded(10, b"one\ntwo\r\nthr\ree\n"), ["one", "two", "thr\ree"]);
    assert_eq!(encoded(LinesCodec::new(10), &["one", ""]), "one\n\n");
    assert_eq!(encoded(LinesCodec::new(10).crlf(), &["one", ""]), "one\r\n\r\n");
}

#[test]
fn the_end_of_the_stream_ends_the_last_line() {
    assert_eq!(decoded(10, b"one\ntwo"), ["one", "two"]);
    assert_eq!(decoded(10, b"one\r"), ["one"]);
    assert_eq!(decoded(10, b"\r"), [""]);
    assert_eq!(decoded(10, b""), [""; 0]);
    assert_eq!(decoded(3, b"one\ntwo\r"), ["one", "two"]);
}

#[test]
fn empty_lines_and_a_nul_are_lines_like_others() {
    assert_eq!(decoded(0, &b"\n\r\n".repeat(10_000)), vec![""; 20_000]);
    assert_eq!(decoded(3, b"a\0b\n\0\n"), ["a\0b", "\0"]);
}

#[test]
fn a_line_at_the_maximum_passes_and_one_byte_more_does_not() {
    let too_long = LinesError::TooLong { max: 5, looks_like: None };
    for end in ["\n", "\r\n", ""] {
        assert_eq!(decoded(5, format!("abcde{end}").as_bytes()), ["abcde"]);
        let over = format!("abcdef{end}");
        assert_eq!(decode_whole(&mut LinesCodec::new(5), over.as_bytes()).error(), too_long);
    }
}

#[test]
fn a_line_without_end_is_refused_at_its_first_byte_too_many() {
    let mut codec = LinesCodec::new(5);
    let mut src = BytesMut::from("abcde");
    assert_eq!(codec.decode(&mut src), Ok(None));
    src.put_u8(b'\r'); // may be half of the line's end
    assert_eq!(codec.decode(&mut src), Ok(None));
    src.put_u8(b'f');
    assert_eq!(codec.decode(&mut src), Err(LinesError::TooLong { max: 5, looks_like: None }));
    let at_once = LinesCodec::new(5).decode(&mut BytesMut::from("abcdef"));
    assert_eq!(at_once, Err(LinesError::TooLong { max: 5, looks_like: None }));
}

#[test]
fn the_largest_maximum_does_not_overflow() {
    assert_eq!(decoded(usize::MAX, b"one\ntwo"), ["one", "two"]);
}

#[test]
fn invalid_utf8_is_told_with_its_place_or_replaced() {
    let stream = b"fine\nna\xefve\n";
    let outcome = decode_whole(&mut LinesCodec::new(10), stream);
    assert_eq!(outcome.packets, ["fine"]);
    let error = outcome.error();
    assert_eq!(error, LinesError::InvalidUtf8 { valid_up_to: 2, len: 5, looks_like: None });
    assert_eq!(error.to_string(), "a line of 5 bytes is not UTF-8 from byte 2 on");
    let lossy = decode_whole(&mut LinesCodec::new(10).lossy(), stream).complete();
    assert_eq!(lossy, ["fine", "na\u{FFFD}ve"]);
}

#[test]
fn a_character_may_come_in_pieces() {
    let outcome = decode_pieces(&mut LinesCodec::new(20), "наївний\n".as_bytes(), &[1]);
    assert_eq!(outcome.complete(), ["наївний"]);
}

#[test]
fn a_packet_that_would_not_stay_one_line_is_refused() {
    for (packet, at) in [("a\nb", 1), ("\n", 0), ("ab\r", 2), ("\r", 0), ("a\r\n", 2)] {
        let expected = LinesError::LineBreak { at, len: packet.len() };
        assert_eq!(refused(&mut LinesCodec::new(10), packet), expected);
        assert_eq!(refused(&mut LinesCodec::new(10).crlf(), packet), expected);
    }
}

#[test]
fn another_protocol_is_named() {
    let error = decode_whole(&mut LinesCodec::new(10), HTTP_REQUEST).error();
    assert_eq!(
        error.to_string(),
        "a line is longer than the maximum of 10 bytes (the stream begins like an HTTP request)"
    );
    let hello = [CLIENT_HELLO, b"\n"].concat();
    let error = decode_whole(&mut LinesCodec::new(100), &hello).error();
    assert!(error.to_string().ends_with("(the stream begins like a TLS ClientHello)"), "{error}");
    let later = [b"hello\n", HTTP_REQUEST].concat();
    let error = decode_whole(&mut LinesCodec::new(10), &later).error();
    assert_eq!(error, LinesError::TooLong { max: 10, looks_like: None });
}

#[test]
fn a_line_that_comes_a_byte_at_a_time_is_searched_once() {
    const LEN: usize = 64 * 1024;
    let mut stream = vec![b'x'; LEN];
    stream.push(b'\n');
    let mut codec = LinesCodec::new(LEN);
    assert_eq!(decode_pieces(&mut codec, &stream, &[1]).complete().len(), 1);
    assert_eq!(codec.lines.scan.looked_at, LEN + 1);
}

#[test]
fn one_encoding_serves_every_connection() {
    assert!(LinesCodec::new(10).is_stateless(&"a line"));
}

#[test]
fn ten_million_empty_lines_are_so_many_packets_and_no_more_memory() {
    const BLOCK: usize = 64 * 1024;
    let mut codec = LinesCodec::new(10);
    let mut src = BytesMut::new();
    let mut lines = 0;
    while lines < 10_000_000 {
        src.extend_from_slice(&[b'\n'; BLOCK]);
        while let Some(line) = codec.decode(&mut src).unwrap() {
            assert_eq!((line.as_str(), line.capacity()), ("", 0));
            lines += 1;
        }
        assert!(src.is_empty(), "every line was taken");
        assert!(src.capacity() <= 2 * BLOCK, "{} bytes held", src.capacity());
    }
    assert_eq!(lines % BLOCK, 0);
}
