//! The blocking client against plain sockets that send what no server would.

mod kit;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kit::{PATIENCE, begin, in_time, lines, read_to_end, say, take};
use wheelhouse::codec::{BytesCodec, Decoder, LengthDelimitedCodec, LinesCodec};
use wheelhouse::{Blame, Client, ClientError};

const SOON: Duration = Duration::from_millis(50);

/// A client, and the plain socket at its other end.
fn pair<C>(codec: C) -> (Client<C>, TcpStream) {
    pair_over(TcpListener::bind("127.0.0.1:0").expect("a free port"), codec)
}

fn pair_over<C>(listener: TcpListener, codec: C) -> (Client<C>, TcpStream) {
    let address = listener.local_addr().expect("an address");
    let mut client = Client::connect(address, codec).expect("a connection on loopback");
    client.set_read_timeout(Some(PATIENCE));
    let (peer, _) = listener.accept().expect("the client");
    peer.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    peer.set_nodelay(true).expect("a socket option");
    (client, peer)
}

/// A listener whose connections take little that nobody reads.
fn narrow_listener() -> TcpListener {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a socket option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(1).expect("a listener");
    socket.into()
}

#[test]
fn packets_come_whole_however_they_are_cut() {
    let (mut client, mut peer) = pair(LinesCodec::new(80));
    let sending = begin(move || {
        for byte in "one\r\ntwo\n\nthe last".bytes() {
            peer.write_all(&[byte]).expect("the client reads");
        }
    });
    for line in ["one", "two", "", "the last"] {
        assert_eq!(client.read().expect("a line").as_deref(), Some(line));
    }
    sending.wait("the peer");
    assert_eq!(client.read().expect("the end"), None);
    assert_eq!(client.read().expect("the end, again"), None);
}

#[test]
fn several_packets_in_one_read_come_one_by_one() {
    let (mut client, mut peer) = pair(LengthDelimitedCodec::new(16));
    peer.write_all(&[0, 0, 0, 1, b'a', 0, 0, 0, 2, b'b', b'c']).expect("the client reads");
    assert_eq!(client.read().expect("a frame").as_deref(), Some(&b"a"[..]));
    assert_eq!(client.read().expect("a frame").as_deref(), Some(&b"bc"[..]));
}

#[test]
fn a_read_that_timed_out_goes_on_where_it_was() {
    let (mut client, mut peer) = pair(LinesCodec::new(80));
    say(&mut peer, "hal");
    client.set_read_timeout(Some(SOON));
    let error = loop {
        // The bytes may come later than the first limit.
        match client.read().expect_err("half a line") {
            ClientError::TimedOut { bytes: 0, .. } => {}
            error => break error,
        }
    };
    assert!(error.is_timeout() && error.blame() == Blame::Peer, "{error:?}");
    let message = "the peer sent no whole packet within 50ms (3 bytes of one have come)";
    assert_eq!(error.to_string(), message);
    say(&mut peer, "f\n");
    client.set_read_timeout(Some(PATIENCE));
    assert_eq!(client.read().expect("the line").as_deref(), Some("half"));
}

#[test]
fn a_peer_that_trickles_does_not_move_the_deadline() {
    let (mut client, mut peer) = pair(LinesCodec::new(1 << 30));
    let trickling = begin(move || while peer.write_all(b".").is_ok() {});
    client.set_read_timeout(Some(SOON));
    let error = in_time("a read with a limit", move || client.read().expect_err("no line"));
    assert!(error.is_timeout(), "{error}");
    trickling.wait("the peer, once the client is gone");
}

#[test]
fn a_stream_that_ends_inside_a_packet_is_truncated() {
    let (mut client, mut peer) = pair(LengthDelimitedCodec::new(16));
    peer.write_all(&[0, 0, 0, 10, b'a', b'b', b'c']).expect("the client reads");
    drop(peer);
    let error = client.read().expect_err("an unfinished frame");
    assert!(matches!(error, ClientError::Truncated { bytes: 7 }), "{error:?}");
    assert_eq!(error.blame(), Blame::Peer);
    let error = client.read().expect_err("no more");
    assert!(matches!(error, ClientError::Broken), "{error:?}");
}

#[test]
fn a_packet_over_the_maximum_is_refused_and_nothing_is_read_after_it() {
    let (mut client, mut peer) = pair(LinesCodec::new(8));
    say(&mut peer, "short\nnine char\nshort\n");
    assert_eq!(client.read().expect("a line").as_deref(), Some("short"));
    let error = client.read().expect_err("a line of 9 bytes");
    assert!(error.to_string().starts_with("the peer broke the protocol: "), "{error}");
    assert!(error.to_string().contains('8'), "it tells the maximum: {error}");
    assert_eq!(error.blame(), Blame::Peer);
    assert!(matches!(client.read(), Err(ClientError::Broken)));
}

