//! WebSocket through the loop and through the blocking client, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wheelhouse::codec::http::{Response, StatusCode};
use wheelhouse::codec::websocket::{
    self, CloseCode, CloseFrame, DeflateOptions, HandshakeError, Incoming, Message, Offer,
    Outgoing, Upgrade, WebSocket, WebSocketCodec, WebSocketError,
};
use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};
use wheelhouse::{
    Client, ClientError, CloseReason, Config, Connection, HandlerError, Server, ServerHandle,
    SlowConsumers,
};

/// Longer than any answer takes, so that a test that fails also ends.
const PATIENCE: Duration = Duration::from_secs(20);

type Conn<'a> = Connection<'a, WebSocket, ()>;

/// A server, and why each of its connections ended.
struct Running {
    addr: SocketAddr,
    handle: ServerHandle<WebSocket, ()>,
    closed: Receiver<CloseReason>,
}

fn serve(protocol: WebSocket, config: Config) -> Running {
    let server = Server::bind("127.0.0.1:0", protocol).expect("a free port").config(config);
    let addr = server.local_addr();
    let (tell, closed): (Sender<CloseReason>, _) = mpsc::channel();
    let handle = server.start(move |(), conn| {
        let tell = tell.clone();
        conn.handlers()
            .on_read(|(), conn, incoming| handle(conn, incoming))
            .on_closed(move |(), _, reason| tell.send(reason).expect("the test listens"))
    });
    Running { addr, handle: handle.expect("a server"), closed }
}

/// Echoes, but for a few words that it obeys.
fn handle(conn: &mut Conn<'_>, incoming: Incoming) -> Result<(), HandlerError> {
    match incoming {
        Incoming::Request(request) if request.path() == "/ws" => {
            let upgrade = match Upgrade::from_request(&request) {
                Ok(upgrade) => upgrade,
                Err(refusal) => return Ok(conn.write(refusal.response().into())?),
            };
            let chat = upgrade.subprotocols().any(|name| name == "chat");
            let accept = upgrade.accept();
            let accept = if chat { accept.subprotocol("chat") } else { accept };
            conn.write(accept.into())?;
        }
        Incoming::Request(request) => {
            let path = request.path().to_owned();
            conn.write(Response::text(StatusCode::NOT_FOUND, path).into())?;
        }
        Incoming::Message(message) => match message.as_text() {
            Some("fail") => return Err(HandlerError::msg("as asked")),
            Some("close") => {
                let close = CloseFrame::new(CloseCode::POLICY_VIOLATION, "as asked");
                conn.write(close.into())?;
                let refused = conn.write("and then".into()).expect_err("nothing may follow");
                assert!(refused.to_string().contains("closing"), "{refused}");
            }
            Some("ping") => conn.write(Outgoing::Ping(Bytes::from_static(b"there?")))?,
            Some("all") => {
                conn.server().broadcast("to all".into(), SlowConsumers::Disconnect);
            }
            _ => conn.write(message.into())?,
        },
        Incoming::Pong(payload) => conn.write(Message::from(payload).into())?,
        _ => {}
    }
    Ok(())
}

fn connect(addr: SocketAddr) -> Client<WebSocketCodec> {
    let mut client = websocket::connect(addr, "/ws").expect("a WebSocket");
    client.set_read_timeout(Some(PATIENCE));
    client
}

fn text(text: &str) -> Option<Incoming> {
    Some(Incoming::Message(Message::text(text)))
}

fn closed(code: CloseCode, reason: &str) -> Option<Incoming> {
    Some(Incoming::Closed(Some(CloseFrame::new(code, reason))))
}

fn ended(running: &Running) -> CloseReason {
    running.closed.recv_timeout(PATIENCE).expect("a connection that ends")
}

/// A plain socket after the handshake, for what no client would send.
fn upgraded(addr: SocketAddr) -> TcpStream {
    let mut peer = TcpStream::connect(addr).expect("a connection on loopback");
    peer.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let (mut codec, mut request) = (WebSocket::new().codec(), WriteBuffer::new());
    let offer = Offer::random("localhost", "/ws").expect("an offer");
    codec.encode(offer.into(), &mut request).expect("a request");
    peer.write_all(&request).expect("the server reads");
    let mut answer = BytesMut::new();
    while codec.decode(&mut answer).expect("an answer").is_none() {
        let mut byte = [0];
        peer.read_exact(&mut byte).expect("the answer goes on");
        answer.extend_from_slice(&byte);
    }
    peer
}

