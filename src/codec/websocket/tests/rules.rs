//! Everything that a peer may do wrong, and the code with which it is told.

use std::collections::BTreeSet;

use super::super::{HandshakeError, Text};
use super::*;
use crate::codec::http::StatusCode;

/// The server's error, and the close frame that it has for the peer.
fn refused(server: &mut Frames, stream: &[u8]) -> WebSocketError {
    let error = decode_whole(server, stream).error();
    let code = error.close_code().expect("the peer is told").get().to_be_bytes();
    let told = server.framing.take_reply().expect("a close frame");
    assert_eq!(told, [&[0x88, 2], &code[..]].concat(), "{error}");
    assert_eq!(server.framing.farewell(CloseReason::ProtocolError), None, "it has been told");
    error
}

fn assert_refused(stream: &[u8], code: u16, words: &str) {
    for lengths in [&[][..], &[1], &[2, 3]] {
        let mut server = Frames::server();
        let error = decode_pieces(&mut server, stream, lengths).error();
        assert_eq!(error.close_code().map(CloseCode::get), Some(code), "{error}");
        assert!(error.to_string().contains(words), "{error:?} does not say {words:?}: {error}");
    }
    refused(&mut Frames::server(), stream);
}

#[test]
fn frames_that_there_are_not() {
    for bits in 1..8_u8 {
        for opcode in [0, 1, 2, 8, 9, 10] {
            let words = format!("reserved bits {bits:03b}");
            assert_refused(&masked(0x80 | bits << 4 | opcode, b"x"), 1002, &words);
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_refused(&masked(0x80 | opcode, b""), 1002, &format!("unknown kind {opcode:#x}"));
        assert_refused(&masked(opcode, b"x"), 1002, &format!("unknown kind {opcode:#x}"));
    }
}

#[test]
fn masks_are_a_clients_and_only_a_clients() {
    assert_refused(b"\x81\x05Hello", 1002, "not masked");
    let error = decode_whole(&mut Frames::client(), &masked(0x81, b"Hello")).error();
    assert!(matches!(error, WebSocketError::Masked), "{error}");
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        assert_refused(&masked(0x80 | opcode, &[0; 126]), 1002, "it may have 125 bytes");
        assert_refused(&masked(0x80 | opcode, &[0; 70_000]), 1002, "it may have 125 bytes");
        assert_refused(&masked(opcode, b""), 1002, "not whole");
    }
    let (_, reply) = replies_to(&mut Frames::server(), &masked(0x89, &[b'p'; 125]));
    assert_eq!(reply, [&[0x8a, 125][..], &[b'p'; 125]].concat());
}

#[test]
fn fragments_follow_each_other() {
    assert_refused(&masked(0x80, b"x"), 1002, "continuation of no message");
    assert_refused(&masked(0x00, b"x"), 1002, "continuation of no message");
    for first in [0x01, 0x81, 0x02, 0x82] {
        let stream = [masked(0x01, b"a"), masked(0x00, b"b"), masked(first, b"c")].concat();
        assert_refused(&stream, 1002, "after 2 fragments of an unfinished one");
    }
    let stream = [masked(0x01, b"a"), masked(0x80, b"b"), masked(0x80, b"c")].concat();
    assert_refused(&stream, 1002, "continuation of no message");
}

#[test]
fn lengths_have_one_form() {
    assert_refused(b"\x82\xfe\x00\x7dkey!", 1002, "125 written in 2 bytes");
    assert_refused(b"\x82\xfe\x00\x01key!1", 1002, "1 written in 2 bytes");
    assert_refused(b"\x82\xff\0\0\0\0\0\0\xff\xffkey!", 1002, "65535 written in 8 bytes");
    assert_refused(b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffkey!", 1002, "top bit");
}

#[test]
fn close_frames_carry_codes_that_may_be_sent() {
    assert_refused(&masked(0x88, b"\x03"), 1002, "1 byte, which is no code");
    let reserved = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    for code in reserved {
        let frame = masked(0x88, &u16::to_be_bytes(code));
        assert_refused(&frame, 1002, &format!("the code {code}"));
    }
    let allowed = (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]);
    for code in allowed {
        let mut server = Frames::server();
        let (incoming, _) = replies_to(&mut server, &masked(0x88, &u16::to_be_bytes(code)));
        assert_eq!(incoming, [closed(code, "")]);
    }
    assert_refused(&masked(0x88, b"\x03\xe8\xce\xba\xe1"), 1007, "reason is not UTF-8");
    let longest = "r".repeat(CloseFrame::MAX_REASON);
    let (incoming, _) = replies_to(
        &mut Frames::server(),
        &masked(0x88, &[b"\x03\xe8", longest.as_bytes()].concat()),
    );
    assert_eq!(incoming, [closed(1000, &longest)]);
}

