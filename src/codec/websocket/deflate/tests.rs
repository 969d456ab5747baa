//! Compressed messages, between two ends that have agreed.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::codec::test_support::decode_pieces;
use crate::codec::websocket::framing::{Framing, Role};
use crate::codec::websocket::{CloseCode, Incoming, Message, Settings};
use crate::codec::{Decoder, WriteBuffer};

struct End {
    framing: Framing,
    settings: Settings,
}

impl Decoder for End {
    type Packet = Incoming;
    type Error = WebSocketError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, WebSocketError> {
        self.framing.decode(src, &self.settings)
    }
}

/// A server and a client that agreed on these options.
fn pair(options: DeflateOptions) -> [End; 2] {
    let offer = Agreement::offer(options);
    let agreed = Agreement::choose(options, offer.to_str().into_iter()).expect("the same options");
    let settings = Settings::default();
    let ends = [(Role::Server, agreed.for_server()), (Role::Client, agreed.for_client())];
    ends.map(|(role, deflate)| End {
        framing: Framing::new(role, Some(deflate)),
        settings: settings.clone(),
    })
}

fn stream_of(end: &mut End, messages: &[Message]) -> Vec<u8> {
    let mut dst = WriteBuffer::new();
    for message in messages {
        end.framing.encode(message.clone(), &mut dst).expect("an open connection");
    }
    dst.take_shared().to_vec()
}

/// An unmasked frame, as a server writes it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, payload.len() as u8], payload].concat()
}

fn hello() -> Incoming {
    Incoming::Message(Message::from("Hello"))
}

#[test]
fn the_rfc_examples_are_read() {
    let [_, mut client] = pair(DeflateOptions::new());
    let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let stream = [
        frame(0xc1, &compressed),
        frame(0x41, &compressed[..3]), // in two fragments
        frame(0x80, &compressed[3..]),
        frame(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]), // referring back to the first
        frame(0xc1, &[0x00, 0x05, 0x00, 0xfa, 0xff, b'H', b'e', b'l', b'l', b'o', 0x00]), // stored
        frame(0xc1, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), // a last block
        frame(
            0xc1,
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ),
        frame(0x81, b"Hello"), // not compressed at all
    ]
    .concat();
    let read = decode_pieces(&mut client, &stream, &[1]).complete();
    assert_eq!(read, vec![hello(); 7]);
}

#[test]
fn what_resembles_what_went_before_costs_little() {
    let message = Message::from("{\"type\":\"move\",\"x\":100,\"y\":-20,\"name\":\"ann\"}");
    let [mut keeps, mut reader] = pair(DeflateOptions::new());
    let [mut forgets, mut forgetful_reader] = pair(DeflateOptions::new().no_context_takeover());
    let messages = vec![message.clone(); 10];
    let (kept, forgot) = (stream_of(&mut keeps, &messages), stream_of(&mut forgets, &messages));
    assert!(kept.len() * 3 < forgot.len(), "{} and {}", kept.len(), forgot.len());
    let expected: Vec<_> = messages.into_iter().map(Incoming::Message).collect();
    assert_eq!(decode_pieces(&mut reader, &kept, &[]).complete(), expected);
    assert_eq!(decode_pieces(&mut forgetful_reader, &forgot, &[]).complete(), expected);
    // Without a context there is none to keep: each message is the first.
    let each = forgot.len() / 10;
    assert!(forgot.chunks(each).all(|frame| frame == &forgot[..each]));
}

#[test]
fn a_bomb_goes_off_inside_the_limit() {
    let [mut server, mut client] = pair(DeflateOptions::new().level(9));
    client.settings = Settings::new(100_000, 100_000, 10);
    let fits = Message::from(vec![0; 100_000]);
    let bomb = Message::from(vec![0; 64 << 20]);
    let stream = stream_of(&mut server, &[fits.clone(), bomb]);
    assert!(stream.len() < 100_000, "{} bytes of 64 MiB", stream.len());
    let outcome = decode_pieces(&mut client, &stream, &[]);
    assert_eq!(outcome.packets, [Incoming::Message(fits)]);
    let error = outcome.error();
    let at_most = (100_000 + PIECE) as u64;
    assert!(
        matches!(error, WebSocketError::MessageTooLong { len, max: 100_000 } if len <= at_most),
        "{error}"
    );
    assert_eq!(error.close_code(), Some(CloseCode::MESSAGE_TOO_BIG));
}