/// All that comes until the server ends its side; then this side ends, too, so that the server need not linger.
fn read_to_end(mut peer: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).expect("the end, and no reset");
    rest
}

#[test]
fn messages_of_all_kinds_and_sizes_come_back() {
    let running = serve(WebSocket::new(), Config::default());
    let mut client = connect(running.addr);
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        for message in [Message::from(vec![7; len]), Message::from("é".repeat(len / 2))] {
            client.write(message.clone().into()).expect("an open connection");
            assert_eq!(client.read().expect("an echo"), Some(Incoming::Message(message)));
        }
    }
    client.close().expect("a server that closes, too");
    assert_eq!(ended(&running), CloseReason::Peer);
}

#[test]
fn a_page_and_a_websocket_share_a_connection() {
    let running = serve(WebSocket::new(), Config::default());
    let mut peer = TcpStream::connect(running.addr).expect("a connection on loopback");
    peer.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    // Both requests and a frame at once: each waits for its turn.
    peer.write_all(
        b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n\
          GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
          \x81\x82\0\0\0\0hi\x88\x80\0\0\0\0",
    )
    .expect("the server reads");
    let answer = read_to_end(peer);
    let (head, frames) = answer.split_at(answer.len() - 6);
    assert_eq!(frames, b"\x81\x02hi\x88\x00");
    let head = String::from_utf8_lossy(head);
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert!(head.contains("\r\n\r\n/pageHTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(ended(&running), CloseReason::Peer);
}

#[test]
fn a_client_is_told_why_there_is_no_websocket() {
    let running = serve(WebSocket::new(), Config::default());
    let error = websocket::connect(running.addr, "/elsewhere").expect_err("a refusal");
    let ClientError::Protocol(source) = &error else { panic!("{error}") };
    let source = source.downcast_ref::<WebSocketError>();
    let Some(WebSocketError::Handshake(HandshakeError::Refused { status })) = source else {
        panic!("{error}")
    };
    assert_eq!(*status, StatusCode::NOT_FOUND);
    let error = websocket::connect(running.addr, "no path").expect_err("no request");
    assert!(matches!(error, ClientError::Encode(_)), "{error}");
}

#[test]
fn a_subprotocol_is_agreed_on() {
    let running = serve(WebSocket::new(), Config::default());
    for (offered, agreed) in [(&["chat", "other"][..], Some("chat")), (&["other"], None)] {
        let mut offer = Offer::random("localhost", "/ws").expect("an offer");
        for name in offered {
            offer = offer.subprotocol(name).expect("a token");
        }
        let protocol = WebSocket::new();
        let connected = websocket::connect_with(running.addr, &protocol, offer, PATIENCE);
        let (mut client, answer) = connected.expect("a WebSocket");
        assert_eq!(answer.subprotocol.as_deref(), agreed);
        client.write("hello".into()).expect("an open connection");
        assert_eq!(client.read().expect("an echo"), text("hello"));
    }
}

#[test]
fn pings_are_answered_on_either_side() {
    let running = serve(WebSocket::new().pongs(true), Config::default());
    let mut client = connect(running.addr);
    // The server pings; the client answers while it waits; the server sends back what the pong said.
    client.write("ping".into()).expect("an open connection");
    let said = Message::from(Bytes::from_static(b"there?"));
    assert_eq!(client.read().expect("what the pong said"), Some(Incoming::Message(said)));
    let mut peer = upgraded(running.addr);
    peer.write_all(b"\x89\x83\0\0\0\0you").expect("the server reads");
    let mut pong = [0; 5];
    peer.read_exact(&mut pong).expect("a pong");
    assert_eq!(&pong, b"\x8a\x03you");
}

#[test]
fn a_silent_peer_is_asked_for_a_sign_of_life_and_told_when_it_gives_none() {
    let config = Config::default()
        .probe_after(Duration::from_millis(30))
        .idle_timeout(Duration::from_millis(300));
    let running = serve(WebSocket::new(), config);
    let peer = upgraded(running.addr);
    assert_eq!(read_to_end(peer), b"\x89\x00\x88\x02\x03\xe9");
    assert_eq!(ended(&running), CloseReason::Idle);
}

// The end, and its code.

#[test]
fn a_server_says_why_it_closes() {
    let cases = [
        ("close", CloseCode::POLICY_VIOLATION, "as asked", CloseReason::Local),
        ("fail", CloseCode::INTERNAL_ERROR, "", CloseReason::HandlerError),
    ];
    let running = serve(WebSocket::new(), Config::default());
    for (word, code, reason, expected) in cases {
        let mut client = connect(running.addr);
        client.write(word.into()).expect("an open connection");
        assert_eq!(client.read().expect("a close"), closed(code, reason), "{word}");
        assert_eq!(client.read().expect("the end"), None);
        drop(client);
        assert_eq!(ended(&running), expected);
    }
}

#[test]
fn a_stop_is_told_to_all() {
    let running = serve(WebSocket::new(), Config::default());
    let mut clients = [connect(running.addr), connect(running.addr)];
    let handle = running.handle.clone();
    let stopping = std::thread::spawn(move || handle.stop(PATIENCE));
    for client in &mut clients {
        assert_eq!(client.read().expect("a close"), closed(CloseCode::GOING_AWAY, ""));
    }
    drop(clients);
    let report = stopping.join().expect("no panic").expect("a server that stops");
    assert_eq!((report.closed, report.forced), (2, 0));
}

#[test]
fn what_a_peer_does_wrong_is_told_with_its_code() {
    let running = serve(WebSocket::new().max_message(1000), Config::default());
    let wrong: [(&[u8], u16); 4] = [
        (b"\x81\x05Hello", 1002),                      // not masked
        (b"\x81\x81\0\0\0\0\xff", 1007),               // not UTF-8
        (b"\x82\xfe\x03\xe9\0\0\0\0", 1009),           // a byte too long
        (b"\x81\x82\0\0\0\0hi\x80\x80\0\0\0\0", 1002), // after a message that is answered
    ];
    for (stream, code) in wrong {
        let mut peer = upgraded(running.addr);
        peer.write_all(stream).expect("the server reads");
        let answer = read_to_end(peer);
        let close = [&[0x88, 2], &code.to_be_bytes()[..]].concat();
        assert!(answer.ends_with(&close), "{}", answer.escape_ascii());
        assert_eq!(answer.len() > 4, stream.len() > 12, "{}", answer.escape_ascii());
        assert_eq!(ended(&running), CloseReason::ProtocolError);
    }
}

#[test]
fn a_message_that_stays_unfinished_is_late() {
    let config = Config::default().packet_timeout(Duration::from_millis(50));
    let running = serve(WebSocket::new(), config);
    for half in [&b"\x01\x81\0\0\0\0h"[..], b"\x81\x85\0\0\0\0h"] {
        let mut peer = upgraded(running.addr);
        peer.write_all(half).expect("the server reads");
        assert_eq!(read_to_end(peer), b"\x88\x02\x03\xea", "{}", half.escape_ascii());
        assert_eq!(ended(&running), CloseReason::ProtocolError);
    }
}

#[test]
fn a_client_hears_what_a_server_did_wrong_and_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("the client");
        peer.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let (mut codec, mut src) = (WebSocket::new().codec(), BytesMut::new());
        let request = loop {
            let mut byte = [0];
            peer.read_exact(&mut byte).expect("a request");
            src.extend_from_slice(&byte);
            if let Some(Incoming::Request(request)) = codec.decode(&mut src).expect("a request") {
                break request;
            }
        };
        let mut answer = WriteBuffer::new();
        let accept = Upgrade::from_request(&request).expect("in order").accept();
        codec.encode(accept.into(), &mut answer).expect("it is waited for");
        peer.write_all(&answer).expect("the client reads");
        peer.write_all(b"\x81\x82\0\0\0\0hi").expect("the client reads"); // masked
        read_to_end(peer)
    });
    let mut client = connect(addr);
    let error = client.read().expect_err("a frame that no server may send");
    assert!(error.to_string().contains("masked"), "{error}");
    assert!(matches!(client.read(), Err(ClientError::Broken)));
    drop(client);
    let said = server.join().expect("no panic");
    assert_eq!((&said[..2], said.len()), (&[0x88, 0x82][..], 8), "a close frame, masked");
}

