//! The six tests that the library's ancestor in Go was shipped with, by the same names.

mod common;

use std::net::TcpStream;
use std::sync::mpsc;

use bytes::{Bytes, BytesMut};
use common::{ANY_PORT, assert_over, connect, has_news, ms, read_exactly, send, settle, told};
use wheelhouse::codec::{BytesCodec, Decoder, Encoder, WriteBuffer};
use wheelhouse::{CloseReason, Config, Overload, Reactor, Server};

#[test]
fn server_start_stop() {
    let server = Server::bind(ANY_PORT, BytesCodec::new()).expect("a port");
    let address = server.local_addr();
    let handle = server.start(|_, conn| conn.handlers()).expect("a loop");
    assert!(handle.is_running() && !handle.is_shutting_down() && !handle.is_closed());

    let report = handle.stop(ms(5_000)).expect("a stop");
    assert_eq!((report.closed, report.forced), (0, 0));
    assert!(report.elapsed < ms(1_000), "nobody had to be waited for: {report}");
    assert!(!handle.is_running() && !handle.is_shutting_down() && handle.is_closed());
    assert!(TcpStream::connect(address).is_err(), "it listens no more");
}

#[test]
fn server_connection() {
    let (tell, events) = mpsc::channel();
    let server = Server::bind(ANY_PORT, BytesCodec::new()).expect("a port");
    let address = server.local_addr();
    let handle = server
        .start(move |_, conn| {
            let addresses = (conn.peer_addr(), conn.local_addr().expect("an address"));
            tell.send(Ok(addresses)).expect("the test listens");
            let tell = tell.clone();
            conn.handlers()
                .on_closed(move |_, _, why| tell.send(Err(why)).expect("the test listens"))
        })
        .expect("a loop");

    let client = connect(address);
    assert_eq!(told(&events), Ok((client.local_addr().expect("an address"), address)));
    assert_eq!(handle.connection_count(), 1);
    assert_eq!(handle.run(|_, server| server.connection_count()).expect("a loop"), 1);
    let mut visited = 0;
    let visits = handle.run(move |_, server| {
        server.for_each_connection(|_| visited += 1);
        visited
    });
    assert_eq!(visits.expect("a loop"), 1);

    drop(client);
    assert_eq!(told(&events), Err(CloseReason::Peer));
    assert_eq!(handle.run(|_, server| server.connection_count()).expect("a loop"), 0);
    assert_eq!(handle.connection_count(), 0);
    handle.stop(ms(0)).expect("a stop");
}

#[test]
fn server_echo() {
    let server = Server::bind(ANY_PORT, BytesCodec::new()).expect("a port");
    let address = server.local_addr();
    let handle = server
        .start(|_, conn| conn.handlers().on_read(|_, conn, data| Ok(conn.write(data)?)))
        .expect("a loop");
    let clients: Vec<_> = (0..10).map(|_| connect(address)).collect();
    for (number, client) in clients.iter().enumerate() {
        send(client, format!("Hello from {number}"));
    }
    for (number, client) in clients.iter().enumerate() {
        let greeting = format!("Hello from {number}");
        assert_eq!(read_exactly(client, greeting.len()), greeting.as_bytes());
    }
    handle.stop(ms(0)).expect("a stop");
}

fn full_server(overload: Overload) -> (Reactor<BytesCodec, ()>, [TcpStream; 2]) {
    let server = Server::bind(ANY_PORT, BytesCodec::new())
        .expect("a port")
        .config(Config::default().max_connections(2).overload(overload));
    let address = server.local_addr();
    let mut reactor = server
        .into_reactor(|_, conn| conn.handlers().on_read(|_, conn, data| Ok(conn.write(data)?)))
        .expect("a loop");
    let clients = [connect(address), connect(address)];
    settle(&mut reactor);
    assert_eq!(reactor.server().stats().accepted, 2);
    (reactor, clients)
}

#[test]
fn server_max_connections() {
    // Turned away: it learns at once, nobody else notices, and it is counted.
    let (mut reactor, [first, second]) = full_server(Overload::Reject);
    let third = connect(reactor.local_addr());
    settle(&mut reactor);
    assert_over(&third);
    assert_eq!(reactor.server().stats().rejected, 1);
    assert_eq!(reactor.server().stats().accepted, 2);
    send(&second, "still here");
    settle(&mut reactor);
    assert_eq!(read_exactly(&second, 10), b"still here");
    drop(first);
    settle(&mut reactor);
    let fourth = connect(reactor.local_addr());
    send(&fourth, "room again");
    settle(&mut reactor);
    assert_eq!(read_exactly(&fourth, 10), b"room again");

    // Left waiting: it is served once another has gone, and nobody new knocks to remind the loop.
    let (mut reactor, [first, _second]) = full_server(Overload::Backlog);
    let third = connect(reactor.local_addr());
    send(&third, "patience");
    settle(&mut reactor);
    assert!(!has_news(&third), "it waits");
    assert_eq!((reactor.server().stats().accepted, reactor.server().stats().rejected), (2, 0));
    drop(first);
    settle(&mut reactor);
    assert_eq!(read_exactly(&third, 8), b"patience");
    assert_eq!((reactor.server().stats().accepted, reactor.server().stats().rejected), (3, 0));
}

#[test]
fn byte_parser() {
    let mut codec = BytesCodec::new();
    let mut src = BytesMut::from(&b"test data"[..]);
    assert_eq!(codec.decode(&mut src).expect("bytes are always right").expect("some"), "test data");
    assert_eq!(codec.decode(&mut src).expect("bytes are always right"), None);
    assert!(src.is_empty());

    let mut dst = WriteBuffer::new();
    codec.encode(Bytes::from_static(b"test "), &mut dst).expect("bytes are always right");
    codec.encode(Bytes::from_static(b"data"), &mut dst).expect("bytes are always right");
    assert_eq!(&dst[..], b"test data");
}

#[test]
fn connection_user_data() {
    #[derive(Debug, PartialEq)]
    struct Player(u32);

    let (tell, seen) = mpsc::channel();
    let server = Server::bind(ANY_PORT, BytesCodec::new()).expect("a port");
    let address = server.local_addr();
    let handle = server
        .start(move |_, conn| {
            assert!(conn.user_data::<Player>().is_none(), "nobody has set it");
            conn.set_user_data(Player(41));
            let tell = tell.clone();
            conn.handlers()
                .on_read(|_, conn, _| {
                    conn.user_data_mut::<Player>().expect("it was set").0 += 1;
                    Ok(())
                })
                .on_closed(move |_, conn, _| {
                    assert!(conn.user_data::<String>().is_none(), "it is of another type");
                    let number = conn.user_data::<Player>().expect("it was set").0;
                    conn.set_user_data("replaced");
                    let replaced = conn.user_data::<Player>().is_none()
                        && conn.user_data::<&str>() == Some(&"replaced");
                    tell.send((number, replaced)).expect("the test listens");
                })
        })
        .expect("a loop");
    let client = connect(address);
    send(&client, "one packet");
    drop(client);
    assert_eq!(told(&seen), (42, true));
    handle.stop(ms(0)).expect("a stop");
}