#[test]
fn a_message_at_the_maximum_may_grow_by_being_compressed() {
    let mut rng = fastrand::Rng::with_seed(7);
    for (len, fits) in [(1_000, true), (1_001, false), (100_000, true), (100_001, false)] {
        let noise =
            Message::from(std::iter::repeat_with(|| rng.u8(..)).take(len).collect::<Vec<_>>());
        let [mut server, mut client] = pair(DeflateOptions::new());
        client.settings = Settings::new(len - usize::from(!fits), usize::MAX, 10);
        let stream = stream_of(&mut server, std::slice::from_ref(&noise));
        assert!(stream.len() > len + 4, "{} bytes on the wire", stream.len());
        let outcome = decode_pieces(&mut client, &stream, &[]);
        assert_eq!(outcome.packets == [Incoming::Message(noise)], fits, "{len} bytes");
    }
    let [_, mut client] = pair(DeflateOptions::new());
    client.settings = Settings::new(1_000, usize::MAX, 10);
    let announced = [0xc2, 126, 0x10, 0x00]; // 4,096 bytes, none of which has come
    let error = decode_pieces(&mut client, &announced, &[]).error();
    assert!(matches!(error, WebSocketError::MessageTooLong { len: 4_096, max: 1_000 }), "{error}");
}

#[test]
fn what_is_not_deflate_or_not_text_is_1007() {
    for payload in [&b"\xff\xff\xff"[..], b"\x07\x07\x07\x07"] {
        let [_, mut client] = pair(DeflateOptions::new());
        let error = decode_pieces(&mut client, &frame(0xc2, payload), &[]).error();
        assert!(matches!(error, WebSocketError::NotDeflated), "{error}");
        assert_eq!(error.close_code(), Some(CloseCode::INVALID_DATA));
    }
    let [mut server, mut client] = pair(DeflateOptions::new().min_len(1));
    let mut stream = stream_of(&mut server, &[Message::from(b"\xff\xfe\xfd".to_vec())]);
    stream[0] = 0xc1; // says that it is text
    let error = decode_pieces(&mut client, &stream, &[]).error();
    assert!(matches!(error, WebSocketError::NotUtf8 { .. }), "{error}");
}

#[test]
fn the_bit_is_for_the_first_frame_of_a_message() {
    for stream in [frame(0xc9, b""), [frame(0x41, b"\xf2"), frame(0xc0, b"\x48")].concat()] {
        let [_, mut client] = pair(DeflateOptions::new());
        let error = decode_pieces(&mut client, &stream, &[]).error();
        assert!(matches!(error, WebSocketError::ReservedBits { bits: 4 }), "{error}");
    }
}

#[test]
fn fragments_that_are_not_compressed_stand_beside_those_that_are() {
    let [mut server, mut client] = pair(DeflateOptions::new().min_len(1));
    let mut stream = stream_of(&mut server, &[Message::from("Hello")]);
    stream.extend([frame(0x01, b"Hel"), frame(0x80, b"lo")].concat());
    stream.extend(stream_of(&mut server, &[Message::from("Hello")]));
    assert_eq!(decode_pieces(&mut client, &stream, &[1]).complete(), vec![hello(); 3]);
}

#[test]
fn what_is_inflated_does_not_count_with_what_is_to_come() {
    let options = DeflateOptions::new();
    let [mut server, mut client] = pair(options);
    client.settings = Settings::new(1_000, 1_000, 10);
    let message = Message::from(vec![7; 1_000]);
    let whole = stream_of(&mut server, std::slice::from_ref(&message));
    let (front, back) = whole[2..].split_at(whole.len() - 3);
    let stream = [frame(0x42, front), frame(0x80, back)].concat();
    let outcome = decode_pieces(&mut client, &stream, &[]);
    assert_eq!(outcome.complete(), [Incoming::Message(message)]);
}