// More than one.

#[test]
fn a_broadcast_reaches_all_who_have_become_websockets() {
    let running =
        serve(WebSocket::new().deflate(DeflateOptions::new().min_len(1)), Config::default());
    let compressing = WebSocket::new().deflate(DeflateOptions::new());
    let offer = Offer::random("localhost", "/ws").expect("an offer");
    let connected = websocket::connect_with(running.addr, &compressing, offer, PATIENCE);
    let (mut compressed, answer) = connected.expect("a WebSocket");
    let extensions = answer.extensions.expect("an agreement");
    assert_eq!(extensions, "permessage-deflate");
    let mut plain = [connect(running.addr), connect(running.addr)];
    // One that is still HTTP is passed over.
    let asking = TcpStream::connect(running.addr).expect("a connection on loopback");
    plain[0].write("all".into()).expect("an open connection");
    for client in plain.iter_mut().chain([&mut compressed]) {
        assert_eq!(client.read().expect("what is told to all"), text("to all"));
    }
    let long = "again and ".repeat(100);
    compressed.write(long.as_str().into()).expect("an open connection");
    assert_eq!(compressed.read().expect("an echo"), text(&long));
    drop(asking);
}

#[test]
fn a_pong_goes_to_who_asked_and_not_with_a_broadcast() {
    let running = serve(WebSocket::new(), Config::default());
    let (mut asking, mut other) = (upgraded(running.addr), upgraded(running.addr));
    asking.write_all(b"\x89\x83\0\0\0\0you\x81\x83\0\0\0\0all").expect("the server reads");
    for (peer, expected) in
        [(&mut other, &b"\x81\x06to all"[..]), (&mut asking, b"\x8a\x03you\x81\x06to all")]
    {
        let mut heard = vec![0; expected.len()];
        peer.read_exact(&mut heard).expect("what is told to all");
        assert_eq!(heard.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

#[test]
fn a_close_that_is_broadcast_ends_each_connection() {
    let running = serve(WebSocket::new(), Config::default());
    let mut clients = [connect(running.addr), connect(running.addr), connect(running.addr)];
    let sent = running.handle.run(|(), server| {
        let close = CloseFrame::new(CloseCode::SERVICE_RESTART, "back soon");
        let told = server.broadcast(close.into(), SlowConsumers::Skip);
        let after = server.broadcast("nothing may follow".into(), SlowConsumers::Skip);
        (told.sent, after.sent)
    });
    assert_eq!(sent.expect("a loop that runs"), (3, 0));
    for client in &mut clients {
        let told = closed(CloseCode::SERVICE_RESTART, "back soon");
        assert_eq!(client.read().expect("a close"), told);
        assert_eq!(client.read().expect("the end"), None);
    }
    drop(clients);
    for _ in 0..3 {
        assert_eq!(ended(&running), CloseReason::Local);
    }
}

#[test]
fn a_servers_loop_is_a_client_too() {
    let running = serve(WebSocket::new(), Config::default());
    let target = running.addr;
    let server = Server::bind("127.0.0.1:0", WebSocket::new()).expect("a free port");
    let (tell, told) = mpsc::channel();
    let server = server.start(|(), conn: &mut Conn<'_>| conn.handlers()).expect("a server");
    let connected = server.run(move |(), server| {
        let handlers = server
            .handlers()
            .on_connect(|(), conn| {
                let offer = Offer::random("localhost", "/ws").expect("an offer");
                conn.write(offer.into()).expect("the first packet");
                let early = conn.write("early".into()).expect_err("not a WebSocket yet");
                assert!(early.to_string().contains("not a WebSocket yet"), "{early}");
            })
            .on_read(move |(), conn, incoming| {
                match &incoming {
                    Incoming::Accepted(_) => conn.write("hello".into())?,
                    Incoming::Message(_) => conn.write(CloseCode::NORMAL.into())?,
                    _ => {}
                }
                Ok(tell.send(incoming)?)
            });
        server.connect(target, PATIENCE, handlers).map(drop)
    });
    connected.expect("a loop that runs").expect("room for a connection");
    let accepted = told.recv_timeout(PATIENCE).expect("an answer");
    assert!(matches!(accepted, Incoming::Accepted(_)), "{accepted:?}");
    assert_eq!(told.recv_timeout(PATIENCE).ok(), text("hello"));
    assert_eq!(ended(&running), CloseReason::Peer);
}
