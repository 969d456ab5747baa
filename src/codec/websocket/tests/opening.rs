//! From HTTP to frames: who may write what, and when.

use super::super::{Offer, Outgoing, Upgrade, WebSocket, WebSocketCodec};
use super::*;
use crate::codec::http::{Http, Request, Response, StatusCode};

fn write(codec: &mut WebSocketCodec, packet: impl Into<Outgoing>) -> Result<Bytes, String> {
    let mut dst = WriteBuffer::new();
    match codec.encode(packet.into(), &mut dst) {
        Ok(()) => Ok(dst.take_shared()),
        Err(error) => {
            assert!(dst.is_drained() && error.close_code().is_none(), "{error}");
            Err(error.to_string())
        }
    }
}

fn read(codec: &mut WebSocketCodec, src: &mut BytesMut) -> Incoming {
    codec.decode(src).expect("in order").expect("a packet")
}

#[test]
fn a_request_is_answered_once_and_then_there_are_frames() {
    let (mut client, mut server) = (WebSocket::new().codec(), WebSocket::new().codec());
    let (open, unasked) = ("the connection is not a WebSocket yet", "no request waits");
    assert_eq!(write(&mut server, "early"), Err(open.to_owned()));
    let response = Response::new(StatusCode::OK);
    assert!(write(&mut server, response.clone()).is_err_and(|error| error.contains(unasked)));
    assert!(
        !server.is_stateless(&"early".into()) && server.probe().is_none() && !server.is_blocked()
    );

    let offer = Offer::random("h", "/ws").expect("an offer");
    let request = write(&mut client, offer.clone()).expect("the first packet");
    let mut src = BytesMut::from(&request[..]);
    let Incoming::Request(request) = read(&mut server, &mut src) else { panic!("no request") };
    assert!(server.is_blocked());
    let late = write(&mut server, offer.clone()).expect_err("it is the server");
    assert!(late.contains("the first thing"), "{late}");
    let accept = Upgrade::from_request(&request).expect("in order").accept();
    let accepted = write(&mut server, accept.clone()).expect("it is waited for");
    assert!(!server.is_blocked() && server.is_stateless(&"hello".into()));
    assert_eq!(write(&mut server, accept), Err("no request waits for an answer".to_owned()));
    assert!(write(&mut server, response).is_err_and(|error| error.contains(unasked)));

    assert_eq!(write(&mut client, "early"), Err(open.to_owned()));
    let mut src = BytesMut::from(&accepted[..]);
    src.extend_from_slice(&write(&mut server, "hello").expect("it is open"));
    assert!(matches!(read(&mut client, &mut src), Incoming::Accepted(_)));
    assert_eq!(read(&mut client, &mut src), text("hello"));
    assert!(write(&mut client, offer).is_err_and(|error| error.contains("the first thing")));
    assert!(!client.is_stateless(&"hello".into()), "it masks");
    let said = write(&mut client, "hello, too").expect("it is open");
    assert_eq!(said[1] & 0x80, 0x80);
    assert_eq!(client.frame_len(&Outgoing::Ping(Bytes::new())), 2 + 4, "with its mask");
    assert_eq!(read(&mut server, &mut BytesMut::from(&said[..])), text("hello, too"));
}

#[test]
fn an_offer_is_not_for_a_connection_from_which_something_has_come() {
    let mut server = WebSocket::new().codec();
    let mut src = BytesMut::from("GET / HTTP/1.1\r\n");
    assert!(matches!(server.decode(&mut src), Ok(None)));
    let offer = Offer::random("h", "/").expect("an offer");
    let late = write(&mut server, offer.clone()).expect_err("half a request has come");
    assert!(late.contains("the first thing"), "{late}");

    src.extend_from_slice(b"Host: h\r\n\r\n");
    assert!(matches!(read(&mut server, &mut src), Incoming::Request(_)));
    write(&mut server, Response::new(StatusCode::OK)).expect("it is waited for");
    let late = write(&mut server, offer).expect_err("a request has come and gone");
    assert!(late.contains("the first thing"), "{late}");
}

#[test]
fn what_is_no_request_is_answered_in_http() {
    let mut server = WebSocket::new().codec();
    let error = server.decode(&mut BytesMut::from(&b"\x16\x03\x01\x02\0\x01\0"[..]));
    let error = error.expect_err("a TLS ClientHello");
    assert!(error.to_string().contains("TLS ClientHello"), "{error}");
    let answer = server.take_reply().expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "{}", answer.escape_ascii());
    assert_eq!(server.farewell(CloseReason::ProtocolError), None);
}

#[test]
fn every_frame_is_as_long_as_it_was_said_to_be() {
    let mut codec = WebSocket::new().upgraded();
    for packet in [
        Outgoing::from("text"),
        vec![0; 126].into(),
        vec![0; 70_000].into(),
        Outgoing::Ping(Bytes::from_static(b"?")),
        Outgoing::Pong(Bytes::new()),
        CloseFrame::new(CloseCode::NORMAL, "that is all").into(),
    ] {
        let expected = codec.frame_len(&packet);
        assert_eq!(write(&mut codec, packet).map(|bytes| bytes.len()), Ok(expected));
    }
}

#[test]
fn a_connection_costs_little_on_either_side_of_the_handshake() {
    assert!(size_of::<WebSocketCodec>() <= 64, "{} bytes", size_of::<WebSocketCodec>());
    assert!(size_of::<Incoming>() <= 48, "{} bytes", size_of::<Incoming>());
    assert!(size_of::<Outgoing>() <= 48, "{} bytes", size_of::<Outgoing>());
}

