//! Frames and messages, with no HTTP in front of them.

use bytes::{Bytes, BytesMut};

use super::framing::{Framing, Role};
use super::{CloseCode, CloseFrame, Incoming, Message, Settings, WebSocketError};
use crate::codec::test_support::{decode_pieces, decode_whole};
use crate::codec::{Decoder, Encoder, WriteBuffer};
use crate::error::CloseReason;

mod opening;
mod property;
mod rules;

/// One end, after the handshake.
#[derive(Debug)]
struct Frames {
    framing: Framing,
    role: Role,
    settings: Settings,
}

impl Frames {
    fn new(role: Role, settings: Settings) -> Self {
        Self { framing: Framing::new(role, None), role, settings }
    }

    fn server() -> Self {
        Self::new(Role::Server, Settings::default())
    }

    fn client() -> Self {
        Self::new(Role::Client, Settings::default())
    }

    fn encoded(&mut self, message: impl Into<Message>) -> Bytes {
        let mut dst = WriteBuffer::new();
        self.encode(message.into(), &mut dst).expect("an open connection");
        dst.take_shared()
    }
}

/// A new connection with the same settings.
impl Clone for Frames {
    fn clone(&self) -> Self {
        Self::new(self.role, self.settings.clone())
    }
}

impl Decoder for Frames {
    type Packet = Incoming;
    type Error = WebSocketError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, WebSocketError> {
        self.framing.decode(src, &self.settings)
    }

    fn holds_partial(&self) -> bool {
        self.framing.holds_partial()
    }
}

impl Encoder<Message> for Frames {
    type Error = WebSocketError;

    fn encode(&mut self, message: Message, dst: &mut WriteBuffer) -> Result<(), WebSocketError> {
        self.framing.encode(message, dst)
    }

    fn frame_len(&self, message: &Message) -> usize {
        self.framing.frame_len(message.len())
    }
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame, as plain as the RFC draws it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
    frame
}

fn text(text: &str) -> Incoming {
    Incoming::Message(Message::text(text))
}

fn closed(code: u16, reason: &str) -> Incoming {
    let code = CloseCode::new(code).expect("a code");
    Incoming::Closed(Some(CloseFrame::new(code, reason)))
}

/// Feeds frames to a server, and says what it has for the peer afterwards.
fn replies_to(server: &mut Frames, stream: &[u8]) -> (Vec<Incoming>, Vec<u8>) {
    let incoming = decode_whole(server, stream).packets;
    (incoming, server.framing.take_reply().unwrap_or_default().to_vec())
}

// The examples of RFC 6455, section 5.7.

