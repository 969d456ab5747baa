use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::codec::test_support::*;

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\n\r\0\"é]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\n]{0,4}", inner, 0..4)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

/// Not `encode_all`: the length of JSON is known by writing it alone, so `frame_len` is a lower bound here.
fn written(packets: &[Value]) -> Vec<u8> {
    let mut dst = WriteBuffer::new();
    for packet in packets {
        let (before, least) = (dst.queued(), JsonLines::<Value>::new(0).frame_len(packet));
        JsonLines::<Value>::new(0).encode(packet, &mut dst).unwrap();
        assert!(before + least <= dst.queued());
    }
    dst.take_shared().to_vec()
}

fn decoded(max: usize, stream: &[u8]) -> Vec<Value> {
    decode_whole(&mut JsonLines::new(max), stream).complete()
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        packets in prop::collection::vec(values(), 0..6),
        pieces in piece_lengths(),
    ) {
        let stream = written(&packets);
        let outcome = decode_pieces(&mut JsonLines::<Value>::new(10_000), &stream, &pieces);
        prop_assert_eq!(outcome.complete(), packets);
    }

    #[test]
    fn any_split_gives_the_same_values(
        stream in bytes_near(b"12[],\"\r\n ", 60),
        pieces in piece_lengths(),
        max in 0..12_usize,
    ) {
        let outcome = assert_split_is_unseen(&JsonLines::<Value>::new(max), &stream, &pieces);
        prop_assert!(outcome.most_held <= max + 1);
    }
}

#[test]
fn a_value_is_one_line() {
    let packet = json!({ "text": "two\nlines", "n": 1 });
    assert_eq!(written(&[packet]), b"{\"n\":1,\"text\":\"two\\nlines\"}\n");
    assert_eq!(decoded(20, b"[1,2]\r\n{}\n3"), [json!([1, 2]), json!({}), json!(3)]);
}

#[test]
fn blank_lines_are_skipped_and_counted() {
    assert_eq!(decoded(10, b"\n\r\n \t \n1\n\n"), [json!(1)]);
    assert!(decoded(0, &b"\n".repeat(10_000)).is_empty());
    assert_eq!(decoded(10, b"1\n \n  "), [json!(1)]);
    let error = decode_whole(&mut JsonLines::<Value>::new(10), b"\n\n1\nx\n").error();
    assert!(matches!(error, JsonLinesError::Read { line: 4, len: 1, .. }), "{error}");
}

#[test]
fn a_line_at_the_maximum_passes_and_one_byte_more_does_not() {
    assert_eq!(decoded(5, b"12345\r\n12345\n12345"), [json!(12345), json!(12345), json!(12345)]);
    for stream in [&b"1\n123456\n"[..], b"1\n123456", b"1\n\"xxxxxxxxx"] {
        let error = decode_pieces(&mut JsonLines::<Value>::new(5), stream, &[1]).error();
        assert_eq!(error.to_string(), "line 2: longer than the maximum of 5 bytes");
    }
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    let told = |stream: &[u8]| {
        decode_whole(&mut JsonLines::<BTreeMap<String, u8>>::new(1000), stream).error().to_string()
    };
    assert_eq!(
        told(b"{\"a\":1}\n{\"a\":}\n"),
        "line 2, of 6 bytes: expected value at line 1 column 6"
    );
    assert!(told(b"{\"a\":300}\n").contains("invalid value: integer `300`, expected u8"));
    assert!(told(b"{\"a\xff\":1}\n").contains("invalid unicode code point"));
    assert!(told(b"{\"a\0\":1}\n").contains("control character"));
    assert!(told(b"{\"a\":1} {}\n").contains("trailing characters at line 1 column 9"));
    assert!(told(b"{\"a\":").contains("EOF while parsing"));
    assert!(told(&b"[".repeat(1000)).contains("line 1, of 1000 bytes"));
}

#[test]
fn nesting_has_a_limit() {
    let deep = "[".repeat(500) + &"]".repeat(500);
    let error = decode_whole(&mut JsonLines::<Value>::new(1000), deep.as_bytes()).error();
    assert!(error.to_string().contains("recursion limit exceeded"), "{error}");
}

