use bytes::BytesMut;
use http::StatusCode;

use super::*;
use crate::codec::http::Origins;

/// The request of RFC 6455, section 1.2.
const SAMPLE: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn upgrade(head: &str) -> Result<Upgrade, Refusal> {
    Upgrade::from_request(&Request::parse(head.as_bytes()).unwrap())
}

fn sample_with(line: &str, instead: &str) -> Result<Upgrade, Refusal> {
    assert!(SAMPLE.contains(line), "{line}");
    upgrade(&SAMPLE.replace(line, instead))
}

fn written(encode: impl FnOnce(&mut WriteBuffer)) -> String {
    let mut dst = WriteBuffer::new();
    encode(&mut dst);
    String::from_utf8(dst.to_vec()).unwrap()
}

#[test]
fn the_key_of_the_standard_gets_the_answer_of_the_standard() {
    assert_eq!(&accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn the_request_of_the_standard_is_in_order() {
    let request = Request::parse(SAMPLE.as_bytes()).unwrap();
    assert!(Upgrade::is_wanted(&request));
    let page = Request::parse(SAMPLE.replace("Upgrade: websocket\r\n", "").as_bytes()).unwrap();
    assert!(!Upgrade::is_wanted(&page));
    let accept = upgrade(SAMPLE).unwrap().accept().subprotocol("superchat");
    assert_eq!(accept.chosen(), Some("superchat"));
    let answer = written(|dst| accept.encode(dst));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-protocol: superchat\r\n"), "{answer}");
}

#[test]
fn tokens_are_found_in_lists_and_in_any_case() {
    for (line, instead) in [
        ("Upgrade: websocket", "Upgrade: h2c, WebSocket"),
        ("Connection: Upgrade", "Connection: keep-alive, uPGRADE"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
    ] {
        sample_with(line, instead).unwrap_or_else(|error| panic!("{instead}: {error}"));
    }
}

#[test]
fn what_is_missing_repeated_or_wrong_is_named() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    for (line, instead, status, named) in [
        ("GET", "POST", 405, "with GET, not POST"),
        ("HTTP/1.1", "HTTP/1.0", 400, "not in 1.0"),
        ("Upgrade: websocket\r\n", "", 400, "lacks the header upgrade"),
        ("Upgrade: websocket", "Upgrade: websockets", 400, "upgrade as \"websockets\""),
        ("Connection: Upgrade\r\n", "", 400, "lacks the header connection"),
        ("Connection: Upgrade", "Connection: close", 400, "connection as \"close\""),
        (key, "", 400, "lacks the header sec-websocket-key"),
        (key, &key.repeat(2), 400, "sec-websocket-key more than once"),
        (version, "", 400, "lacks the header sec-websocket-version"),
        (version, &version.repeat(2), 400, "sec-websocket-version more than once"),
        ("Version: 13", "Version: 8", 426, "version \"8\""),
        ("Version: 13", "Version: 13, 8", 426, "version \"13, 8\""),
        ("chat, superchat", "chat, chat", 400, "sec-websocket-protocol as \"chat, chat\""),
        ("chat, superchat", "chat room", 400, "sec-websocket-protocol"),
        ("Origin", "Content-Length: 3\r\nOrigin", 400, "has no body"),
    ] {
        let error = sample_with(line, instead).expect_err(instead);
        assert_eq!(error.status(), status, "{error}");
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.response().status(), status);
    }
}

#[test]
fn a_key_is_sixteen_bytes_in_their_one_form() {
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",       // without its padding
        "dGhlIHNhbXBsZSBub25jZQ==AAAA", // more behind it
        "dGhlIHNhbXBsZSBub25jZR==",     // bits that no byte has
        "dGhlIHNhbXBsZSBub25jZTE=",     // 17 bytes
        "dGhlIHNhbXBsZSBub25jZTEy",     // 18 bytes
        "dGhlIHNhbXBsZSBub25j",         // 15 bytes
        "dGhlIHNhbXBsZSBub2_jZQ==",     // another alphabet
    ] {
        let error = sample_with("dGhlIHNhbXBsZSBub25jZQ==", key).expect_err(key);
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert!(error.to_string().contains("sec-websocket-key"), "{key}: {error}");
    }
}