#[test]
fn a_write_that_timed_out_is_completed_by_flush() {
    const LENGTH: usize = 32 << 20;
    let (mut client, mut peer) = pair_over(narrow_listener(), BytesCodec::new());
    client.set_write_timeout(Some(SOON));
    let packet: Bytes = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let error = client.write(packet.clone()).expect_err("nobody reads");
    let ClientError::TimedOut { during: "write", bytes, .. } = error else { panic!("{error:?}") };
    assert!(bytes > 0 && bytes <= LENGTH, "{bytes} bytes are left");
    let error = client.write(Bytes::from_static(b"more")).expect_err("the first comes first");
    assert!(matches!(error, ClientError::Unsent { bytes: left } if left == bytes), "{error:?}");
    assert!(matches!(client.finish(), Err(ClientError::Unsent { .. })));

    let reading = begin(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("the client's end");
        all
    });
    client.set_write_timeout(Some(PATIENCE));
    client.flush().expect("the peer reads");
    client.write(Bytes::from_static(b"more")).expect("the peer reads");
    client.finish().expect("an end");
    let all = reading.wait("the peer");
    assert_eq!(all.len(), LENGTH + 4);
    assert!(all[..LENGTH] == packet[..] && all.ends_with(b"more"));
}

#[test]
fn a_refused_packet_leaves_nothing_behind() {
    let (mut client, mut peer) = pair(LinesCodec::new(80));
    let error = client.write("two\nlines").expect_err("a line has no line feed");
    assert!(matches!(error, ClientError::Encode(_)), "{error:?}");
    assert_eq!(error.blame(), Blame::Caller);
    client.write("one line").expect("the connection is as it was");
    client.finish().expect("an end");
    assert_eq!(read_to_end(&mut peer), "one line\n");
}

#[test]
fn nobody_listening_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = Client::connect(address, BytesCodec::new()).expect_err("nobody listens");
    assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")), "{error}");
    assert_eq!(error.blame(), Blame::Peer);
}

#[test]
fn a_connect_that_nobody_answers_times_out() {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(0).expect("a listener");
    let listener: TcpListener = socket.into(); // it never accepts, and its backlog is soon full
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    let error = loop {
        assert!(waiting.len() < 16, "a backlog of 0 took {} connections", waiting.len());
        match Client::connect_timeout(address, 2 * SOON, BytesCodec::new()) {
            Ok(client) => waiting.push(client),
            Err(error) => break error,
        }
    };
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(error.to_string(), "the peer did not answer the connect within 100ms");
}

#[test]
fn a_close_loses_nothing_though_input_waits() {
    let (mut client, mut peer) = pair(LinesCodec::new(80));
    peer.write_all(&[b'.'; 32 * 1024]).expect("room in the socket");
    client.write("last words").expect("a write");
    let closing = begin(move || client.close().expect("the peer ends its side"));
    assert_eq!(read_to_end(&mut peer), "last words\n");
    drop(peer);
    closing.wait("close");
}

#[test]
fn the_halves_work_at_the_same_time_and_hanging_up_ends_the_reader() {
    let server = lines()
        .start(|(), conn| conn.handlers().on_read(|(), conn, line| Ok(conn.write(line)?)))
        .expect("a server");
    let client = Client::connect(server.local_addr(), LinesCodec::new(80)).expect("a connection");
    assert_eq!(client.peer_addr().expect("connected"), server.local_addr());
    let (mut reader, mut writer) = client.split();
    let (tell, heard) = mpsc::channel();
    let reading = begin(move || {
        while let Some(line) = reader.read().expect("a line or the end") {
            tell.send(line).expect("the test listens");
        }
    });
    for line in ["one", "two"] {
        writer.write(line).expect("a write");
        assert_eq!(take(&heard), line);
    }
    writer.hang_up();
    reading.wait("the reader, hung up on");
    server.stop(PATIENCE).expect("a stop");
}

/// Makes packets of nothing.
struct Barren;

impl Decoder for Barren {
    type Packet = ();
    type Error = std::convert::Infallible;

    fn decode(&mut self, _: &mut BytesMut) -> Result<Option<()>, Self::Error> {
        Ok(Some(()))
    }
}

#[test]
fn a_decoder_that_consumes_nothing_is_found_out() {
    let (mut client, _peer) = pair(Barren);
    let error = in_time("reading", move || {
        loop {
            if let Err(error) = client.read() {
                break error;
            }
        }
    });
    assert!(matches!(error, ClientError::StalledDecoder { .. }), "{error:?}");
    assert_eq!(error.blame(), Blame::Caller);
}