#[test]
fn what_cannot_be_json_is_refused() {
    let mut codec = JsonLines::<Value>::new(100);
    let keys_are_no_strings = BTreeMap::from([([1, 2], 3)]);
    let mut dst = WriteBuffer::new();
    let error = codec.encode(keys_are_no_strings, &mut dst).unwrap_err();
    assert_eq!(error.to_string(), "the packet cannot be written as JSON: key must be a string");
}

#[test]
fn a_packet_that_brings_its_own_line_feed_is_refused() {
    let two_lines = serde_json::value::RawValue::from_string("[1,\n2]".to_owned()).unwrap();
    let mut dst = WriteBuffer::new();
    dst.put_slice(b"0\n"); // an earlier packet's line feed is not this one's
    let error = JsonLines::<Value>::new(100).encode(two_lines, &mut dst).unwrap_err();
    assert!(matches!(error, JsonLinesError::LineBreak { at: 3, len: 6 }), "{error}");
}

#[test]
fn another_protocol_is_named() {
    let mut codec = JsonLines::<Value>::new(1000);
    let told = decode_whole(&mut codec, HTTP_REQUEST).error().to_string();
    assert!(told.ends_with("(the stream begins like an HTTP request)"), "{told}");
    let hello = [CLIENT_HELLO, b"\n"].concat();
    let told = decode_whole(&mut JsonLines::<Value>::new(1000), &hello).error().to_string();
    assert!(told.ends_with("(the stream begins like a TLS ClientHello)"), "{told}");
}

#[test]
fn a_line_that_comes_a_byte_at_a_time_is_searched_and_parsed_once() {
    const LEN: usize = 64 * 1024;
    let stream = written(&[Value::from("x".repeat(LEN))]);
    let mut codec = JsonLines::<Value>::new(2 * LEN);
    assert_eq!(decode_pieces(&mut codec, &stream, &[1]).complete().len(), 1);
    assert_eq!(codec.lines.scan.looked_at, stream.len());
}

#[test]
fn the_shortest_packet_is_as_long_as_every_one_is_taken_for() {
    assert_eq!(JsonLines::<Value>::new(10).frame_len(&json!(0)), written(&[json!(0)]).len());
}

#[test]
fn text_is_gathered_by_every_way_to_write_it() {
    let mut dst = BytesMut::new();
    let mut gathered = Gathered::new(&mut dst);
    assert_eq!(gathered.write(b"two").unwrap(), 3);
    gathered.write_all(b" words").unwrap();
    gathered.flush().unwrap();
    assert_eq!(dst, "two words");
}

#[test]
fn an_error_names_its_source_where_it_has_one() {
    use std::error::Error as _;
    let unread = decode_whole(&mut JsonLines::<Value>::new(10), b"{\n").error();
    let source = unread.source().expect("what is wrong with it");
    assert!(source.is::<serde_json::Error>(), "{unread}");
    let too_long = decode_whole(&mut JsonLines::<Value>::new(1), b"123\n").error();
    assert!(too_long.source().is_none(), "{too_long}");
}

#[test]
fn text_is_whole_wherever_the_pieces_that_it_is_written_in_end() {
    for len in 0..300 {
        let packet = vec![json!("a".repeat(len)), json!([1, {"b": null}]), json!("c".repeat(len))];
        let mut dst = WriteBuffer::new();
        JsonLines::<Value>::new(4096).encode(&packet, &mut dst).unwrap();
        assert_eq!(dst[..], [&serde_json::to_vec(&packet).unwrap()[..], b"\n"].concat());
    }
}

#[test]
fn ten_million_empty_lines_are_no_packet_and_no_memory() {
    const BLOCK: usize = 64 * 1024;
    let mut codec = JsonLines::<Value>::new(10);
    let mut src = BytesMut::new();
    for _ in 0..10_000_000 / BLOCK + 1 {
        src.extend_from_slice(&[b'\n'; BLOCK]);
        assert!(codec.decode(&mut src).unwrap().is_none());
        assert!(src.is_empty() && src.capacity() <= 2 * BLOCK, "{} bytes held", src.capacity());
    }
}