// UTF-8.

#[test]
fn text_is_utf8_across_every_boundary() {
    let whole = "κόσμε 水𝄞";
    let bytes = whole.as_bytes();
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let stream = [
                masked(0x01, &bytes[..first]),
                masked(0x00, &bytes[first..second]),
                masked(0x80, &bytes[second..]),
            ]
            .concat();
            for lengths in [&[][..], &[1]] {
                let read = decode_pieces(&mut Frames::server(), &stream, lengths).complete();
                assert_eq!(read, [text(whole)], "cut at {first} and {second}");
            }
        }
    }
    // The same bytes are no text if the last character is cut short.
    for end in bytes.len() - 3..bytes.len() {
        assert_refused(&masked(0x81, &bytes[..end]), 1007, "not UTF-8");
        let fragments = [masked(0x01, &bytes[..end]), masked(0x80, b"")].concat();
        assert_refused(&fragments, 1007, "not UTF-8");
    }
}

#[test]
fn binary_is_not_looked_at() {
    let stream = [masked(0x02, b"\xff\xfe"), masked(0x80, b"\xc0")].concat();
    let read = decode_pieces(&mut Frames::server(), &stream, &[1]).complete();
    assert_eq!(read, [Incoming::Message(Message::from(b"\xff\xfe\xc0".to_vec()))]);
}

/// How many bytes of a stream the server has read when it refuses it.
fn read_until_refused(stream: &[u8]) -> usize {
    let mut server = Frames::server();
    let mut src = BytesMut::new();
    for (at, byte) in stream.iter().enumerate() {
        src.extend_from_slice(&[*byte]);
        match server.decode(&mut src) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a packet"),
            Err(error) => {
                assert_eq!(error.close_code(), Some(CloseCode::INVALID_DATA), "{error}");
                return at + 1;
            }
        }
    }
    panic!("it was not refused");
}

#[test]
fn a_fault_is_told_inside_a_frame_that_has_not_wholly_come() {
    let valid = "κόσμε".as_bytes();
    let payload = [valid, b"\xf4\x90\x80\x80", &[b'x'; 1000]].concat();
    let frame = masked(0x81, &payload);
    let header = frame.len() - payload.len();
    // The second byte of the four is the one that no text can have.
    assert_eq!(read_until_refused(&frame), header + valid.len() + 2);
    let stream = [masked(0x01, valid), masked(0x80, b"\xf4\x90\x80\x80")].concat();
    assert_eq!(read_until_refused(&stream), stream.len() - 2);
    // Cut within the character, by the frame.
    let stream = [masked(0x01, b"\xf4"), masked(0x80, b"\x90\x80\x80")].concat();
    assert_eq!(read_until_refused(&stream), stream.len() - 2);
}

// Limits.

fn limited(settings: Settings) -> Frames {
    Frames::new(Role::Server, settings)
}

