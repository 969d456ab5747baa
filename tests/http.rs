//! HTTP through the loop: what order answers go out in, and when the connection closes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use wheelhouse::codec::http::{Http, Request, Response, StatusCode};
use wheelhouse::{Config, Server, ServerHandle};

/// Longer than any answer takes, so that a test that fails also ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers each request with its path; `/fail` and `/silent` as they say.
fn serve(config: Config) -> (SocketAddr, ServerHandle<Http, ()>) {
    let server = Server::bind("127.0.0.1:0", Http::new()).unwrap().config(config);
    let addr = server.local_addr();
    let server = server.start(|_, conn| {
        conn.handlers().on_read(|_, conn, request: Request| {
            match request.path() {
                "/fail" => return Err(std::io::Error::other("as asked").into()),
                "/silent" => {}
                path => conn.write(Response::text(StatusCode::OK, path.to_owned()))?,
            }
            Ok(())
        })
    });
    (addr, server.unwrap())
}

fn connect(addr: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

/// All that comes until the server closes.
fn answer(peer: &mut TcpStream) -> String {
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    answer
}

fn asked(addr: SocketAddr, requests: &str) -> String {
    let mut peer = connect(addr);
    peer.write_all(requests.as_bytes()).unwrap();
    answer(&mut peer)
}

/// The status and the body of each response.
fn responses(mut text: &str) -> Vec<(u16, &str)> {
    let mut responses = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n").expect("a head that ends");
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let (body, rest) = rest.split_at(length.unwrap().parse().unwrap());
        responses.push((status, body));
        text = rest;
    }
    responses
}

#[test]
fn answers_go_out_in_order_and_the_last_closes() {
    let (addr, server) = serve(Config::default());
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let many: String = (0..300).map(|n| get(&format!("/{n}"), "")).collect();
    let text =
        asked(addr, &format!("{many}{}{}", get("/last", "Connection: close\r\n"), get("/no", "")));
    let paths: Vec<String> =
        (0..300).map(|n| format!("/{n}")).chain(["/last".to_owned()]).collect();
    assert_eq!(responses(&text), paths.iter().map(|path| (200, &**path)).collect::<Vec<_>>());
    assert_eq!(text.matches("connection: close\r\n").count(), 1);
    server.stop(Duration::ZERO).unwrap();
}

#[test]
fn an_error_is_answered_behind_the_answers_before_it() {
    let (addr, server) = serve(Config::default());
    let text = asked(addr, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost : a\r\n\r\n");
    let [(200, "/a"), (400, told)] = responses(&text)[..] else { panic!("{text}") };
    assert!(told.contains("colon"), "{told}");
    let [(505, _)] = responses(&asked(addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))[..] else {
        panic!("a client of HTTP/2 is answered")
    };
    server.stop(Duration::ZERO).unwrap();
}

#[test]
fn a_handler_that_fails_is_answered_for() {
    let (addr, server) = serve(Config::default());
    let text =
        asked(addr, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /fail HTTP/1.0\r\n\r\n");
    let [(200, "/a"), (500, _)] = responses(&text)[..] else { panic!("{text}") };
    server.stop(Duration::ZERO).unwrap();
}

#[test]
fn a_request_that_stays_half_arrived_is_told_so() {
    let (addr, server) = serve(Config::default().packet_timeout(Duration::from_millis(50)));
    let [(408, _)] = responses(&asked(addr, "GET / HTTP/1.1\r\nHost"))[..] else {
        panic!("it is told that it was late")
    };
    server.stop(Duration::ZERO).unwrap();
}

#[test]
fn a_request_without_an_answer_is_answered_by_a_stop() {
    let (addr, server) = serve(Config::default());
    let mut peer = connect(addr);
    peer.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut first = [0; 17];
    peer.read_exact(&mut first).unwrap();
    server.stop(PATIENCE).unwrap();
    let rest = answer(&mut peer);
    assert!(rest.contains("HTTP/1.1 503 "), "{rest}");
}

#[test]
fn a_peer_that_has_ended_its_side_gets_its_answers() {
    let (addr, server) = serve(Config::default());
    let mut peer = connect(addr);
    peer.write_all(&b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3)).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(responses(&answer(&mut peer)), [(200, "/a"); 3]);
    server.stop(Duration::ZERO).unwrap();
}

#[test]
fn a_body_that_nobody_reads_does_not_destroy_the_answer() {
    let (addr, server) = serve(Config::default());
    let body = "x".repeat(300_000);
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
    assert_eq!(responses(&asked(addr, &format!("{head}{body}"))), [(200, "/a")]);
    server.stop(Duration::ZERO).unwrap();
}
