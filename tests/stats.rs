//! Every counter of `Stats`, by a script whose outcome is known to the byte.

mod common;

use std::net::TcpStream;
use std::sync::mpsc;

use common::{
    ANY_PORT, PATIENCE, Words, assert_over, connect, connect_narrow, ms, read_exactly, read_line,
    reset, send, settle, told, turn_until, words,
};
use wheelhouse::{Config, ConnectionHandle, Handlers, Reactor, ServerRef, SlowConsumers, Stats};

type Loop = Reactor<Words, ()>;

fn server(config: Config) -> Loop {
    words(config.linger(ms(0)))
        .into_reactor(|_, conn| {
            conn.handlers().on_read(|_, conn, word| match &*word {
                "fail" => Err(wheelhouse::HandlerError::msg("as told")),
                "panic" => panic!("as told"),
                _ => Ok(conn.write(word)?),
            })
        })
        .expect("a loop")
}

fn stats(reactor: &mut Loop) -> Stats {
    reactor.server().stats()
}

fn join(reactor: &mut Loop) -> TcpStream {
    let client = connect(reactor.local_addr());
    settle(reactor);
    client
}

#[test]
fn a_new_server_has_done_nothing() {
    assert_eq!(stats(&mut server(Config::default())), Stats::default());
}

#[test]
fn connections_are_counted_by_what_became_of_them() {
    let mut reactor = server(Config::default().max_connections(3));
    let clients: Vec<_> = (0..5).map(|_| join(&mut reactor)).collect();
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.accepted, so_far.open, so_far.rejected, so_far.closed), (3, 3, 2, 0));
    drop(clients);
    settle(&mut reactor);
    let listener = std::net::TcpListener::bind(ANY_PORT).expect("a port");
    let to = listener.local_addr().expect("an address");
    let mut server: ServerRef<'_, Words, ()> = reactor.server();
    server.connect(to, PATIENCE, Handlers::new()).expect("room");
    assert_eq!((server.stats().open, server.stats().connected), (1, 0), "it is being made");
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.accepted, so_far.connected), (3, 1));
    assert_eq!((so_far.open, so_far.closed), (1, 3));
    assert_eq!((so_far.accept_failures, so_far.peer_errors), (0, 0));
}

#[test]
fn bytes_and_packets_are_counted_both_ways() {
    let mut reactor = server(Config::default());
    let clients = [join(&mut reactor), join(&mut reactor)];
    send(&clients[0], "one\ntwo\nthr"); // 11 bytes, two packets
    send(&clients[1], "four\n"); // 5 bytes, one packet
    settle(&mut reactor);
    assert_eq!(read_exactly(&clients[0], 8), b"one\ntwo\n");
    assert_eq!(read_line(&clients[1]), "four");
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.bytes_in, so_far.packets_in), (16, 3));
    assert_eq!((so_far.bytes_out, so_far.packets_out), (13, 3));
    assert_eq!(so_far.queued_bytes, 0);
    let report = reactor.server().broadcast("all".into(), SlowConsumers::Skip);
    assert_eq!(report.sent, 2);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.packets_out, so_far.queued_bytes, so_far.bytes_out), (5, 8, 13));
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.packets_out, so_far.queued_bytes, so_far.bytes_out), (5, 0, 21));
    send(&clients[0], "ee\n");
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.bytes_in, so_far.packets_in, so_far.packets_out), (19, 4, 6));
    // What a closing connection throws away was read all the same.
    send(&clients[1], "!malformed\nand more\n");
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.bytes_in, so_far.packets_in), (39, 4));
    assert_eq!((so_far.peer_errors, so_far.packets_dropped), (1, 0));
}

#[test]
fn errors_are_counted_by_blame() {
    let mut reactor = server(Config::default());
    let errors = |reactor: &mut Loop| {
        let stats = reactor.server().stats();
        (stats.peer_errors, stats.system_errors, stats.caller_errors)
    };
    assert_eq!(errors(&mut reactor), (0, 0, 0));
    let client = join(&mut reactor);
    send(&client, "!malformed\n");
    settle(&mut reactor);
    assert_eq!(errors(&mut reactor), (1, 0, 0));
    reset(join(&mut reactor));
    settle(&mut reactor);
    assert_eq!(errors(&mut reactor), (2, 0, 0));
    let cut_off = join(&mut reactor);
    send(&cut_off, "half a wo");
    drop(cut_off);
    settle(&mut reactor);
    assert_eq!(errors(&mut reactor), (3, 0, 0));
    for (words, so_many) in [("fail\n", 1), ("panic\n", 2), ("!panic\n", 3), ("!stall\n", 4)] {
        let client = join(&mut reactor);
        send(&client, words);
        settle(&mut reactor);
        assert_eq!(errors(&mut reactor), (3, 0, so_many), "{words}");
    }
    // The system does not let a stream begin to everybody at once: nothing leaves this machine.
    let everybody = "255.255.255.255:9".parse().expect("an address");
    reactor.server().connect(everybody, PATIENCE, Handlers::new()).expect("room");
    settle(&mut reactor);
    assert_eq!(errors(&mut reactor), (3, 1, 4));
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.accepted, so_far.connected), (7, 0));
    assert_eq!((so_far.open, so_far.closed), (0, 8));
    assert_eq!(so_far.errors_dropped, 0, "one waits with each connection, where there is room");
}

