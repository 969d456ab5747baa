//! What comes before the chat: who is let in, who is not and why, and what else the port answers.

mod kit;

use std::io::{Read, Write};

use kit::Server;
use serde_json::json;
use wheelhouse::codec::http::{HeaderValue, header};
use wheelhouse::codec::websocket::Offer;

/// The headers of a proper upgrade, but for the host.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {answer}"))
}

#[test]
fn the_page_the_health_and_the_metrics_are_there_and_nothing_else() {
    let server = Server::start(&[]);
    let close = "Connection: close\r\n";
    let page = server.get("/", close);
    assert_eq!(status(&page), 200);
    assert!(page.contains("content-security-policy:") && page.contains("<html"), "{page}");
    let health = server.get("/healthz", close);
    assert!(health.ends_with("\r\n\r\nok\n"), "{health}");
    let mut ann = server.hello("ann", &json!({}));
    ann.message("hi", "n1");
    ann.next_of("ack");
    let metrics = server.get("/metrics", close);
    for line in ["chat_clients 1", "chat_messages_total 1", "chat_acked_total 1", "chat_rooms 1"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "no {line:?}: {metrics}");
    }
    assert!(!metrics.contains("redis_up"), "there are no other nodes");
    for path in ["/no", "/../../etc/passwd", "/%2e%2e/etc/passwd", "//", "/page.html", "/ws/"] {
        assert_eq!(status(&server.get(path, close)), 404, "{path}");
    }
    let post =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n{close}\r\n", server.addr);
    assert_eq!(status(&server.http(&post)), 405);
}

#[test]
fn a_token_opens_the_door_and_nothing_else_does() {
    let server = Server::start(&["--token", "s3cret", "--token", "other"]);
    let close = "Connection: close\r\n";
    assert_eq!(status(&server.get("/", close)), 200, "the page itself is for all");
    for path in ["/ws", "/ws?token=", "/ws?token=s3cre", "/ws?token=s3crets", "/ws?Token=s3cret"] {
        let mut stream = server.tcp();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{UPGRADE}\r\n", server.addr);
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401", "{path}");
    }
    let log = server.logs("refused");
    assert!(!log.contains("s3cre"), "no token is for the log: {log}");
    assert!(server.connect_to("/ws").is_err());
    server.connect_to("/ws?token=s3cret").expect("a token in the query");
    server.connect_to("/ws?x=1&token=oth%65r").expect("another, encoded");
    let offer = Offer::random(&server.addr.to_string(), "/ws").expect("an offer");
    let bearer = HeaderValue::from_static("Bearer s3cret");
    let offer = offer.header(header::AUTHORIZATION, bearer);
    server.connect_by(offer).expect("a token in a header");
}

#[test]
fn a_page_of_another_origin_is_refused_unless_it_is_on_the_list() {
    let allowed = "https://chat.example";
    let server = Server::start(&["--allow-origin", allowed]);
    let addr = server.addr;
    let from = |origin: &str| {
        let offer = Offer::random(&addr.to_string(), "/ws").expect("an offer");
        let origin = HeaderValue::from_str(origin).expect("a header");
        server.connect_by(offer.header(header::ORIGIN, origin))
    };
    from(&format!("http://{addr}")).expect("its own page");
    from(allowed).expect("a page on the list");
    for origin in ["https://evil.example", "http://chat.example", "null", "http://127.0.0.1:1"] {
        assert!(from(origin).is_err(), "{origin}");
        let log = server.logs("refused");
        assert!(log.contains(origin) && log.contains(&addr.to_string()), "both are told: {log}");
    }
    let evil = format!("{UPGRADE}Origin: https://evil.example\r\nConnection: close\r\n");
    assert_eq!(status(&server.get("/ws", &evil)), 403);
}

#[test]
fn an_upgrade_that_is_none_is_refused_by_name() {
    let server = Server::start(&[]);
    let without = |name: &str| {
        let kept = UPGRADE.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        kept.collect::<String>()
    };
    let host = format!("Host: {}\r\n", server.addr);
    let cases = [
        (without("Upgrade"), 426),
        (without("Connection"), 400),
        (without("Sec-WebSocket-Key"), 400),
        (without("Sec-WebSocket-Version"), 400),
        (UPGRADE.replace("13", "8"), 426),
        (UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
        (format!("{UPGRADE}Sec-WebSocket-Version: 13\r\n"), 400),
        (format!("{UPGRADE}{host}"), 400),
    ];
    for (headers, expected) in cases {
        let answer = server.get("/ws", &format!("{headers}Connection: close\r\n"));
        assert_eq!(status(&answer), expected, "{headers}\n{answer}");
    }
    let no_host = format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n");
    assert_eq!(status(&server.http(&no_host)), 400);
}

#[test]
fn a_header_of_100_kilobytes_is_refused_and_the_server_goes_on() {
    let server = Server::start(&[]);
    let mut stream = server.tcp();
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "x".repeat(100_000));
    // It may be refused before all of it is read.
    drop(stream.write_all(huge.as_bytes()));
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
    for junk in ["\u{0}\u{1}\u{2}\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n\r\n", "GET\r\n\r\n"] {
        assert_eq!(status(&server.http(junk)), 400, "{junk:?}");
    }
    server.hello("ann", &json!({}));
}
