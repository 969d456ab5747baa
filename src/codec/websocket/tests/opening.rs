//! From HTTP to frames: who may write what, and when.

use super::super::{Offer, Outgoing, Upgrade, WebSocket, WebSocketCodec};
use super::*;
use crate::codec::http::{Response, StatusCode};

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
    assert!(!server.is_stateless() && server.probe().is_none() && !server.is_blocked());

    let offer = Offer::random("h", "/ws").expect("an offer");
    let request = write(&mut client, offer.clone()).expect("the first packet");
    let mut src = BytesMut::from(&request[..]);
    let Incoming::Request(request) = read(&mut server, &mut src) else { panic!("no request") };
    assert!(server.is_blocked());
    let late = write(&mut server, offer.clone()).expect_err("it is the server");
    assert!(late.contains("the first thing"), "{late}");
    let accept = Upgrade::from_request(&request).expect("in order").accept();
    let accepted = write(&mut server, accept.clone()).expect("it is waited for");
    assert!(!server.is_blocked() && server.is_stateless());
    assert_eq!(write(&mut server, accept), Err("no request waits for an answer".to_owned()));
    assert!(write(&mut server, response).is_err_and(|error| error.contains(unasked)));

    assert_eq!(write(&mut client, "early"), Err(open.to_owned()));
    let mut src = BytesMut::from(&accepted[..]);
    src.extend_from_slice(&write(&mut server, "hello").expect("it is open"));
    assert!(matches!(read(&mut client, &mut src), Incoming::Accepted(_)));
    assert_eq!(read(&mut client, &mut src), text("hello"));
    assert!(write(&mut client, offer).is_err_and(|error| error.contains("the first thing")));
    assert!(!client.is_stateless(), "it masks");
    let said = write(&mut client, "hello, too").expect("it is open");
    assert_eq!(said[1] & 0x80, 0x80);
    assert_eq!(read(&mut server, &mut BytesMut::from(&said[..])), text("hello, too"));
}

#[test]
fn an_offer_is_not_for_a_connection_from_which_something_has_come() {
    let mut server = WebSocket::new().codec();
    let mut src = BytesMut::from("GET / HTTP/1.1\r\n");
    assert!(matches!(server.decode(&mut src), Ok(None)));
    let offer = Offer::random("h", "/").expect("an offer");
    assert!(write(&mut server, offer).is_err_and(|error| error.contains("the first thing")));
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