#[test]
fn the_rfc_examples_are_read_and_written() {
    let mut client = Frames::client();
    let unmasked = b"\x81\x05Hello";
    assert_eq!(decode_whole(&mut client, unmasked).complete(), [text("Hello")]);
    assert_eq!(Frames::server().encoded("Hello"), &unmasked[..]);

    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(masked(0x81, b"Hello"), hello);
    assert_eq!(decode_whole(&mut Frames::server(), &hello).complete(), [text("Hello")]);

    let fragments = b"\x01\x03Hel\x80\x02lo";
    assert_eq!(decode_whole(&mut client, fragments).complete(), [text("Hello")]);

    // A ping and its pong, which a client masks.
    assert!(decode_whole(&mut client, b"\x89\x05Hello").complete().is_empty());
    let pong = client.framing.take_reply().expect("a pong");
    assert_eq!(pong[..2], [0x8a, 0x85]);
    let mut server = Frames::server();
    server.settings.pongs = true;
    let told = Incoming::Pong(Bytes::from_static(b"Hello"));
    assert_eq!(decode_whole(&mut server, &pong).complete(), [told]);

    for (len, header) in [(256, &b"\x82\x7e\x01\x00"[..]), (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0")]
    {
        let payload = vec![7; len];
        let frame = [header, &payload].concat();
        let message = Incoming::Message(Message::from(payload.clone()));
        assert_eq!(decode_whole(&mut client, &frame).complete(), [message]);
        assert_eq!(Frames::server().encoded(payload), frame);
    }
}

// Control frames.

#[test]
fn a_ping_between_fragments_is_answered_and_the_message_goes_on() {
    let mut server = Frames::server();
    let stream = [
        masked(0x01, "κόσ".as_bytes()),
        masked(0x89, b"there?"),
        masked(0x00, b""),
        masked(0x80, "με".as_bytes()),
    ]
    .concat();
    let (incoming, reply) = replies_to(&mut server, &stream);
    assert_eq!(incoming, [text("κόσμε")]);
    assert_eq!(reply, b"\x8a\x06there?");
    assert_eq!(server.framing.take_reply(), None);
}

#[test]
fn a_pong_goes_ahead_of_what_answers_later_messages() {
    let mut server = Frames::server();
    let stream = [masked(0x01, b"a"), masked(0x89, b"?"), masked(0x80, b"b")].concat();
    assert_eq!(decode_whole(&mut server, &stream).complete(), [text("ab")]);
    assert_eq!(server.encoded("ab"), &b"\x8a\x01?\x81\x02ab"[..]);
    assert_eq!(server.framing.take_reply(), None);
    assert_eq!(server.encoded("c"), &b"\x81\x01c"[..]);
}

#[test]
fn sixteen_pings_are_answered_and_of_more_the_newest() {
    let mut server = Frames::server();
    let ping = |at: u8| masked(0x89, &[at]);
    let (_, reply) = replies_to(&mut server, &(0..100).flat_map(ping).collect::<Vec<u8>>());
    let answered = (0..15).chain([99]);
    assert_eq!(reply, answered.flat_map(|at| [0x8a, 1, at]).collect::<Vec<u8>>());
    let (_, reply) = replies_to(&mut server, &ping(7));
    assert_eq!(reply, [0x8a, 1, 7], "and there is room again");
}

#[test]
fn who_owes_neither_a_reply_nor_an_end_is_silent() {
    let mut server = Frames::server();
    assert!(server.framing.is_silent() && Frames::client().framing.is_silent());
    let mut ping = BytesMut::from(&masked(0x89, b"?")[..]);
    assert!(matches!(server.decode(&mut ping), Ok(None)));
    assert!(!server.framing.is_silent(), "a pong is owed");
    assert!(server.framing.take_reply().is_some() && server.framing.is_silent());
    let (_, reply) = replies_to(&mut server, &masked(0x88, b""));
    assert!(reply.is_empty() && !server.framing.is_silent(), "it has come to its end");
}

#[test]
fn pongs_that_nobody_asked_for_are_nobodys_business() {
    let (incoming, reply) = replies_to(&mut Frames::server(), &masked(0x8a, b"unsolicited"));
    assert!(incoming.is_empty() && reply.is_empty());
}

// The end.

#[test]
fn a_close_is_told_and_answered_with_its_code() {
    let mut server = Frames::server();
    let stream = [masked(0x88, b"\x03\xe9bye"), masked(0x81, b"too late")].concat();
    let (incoming, reply) = replies_to(&mut server, &stream);
    assert_eq!(incoming, [closed(1001, "bye")]);
    assert!(reply.is_empty(), "the answer is a farewell");
    assert_eq!(server.framing.ending(), Some(CloseReason::Peer));
    assert_eq!(
        server.framing.farewell(CloseReason::Peer).as_deref(),
        Some(&b"\x88\x02\x03\xe9"[..])
    );
    assert_eq!(server.framing.farewell(CloseReason::Peer), None);
}

#[test]
fn an_empty_close_has_an_empty_answer() {
    let mut server = Frames::server();
    let (incoming, _) = replies_to(&mut server, &masked(0x88, b""));
    assert_eq!(incoming, [Incoming::Closed(None)]);
    assert_eq!(server.framing.farewell(CloseReason::Peer).as_deref(), Some(&b"\x88\x00"[..]));
}

#[test]
fn a_close_in_the_middle_of_a_message_ends_that_too() {
    let mut server = Frames::server();
    let stream = [masked(0x01, b"unfin"), masked(0x89, b"?"), masked(0x88, b"")].concat();
    let (incoming, reply) = replies_to(&mut server, &stream);
    assert_eq!(incoming, [Incoming::Closed(None)]);
    assert!(reply.is_empty(), "no pong after a close");
    assert!(!server.holds_partial());
}

#[test]
fn this_sides_close_is_the_last_thing_it_says() {
    let mut server = Frames::server();
    let mut dst = WriteBuffer::new();
    let close = CloseFrame::new(CloseCode::POLICY_VIOLATION, "enough");
    server.framing.encode_close(&close, &mut dst).expect("an open connection");
    assert_eq!(dst.take_shared(), &b"\x88\x08\x03\xf0enough"[..]);
    assert_eq!(server.framing.ending(), Some(CloseReason::Local));
    let refused = server.encode(Message::from("more"), &mut dst).expect_err("after a close");
    assert!(matches!(refused, WebSocketError::Closing), "{refused}");
    let refused = server.framing.encode_close(&close, &mut dst).expect_err("a second close");
    assert!(matches!(refused, WebSocketError::Closing), "{refused}");
    assert_eq!(server.framing.farewell(CloseReason::Local), None);
    assert_eq!(server.framing.probe(), None);
    assert!(!server.framing.is_stateless());
    // The peer may have written before it saw that.
    let (incoming, _) = replies_to(&mut server, &masked(0x81, b"on its way"));
    assert_eq!(incoming, [text("on its way")]);
    let (incoming, _) = replies_to(&mut server, &masked(0x88, b"\x03\xf0"));
    assert_eq!(incoming, [closed(1008, "")]);
    assert_eq!(server.framing.farewell(CloseReason::Peer), None);
    assert!(dst.is_drained());
}

#[test]
fn a_farewell_says_why() {
    let codes = [
        (CloseReason::Local, 1000_u16),
        (CloseReason::Shutdown, 1001),
        (CloseReason::Idle, 1001),
        (CloseReason::ProtocolError, 1002),
        (CloseReason::HandlerError, 1011),
        (CloseReason::HandlerPanic, 1011),
        (CloseReason::SlowConsumer, 1013),
    ];
    for (reason, code) in codes {
        let mut server = Frames::server();
        let [high, low] = code.to_be_bytes();
        assert_eq!(server.framing.farewell(reason).as_deref(), Some(&[0x88, 2, high, low][..]));
        assert_eq!(server.framing.farewell(reason), None, "once");
    }
}

#[test]
fn a_probe_is_an_empty_ping() {
    assert_eq!(Frames::server().framing.probe().as_deref(), Some(&b"\x89\x00"[..]));
    let probe = Frames::client().framing.probe().expect("a ping");
    assert_eq!((&probe[..2], probe.len()), (&[0x89, 0x80][..], 6));
}

// Cost and memory.

#[test]
fn an_open_connection_is_small_and_returns_to_that() {
    let mut server = Frames::server();
    assert_eq!(size_of::<Framing>(), size_of::<usize>());
    let stream = [masked(0x01, b"a"), masked(0x89, b"b"), masked(0x80, b"c")].concat();
    let (incoming, reply) = replies_to(&mut server, &stream);
    assert_eq!((incoming.len(), reply.len()), (1, 3));
    let debug = format!("{:?}", server.framing);
    assert!(debug.contains("rare: None"), "{debug}");
}

#[test]
fn a_message_in_one_frame_is_a_slice_of_what_was_read() {
    let stream = [masked(0x82, &[7; 1000]), masked(0x81, b"next")].concat();
    let mut src = BytesMut::from(&stream[..]);
    let start = src.as_ptr() as usize;
    let mut server = Frames::server();
    for (payload_at, len) in [(8, 1000), (1008 + 6, 4)] {
        let Ok(Some(Incoming::Message(message))) = server.decode(&mut src) else {
            panic!("no message")
        };
        assert_eq!(message.len(), len);
        assert_eq!(message.as_bytes().as_ptr() as usize, start + payload_at);
        let kept = message.clone().detach();
        assert_eq!(kept, message);
        assert_ne!(kept.as_bytes().as_ptr(), message.as_bytes().as_ptr());
    }
}

#[test]
fn a_frame_that_comes_by_the_byte_is_unmasked_once() {
    // Each byte that was unmasked twice would be masked again.
    for len in [0, 1, 3, 125, 126, 127, 300, 70_000] {
        let payload: String = "hé水𝄞 ".chars().cycle().take(len).collect();
        let stream = masked(0x81, payload.as_bytes());
        let pieces = decode_pieces(&mut Frames::server(), &stream, &[1]);
        assert_eq!(pieces.complete(), [text(&payload)], "{len} characters");
    }
}