/// The request of a client that would like a WebSocket.
fn request() -> (Bytes, Request) {
    let offer = Offer::random("h", "/ws").expect("an offer");
    let bytes = write(&mut WebSocket::new().codec(), offer).expect("the first packet");
    let request = Request::parse(&bytes).expect("a request");
    (bytes, request)
}

#[test]
fn nobody_is_accepted_who_has_not_asked() {
    let accept = Upgrade::from_request(&request().1).expect("in order").accept();
    let mut server = WebSocket::new().codec();
    let told = write(&mut server, accept).expect_err("nobody has asked");
    assert_eq!(told, "no request waits for an answer");
}

#[test]
fn before_it_is_open_http_speaks() {
    let mut server = WebSocket::new().codec();
    assert!(server.is_silent() && server.ending().is_none());
    let mut src = BytesMut::from("GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(read(&mut server, &mut src), Incoming::Request(_)));
    let page = Outgoing::from(Response::text(StatusCode::OK, "hello"));
    assert_eq!(server.frame_len(&page), "hello".len());
    write(&mut server, page).expect("it is waited for");
    assert!(!server.is_silent(), "it has an end to tell");
    assert_eq!(server.ending(), Some(CloseReason::Local), "as HTTP/1.0 has it");
    let twice = server.encode(Response::new(StatusCode::OK).into(), &mut WriteBuffer::new());
    let error = twice.expect_err("nothing waits for it");
    assert!(std::error::Error::source(&error).is_some(), "{error}");

    let mut server = WebSocket::new().codec();
    assert!(matches!(server.decode(&mut BytesMut::from("GET / HTTP/1.1\r\n")), Ok(None)));
    let told = server.farewell(CloseReason::ProtocolError).expect("the rest is late");
    assert!(told.starts_with(b"HTTP/1.1 408 "), "{}", told.escape_ascii());
}

#[test]
fn once_it_is_open_frames_speak() {
    let mut server = WebSocket::new().upgraded();
    assert!(server.is_silent() && !server.holds_partial());
    assert!(server.probe().is_some_and(|ping| *ping == [0x89, 0]));

    let mut src = BytesMut::from(&[masked(0x01, b"Hel"), masked(0x89, b"?")].concat()[..]);
    assert!(matches!(server.decode(&mut src), Ok(None)));
    assert!(server.holds_partial() && !server.is_silent());
    assert!(!server.is_stateless(&"hello".into()), "its pong would go to all");
    assert!(server.take_reply().is_some_and(|pong| *pong == *b"\x8a\x01?"));
    assert!(server.is_silent() && server.is_stateless(&"hello".into()));
    assert!(!server.is_stateless(&CloseCode::NORMAL.into()), "each has its own end");
    src.extend_from_slice(&masked(0x80, b"lo"));
    assert_eq!(read(&mut server, &mut src), text("Hello"));
    assert!(!server.holds_partial());

    let mut leaving = WebSocket::new().upgraded();
    let told = leaving.farewell(CloseReason::Shutdown).expect("last words");
    assert_eq!(told[..4], [0x88, 2, 0x03, 0xe9], "1001");
    assert_eq!(leaving.ending(), Some(CloseReason::Local));
    src.extend_from_slice(&masked(0x88, &1000_u16.to_be_bytes()));
    assert_eq!(read(&mut server, &mut src), closed(1000, ""));
    assert!(!server.is_silent(), "it has an end to tell");
    assert_eq!(server.ending(), Some(CloseReason::Peer));
    let told = server.farewell(CloseReason::Peer).expect("the answer to its close");
    assert_eq!(*told, [0x88, 2, 0x03, 0xe8], "1000");
}

#[test]
fn each_setting_is_kept() {
    let http = Http::new().max_target(4);
    let protocol = WebSocket::new().max_message(7).max_frame(5).max_fragments(3).http(http);
    let Settings { max_message, max_frame, max_whole, max_fragments, pongs, .. } =
        *protocol.settings;
    assert_eq!((max_message, max_frame, max_whole, max_fragments), (7, 5, 5, 3));
    assert!(!pongs && protocol.clone().pongs(true).settings.pongs);
    let long = protocol.codec().decode(&mut BytesMut::from("GET /long HTTP/1.1\r\n"));
    assert!(long.is_err_and(|error| error.to_string().contains("maximum of 4 bytes")));
}

#[cfg(feature = "websocket-deflate")]
#[test]
fn two_that_can_compress_agree_to() {
    use super::super::DeflateOptions;

    let protocol = WebSocket::new().deflate(DeflateOptions::new());
    let (mut client, mut server) = (protocol.codec(), protocol.codec());
    let offer = Offer::random("h", "/").expect("an offer");
    let asked = write(&mut client, offer).expect("the first packet");
    let Incoming::Request(request) = read(&mut server, &mut BytesMut::from(&asked[..])) else {
        panic!("no request")
    };
    let accept = Upgrade::from_request(&request).expect("in order").accept();
    let accepted = write(&mut server, accept).expect("it is waited for");
    let mut src = BytesMut::from(&accepted[..]);
    assert!(matches!(read(&mut client, &mut src), Incoming::Accepted(_)));

    let long = "compressed ".repeat(100);
    let goes_compressed = |from: &mut WebSocketCodec, to: &mut WebSocketCodec| {
        let said = write(from, long.clone()).expect("it is open");
        assert!(said.len() < 100, "{} bytes", said.len());
        assert_eq!(read(to, &mut BytesMut::from(&said[..])), text(&long));
    };
    goes_compressed(&mut client, &mut server);
    goes_compressed(&mut server, &mut client);
}