/// Where what a piece has room for is just what there is, nothing is left behind, and nothing else is waited for.
#[test]
fn messages_of_about_a_piece_are_whole() {
    let mut rng = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(PIECE + 300).collect();
    let mut made = std::collections::BTreeSet::new();
    for len in PIECE - 300..PIECE + 300 {
        let [mut server, mut client] = pair(DeflateOptions::new().level(1));
        let messages = [Message::from(vec![0; len]), Message::from(noise[..len].to_vec())];
        let stream = stream_of(&mut server, &messages);
        made.insert(stream.len());
        let expected: Vec<_> = messages.into_iter().map(Incoming::Message).collect();
        assert_eq!(decode_pieces(&mut client, &stream, &[]).complete(), expected, "{len} bytes");
    }
    assert!(made.len() > 500, "the lengths of what was made differ");
}

#[test]
fn a_level_is_one_that_there_is() {
    let options = DeflateOptions::new();
    assert_eq!([0, 1, 9, 10].map(|level| options.level(level).level), [1, 1, 9, 9]);
}

#[test]
fn short_messages_go_as_they_are() {
    let [mut server, _] = pair(DeflateOptions::new().min_len(6));
    assert_eq!(stream_of(&mut server, &[Message::from("Hello")]), b"\x81\x05Hello");
    assert_eq!(stream_of(&mut server, &[Message::from("")]), b"\x81\x00");
    assert_eq!(stream_of(&mut server, &[Message::from("Hello!")])[0], 0xc1);
    assert!(!server.framing.is_stateless());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))] // compressing is slow without optimisation

    #[test]
    fn what_one_end_compresses_the_other_inflates(
        texts in prop::collection::vec("[a-cé水]{0,300}", 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..9_000),
        bits in 9..16_u8,
        level in 1..10_u32,
        takeover in any::<bool>(),
        lengths in crate::codec::test_support::piece_lengths(),
    ) {
        let options = DeflateOptions::new().window_bits(bits).level(level);
        let options = if takeover { options } else { options.no_context_takeover() };
        let mut messages: Vec<_> = texts.into_iter().map(Message::from).collect();
        messages.push(Message::from(noise));
        messages.extend(messages.clone());
        let expected: Vec<_> = messages.iter().cloned().map(Incoming::Message).collect();
        let [mut server, mut client] = pair(options);
        let stream = stream_of(&mut server, &messages);
        prop_assert_eq!(decode_pieces(&mut client, &stream, &lengths).complete(), expected.clone());
        let stream = stream_of(&mut client, &messages);
        prop_assert_eq!(decode_pieces(&mut server, &stream, &lengths).complete(), expected);
    }
}

/// KiB that the sender of a message holds after it, and its receiver.
fn held_kib(options: DeflateOptions) -> (i64, i64) {
    let message = Message::from("what resembles what went before costs little ".repeat(100));
    let [mut server, mut client] = pair(options);
    let mut stream = Vec::with_capacity(10_000);
    let compressing = allocation_counter::measure(|| {
        stream.extend(stream_of(&mut server, std::slice::from_ref(&message)));
    });
    let inflating = allocation_counter::measure(|| {
        assert_eq!(decode_pieces(&mut client, &stream, &[]).complete().len(), 1);
    });
    (compressing.bytes_current / 1024, inflating.bytes_current / 1024)
}

#[test]
fn a_context_costs_what_the_documentation_says() {
    let (compress, inflate) = held_kib(DeflateOptions::new());
    assert!((300..=400).contains(&compress) && inflate <= 50, "{compress} and {inflate} KiB");
    let (compress, inflate) = held_kib(DeflateOptions::new().window_bits(9));
    assert!((200..=260).contains(&compress) && inflate <= 50, "{compress} and {inflate} KiB");
    assert_eq!(held_kib(DeflateOptions::new().no_context_takeover()), (0, 0));
}