#[test]
fn another_version_or_method_is_told_which_one_there_is() {
    let error = sample_with("Version: 13", "Version: 7").unwrap_err();
    let response = error.response();
    assert_eq!(response.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    assert_eq!(response.headers()[header::UPGRADE], "websocket");
    let method = sample_with("GET", "POST").unwrap_err().response();
    assert_eq!(method.headers()[header::ALLOW], "GET");
}

#[test]
fn a_page_of_another_site_is_refused_with_both_names() {
    let request = Request::parse(SAMPLE.as_bytes()).unwrap();
    let refusal = Refusal::from(Origins::same().check(&request).unwrap_err());
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    let text = refusal.to_string();
    assert!(text.contains("http://example.com") && text.contains("server.example.com"), "{text}");
}

#[test]
#[should_panic(expected = "the subprotocol \"other\" was not offered")]
fn a_subprotocol_that_was_not_offered_cannot_be_chosen() {
    let _ = upgrade(SAMPLE).unwrap().accept().subprotocol("other");
}

#[test]
fn extensions_are_handed_on_as_they_came() {
    let line = "Sec-WebSocket-Version: 13";
    let both = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate; a=1, b\r\n\
        Sec-WebSocket-Extensions: c";
    let upgrade = sample_with(line, both).unwrap();
    assert!(upgrade.extensions().eq(["permessage-deflate; a=1, b", "c"]));
    let value = HeaderValue::from_static("permessage-deflate");
    let answer = written(|dst| upgrade.accept().extensions(value).encode(dst));
    assert!(answer.ends_with("sec-websocket-extensions: permessage-deflate\r\n\r\n"), "{answer}");
}

// The client's side.

const NONCE: [u8; 16] = *b"the sample nonce";

fn offer() -> Offer {
    Offer::new("server.example.com", "/chat?room=1", NONCE).unwrap()
}

fn answered(offer: &mut Offer, answer: &str) -> Result<Option<Answer>, HandshakeError> {
    offer.read_answer(&mut BytesMut::from(answer))
}

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

#[test]
fn both_sides_agree_with_each_other() {
    let mut offer = offer()
        .subprotocol("chat.v2")
        .and_then(|offer| offer.subprotocol("chat"))
        .unwrap()
        .extensions(HeaderValue::from_static("permessage-deflate"))
        .header(header::ORIGIN, HeaderValue::from_static("http://server.example.com"))
        .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
    let request = Request::parse(written(|dst| offer.encode(dst)).as_bytes()).unwrap();
    assert_eq!(request.target(), "/chat?room=1");
    assert_eq!(request.origin(), Some("http://server.example.com"));
    assert!(request.is_same_origin());
    let upgrade = Upgrade::from_request(&request).unwrap();
    assert!(upgrade.subprotocols().eq(["chat.v2", "chat"]));
    let value = HeaderValue::from_static("permessage-deflate");
    let accept = upgrade.accept().subprotocol("chat").extensions(value.clone());
    let answer = written(|dst| accept.encode(dst));

    let mut src = BytesMut::new();
    for &byte in answer.as_bytes() {
        assert_eq!(offer.read_answer(&mut src), Ok(None));
        src.extend_from_slice(&[byte]);
    }
    src.extend_from_slice(b"\x81\x02hi");
    let answer = offer.read_answer(&mut src).unwrap().unwrap();
    assert_eq!(answer.subprotocol.as_deref(), Some("chat"));
    assert_eq!(answer.extensions, Some(value));
    assert_eq!(&src[..], b"\x81\x02hi", "the first frame is left");
}

#[test]
fn an_answer_that_does_not_fit_is_refused_by_its_header() {
    let answer = answered(&mut offer(), &format!("{AGREED}\r\n")).unwrap().unwrap();
    assert_eq!((answer.subprotocol, answer.extensions), (None, None));
    for (line, instead, named) in [
        ("Upgrade: websocket", "Upgrade: h2c", "upgrade"),
        ("Connection: Upgrade", "Connection: close", "connection"),
        ("s3pP", "S3pP", "sec-websocket-accept"),
        ("Sec-WebSocket-Accept", "X", "sec-websocket-accept"),
        ("Upgrade: w", "Sec-WebSocket-Protocol: chat\r\nUpgrade: w", "sec-websocket-protocol"),
        ("Upgrade: w", "Sec-WebSocket-Extensions: x\r\nUpgrade: w", "sec-websocket-extensions"),
        ("Upgrade: w", "Sec-WebSocket-Accept: x\r\nUpgrade: w", "sec-websocket-accept"),
    ] {
        assert!(AGREED.contains(line));
        let error = answered(&mut offer(), &format!("{}\r\n", AGREED.replacen(line, instead, 1)));
        let Err(HandshakeError::BadAnswer { header }) = &error else { panic!("{error:?}") };
        assert_eq!(header, named);
    }
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let error =
        answered(&mut offer(), "HTTP/1.1 426 Upgrade Required\r\nA: b\r\n\r\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server refuses to open a WebSocket: it answered 426 Upgrade Required"
    );
    let error = answered(&mut offer(), "SSH-2.0-OpenSSH_9.6\r\n").unwrap_err();
    assert!(error.to_string().ends_with("is not HTTP (the stream begins like an SSH banner)"));
}

#[test]
fn interim_answers_are_passed_over_and_bounded() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let whole = format!("{hints}HTTP/1.1 100 Continue\r\n\r\n{AGREED}\r\n\u{1}\u{2}hi");
    let (mut offer, mut src) = (offer(), BytesMut::new());
    let mut answer = None;
    for &byte in whole.as_bytes() {
        src.extend_from_slice(&[byte]);
        answer = answer.or(offer.read_answer(&mut src).unwrap());
        if answer.is_some() {
            break;
        }
    }
    assert!(answer.is_some() && src.is_empty(), "as soon as it is whole: {src:?}");

    let refused = answered(&mut self::offer(), &format!("{hints}HTTP/1.1 404 x\r\n\r\n"));
    let status = StatusCode::NOT_FOUND;
    assert_eq!(refused, Err(HandshakeError::Refused { status }));
    let without_end = answered(&mut self::offer(), &hints.repeat(16 * 1024 / hints.len() + 1));
    assert_eq!(without_end, Err(HandshakeError::TooLong { max: 16 * 1024 }));
}

#[test]
fn an_answer_without_end_is_bounded() {
    let head = format!("HTTP/1.1 101 x\r\nA: {}", "a".repeat(16 * 1024));
    assert_eq!(answered(&mut offer(), &head), Err(HandshakeError::TooLong { max: 16 * 1024 }));
    let many = format!("{AGREED}{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(answered(&mut offer(), &many), Err(HandshakeError::TooManyHeaders { max: 64 }));
}

#[test]
fn nothing_can_be_smuggled_into_the_request() {
    assert!(Offer::new("a\r\nX: y", "/", NONCE).is_err());
    assert!(Offer::new("", "/", NONCE).is_err());
    for target in ["", "chat", "/a b", "/a\r\nX: y", "/é", "/#top"] {
        assert!(Offer::new("example.com", target, NONCE).is_err(), "{target}");
    }
    for name in ["", "a b", "a,b", "a\r\n"] {
        assert!(offer().subprotocol(name).is_err(), "{name}");
    }
    assert!(offer().subprotocol("a").and_then(|offer| offer.subprotocol("a")).is_err());
}