#[test]
fn slow_consumers_and_refused_packets_are_counted() {
    let mut reactor = server(Config::default().outbox(10, 20, 1_000_000));
    let client = connect_narrow(reactor.local_addr());
    settle(&mut reactor);
    let long = "x".repeat(100_000);
    let mut sent = 0;
    let lost = loop {
        let report = reactor.server().broadcast(long.clone(), SlowConsumers::Skip);
        sent += report.sent as u64;
        if report.skipped == 1 {
            let stats = reactor.server().stats();
            assert_eq!((stats.packets_refused, stats.packets_out), (1, sent));
            assert!(stats.queued_bytes > 900_000 - 100, "{stats:?}");
            break reactor.server().broadcast(long, SlowConsumers::Disconnect);
        }
        settle(&mut reactor);
    };
    assert_eq!(lost.disconnected, 1);
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.slow_consumers, so_far.peer_errors, so_far.packets_refused), (1, 1, 2));
    assert_eq!((so_far.queued_bytes, so_far.open, so_far.closed), (0, 0, 1));
    drop(client);
}

#[test]
fn a_peer_that_takes_nothing_is_a_slow_consumer() {
    let mut reactor = server(Config::default().write_timeout(ms(30)));
    let client = connect_narrow(reactor.local_addr());
    settle(&mut reactor);
    reactor.server().broadcast("x".repeat(32 << 20), SlowConsumers::Skip);
    turn_until(&mut reactor, |reactor| stats(reactor).closed == 1);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.slow_consumers, so_far.peer_errors, so_far.queued_bytes), (1, 1, 0));
    drop(client);
}

/// A connection without handlers, and its handle.
fn silent(config: Config) -> (Loop, TcpStream, ConnectionHandle<Words>) {
    let (give, links) = mpsc::channel();
    let mut reactor = words(config.linger(ms(0)))
        .into_reactor(move |_, conn| {
            give.send(conn.handle()).expect("the test listens");
            conn.handlers()
        })
        .expect("a loop");
    let client = join(&mut reactor);
    let link = told(&links);
    (reactor, client, link)
}

#[test]
fn packets_that_nobody_will_see_are_counted() {
    // Decoded, and never read.
    let mut reactor: Loop =
        words(Config::default()).into_reactor(|_, conn| conn.handlers()).expect("a loop");
    let client = join(&mut reactor);
    send(&client, "one\ntwo\nthree\n");
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.packets_in, so_far.packets_dropped), (3, 0));
    assert!(so_far.queued_bytes >= 14, "with their overhead: {}", so_far.queued_bytes);
    let mut read = None;
    reactor.server().for_each_connection(|conn| read = conn.read());
    assert_eq!(read.as_deref(), Some("one"));
    drop(client);
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.packets_dropped, so_far.queued_bytes, so_far.open), (2, 0, 0));

    // Taken from a handle, and not to be sent any more.
    let (mut reactor, client, link) = silent(Config::default());
    for word in ["four", "five"] {
        link.try_write(word.into()).expect("room");
    }
    link.abort();
    settle(&mut reactor);
    assert_over(&client);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.packets_dropped, so_far.packets_out, so_far.bytes_out), (2, 0, 0));
}

#[test]
fn errors_that_gave_way_are_counted() {
    let (mut reactor, _client, link) = silent(Config::default().errors(1));
    for _ in 0..4 {
        link.try_write("unspeakable".into()).expect("room");
    }
    settle(&mut reactor);
    let so_far = stats(&mut reactor);
    assert_eq!((so_far.errors_dropped, so_far.caller_errors, so_far.packets_out), (3, 4, 0));
}

#[test]
fn timers_are_counted_while_they_are_pending() {
    let mut reactor = server(Config::default().idle_timeout(PATIENCE));
    let mut server = reactor.server();
    let once = server.after(PATIENCE, |_, _| {});
    server.every(PATIENCE, |_, _| {});
    assert_eq!(server.stats().timers, 2);
    assert!(server.cancel(once) && !server.cancel(once));
    assert_eq!(server.stats().timers, 1);
    let client = join(&mut reactor);
    assert_eq!(stats(&mut reactor).timers, 2, "the connection's deadline is one");
    reactor.server().for_each_connection(|conn| {
        conn.every(PATIENCE, |_, _| {});
    });
    assert_eq!(stats(&mut reactor).timers, 3);
    drop(client);
    settle(&mut reactor);
    assert_eq!(stats(&mut reactor).timers, 1, "they die with it");
}

#[test]
fn a_handle_sees_the_same_numbers() {
    let server = words(Config::default());
    let address = server.local_addr();
    let handle = server
        .start(|_, conn| conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?)))
        .expect("a loop");
    let client = connect(address);
    send(&client, "word\n");
    assert_eq!(read_line(&client), "word");
    let stats = handle.stats().expect("a loop");
    assert_eq!((stats.accepted, stats.open, handle.connection_count()), (1, 1, 1));
    assert_eq!((stats.bytes_in, stats.bytes_out), (5, 5));
    assert_eq!((stats.packets_in, stats.packets_out), (1, 1));
    handle.stop(ms(0)).expect("a stop");
}