#[test]
fn a_message_over_the_maximum_is_refused_by_its_header() {
    let settings = Settings::new(1000, 1000, 10);
    let exact = masked(0x82, &[0; 1000]);
    assert_eq!(decode_whole(&mut limited(settings.clone()), &exact).complete().len(), 1);
    let frame = masked(0x82, &[0; 1001]);
    let error = refused(&mut limited(settings.clone()), &frame[..8]);
    assert_eq!(error.to_string(), "a message of 1001 bytes or more passes the maximum of 1000");
    assert_eq!(error.close_code(), Some(CloseCode::MESSAGE_TOO_BIG));
    // Of fragments, by the header of the one that is too much.
    let stream = [masked(0x02, &[0; 600]), masked(0x00, &[0; 400])].concat();
    let more = [&stream[..], &masked(0x80, &[0; 1])[..6]].concat();
    let error = refused(&mut limited(settings.clone()), &more);
    assert!(matches!(error, WebSocketError::MessageTooLong { len: 1001, max: 1000 }), "{error}");
    let last = [stream, masked(0x80, b"")].concat();
    assert_eq!(decode_whole(&mut limited(settings.clone()), &last).complete().len(), 1);
    // A length of exabytes is compared, not added to anything.
    let error = refused(&mut limited(settings), b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff1234");
    assert!(matches!(error, WebSocketError::MessageTooLong { len, .. } if len == i64::MAX as u64));
}

#[test]
fn frames_have_a_maximum_of_their_own() {
    let settings = Settings::new(1000, 100, 10);
    let error = refused(&mut limited(settings.clone()), &masked(0x82, &[0; 101]));
    assert!(matches!(error, WebSocketError::FrameTooLong { len: 101, max: 100 }), "{error}");
    let stream = [masked(0x02, &[0; 100]), masked(0x80, &[0; 100])].concat();
    assert_eq!(decode_whole(&mut limited(settings), &stream).complete().len(), 1);
}

#[test]
fn empty_fragments_do_not_go_on_for_ever() {
    let settings = Settings::new(1000, 1000, 10);
    let fragments = |count| {
        let mut stream = masked(0x01, b"");
        (2..count).for_each(|_| stream.extend(masked(0x00, b"")));
        stream.extend(masked(0x80, b""));
        stream
    };
    let whole = decode_whole(&mut limited(settings.clone()), &fragments(10)).complete();
    assert_eq!(whole, [text("")]);
    let error = refused(&mut limited(settings), &fragments(11));
    assert!(matches!(error, WebSocketError::TooManyFragments { max: 10 }), "{error}");
    assert_eq!(error.close_code(), Some(CloseCode::MESSAGE_TOO_BIG));
}

#[test]
fn a_message_that_is_not_whole_counts_as_one() {
    let mut server = Frames::server();
    let mut src = BytesMut::from(&masked(0x01, b"Hel")[..]);
    assert!(matches!(server.decode(&mut src), Ok(None)));
    assert!(src.is_empty() && server.holds_partial());
    src.extend_from_slice(&masked(0x80, b"lo"));
    assert_eq!(server.decode(&mut src).expect("valid"), Some(text("Hello")));
    assert!(!server.holds_partial());
}

#[test]
fn what_cannot_be_sent_is_refused_by_name() {
    let mut server = Frames::server();
    let mut dst = WriteBuffer::new();
    let ping = server.framing.encode_control(super::super::frame::PING, &[0; 126], &mut dst);
    let error = ping.expect_err("a ping of 126 bytes").to_string();
    assert_eq!(error, "a ping frame whose length is 126; it may have 125 bytes");
    let close = CloseFrame::new(CloseCode::NORMAL, "r".repeat(124));
    let error = server.framing.encode_close(&close, &mut dst).expect_err("a long reason");
    assert_eq!(error.to_string(), "a reason of 124 bytes for closing; it may have 123");
    assert!(dst.is_drained() && server.framing.ending().is_none());

    server.framing.encode_control(super::super::frame::PING, &[0; 125], &mut dst).expect("it fits");
    let close = CloseFrame::new(CloseCode::NORMAL, "r".repeat(123));
    server.framing.encode_close(&close, &mut dst).expect("it fits");
    assert_eq!(dst.queued(), 2 * (2 + 125));
}

#[test]
fn codes_and_errors_read_well() {
    use std::error::Error as _;

    assert_eq!(u16::from(CloseCode::SERVICE_RESTART), 1012);
    assert_eq!(CloseFrame::from(CloseCode::NORMAL).to_string(), "1000");
    assert_eq!(CloseFrame::new(CloseCode::NORMAL, "done").to_string(), "1000: done");

    for (opcode, name) in [(0x08, "close"), (0x09, "ping"), (0x0a, "pong")] {
        let error = decode_whole(&mut Frames::server(), &masked(opcode, b"")).error();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.source().is_none());
    }
    let why = std::io::Error::other("there is none");
    let error = WebSocketError::NoRandomness(why);
    assert!(error.source().is_some_and(|source| source.to_string() == "there is none"));
    let http = crate::codec::http::Request::parse(b"GET\r\n\r\n").expect_err("no target");
    assert!(WebSocketError::Http(http).source().is_some());
    let refused = HandshakeError::Refused { status: StatusCode::NOT_FOUND };
    assert!(WebSocketError::Handshake(refused).source().is_some());
}

#[test]
fn a_text_is_its_characters_whoever_asks() {
    let text = Text::from_static("né");
    let (as_str, as_bytes): (&str, &[u8]) = (text.as_ref(), text.as_ref());
    assert_eq!((as_str, as_bytes), ("né", "né".as_bytes()));
    assert!(text == "né" && text == *"né" && text != "ne" && text != *"ne");
    assert_eq!((format!("{text}"), format!("{text:?}")), ("né".to_owned(), "\"né\"".to_owned()));
    assert_eq!(String::from(text.clone()), "né");

    let message = Message::text(text);
    assert_eq!((message.as_text(), message.len(), message.is_empty()), (Some("né"), 3, false));
    assert_eq!(message.into_bytes(), "né".as_bytes());
    assert_eq!(Message::binary(b"n".to_vec()).as_text(), None);
    assert!(Message::text("").is_empty() && Message::text(Text::new()).is_empty());
}

#[test]
fn no_two_masks_are_the_same() {
    let mut client = Frames::client();
    let keys: BTreeSet<Bytes> = (0..1_000).map(|_| client.encoded("?").slice(2..6)).collect();
    assert!(keys.len() > 990, "{} of 1,000 are different", keys.len());
}
