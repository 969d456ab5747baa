//! Every limit of `Config`, hit: what gives way, what waits, and what is counted. That of connections is in `seed.rs`, the
//! deadlines are in `deadlines.rs`.

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use common::{
    ANY_PORT, PATIENCE, Words, assert_over, connect, connect_from, connect_narrow, echo, first_id,
    ms, now, pass_in_child, read_exactly, read_line, send, settle, stats, told, turn_until,
    turn_while, words,
};
use wheelhouse::codec::BytesCodec;
use wheelhouse::{
    CloseReason, Config, ConnectError, ConnectionHandle, Error, HandleError, Reactor, Server,
    WriteError,
};

/// One turn that must find something to do without being told again: it is given all the time there is, and takes none.
fn prompt_turn<P: wheelhouse::codec::Protocol, S: 'static>(reactor: &mut Reactor<P, S>) {
    let began = now();
    let _ = reactor.turn(Some(PATIENCE)).expect("a working poll");
    assert!(began.elapsed() < PATIENCE / 2, "it slept over what a budget had left");
}

// Newcomers.

#[test]
fn connections_are_counted_outbound_ones_too() {
    let mut reactor = echo(Config::default().max_connections(1));
    let _one = connect(reactor.local_addr());
    settle(&mut reactor);
    let to = reactor.local_addr();
    let handlers = reactor.server().handlers();
    let refused = reactor.server().connect(to, PATIENCE, handlers);
    assert_eq!(refused, Err(ConnectError::Full { limit: 1 }));
}

#[test]
fn connections_by_default_are_as_many_as_descriptors_allow() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if !common::is_child() {
        return pass_in_child("connections_by_default_are_as_many_as_descriptors_allow");
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64 + 3), maximum }).expect("a limit");
    let mut reactor = echo(Config::default());
    let clients: Vec<_> = (0..5).map(|_| connect(reactor.local_addr())).collect();
    settle(&mut reactor);
    assert_eq!((stats(&mut reactor).accepted, stats(&mut reactor).rejected), (3, 2));
    assert_eq!(clients.len(), 5);
}

#[test]
fn connections_from_one_address() {
    let mut reactor = echo(Config::default().max_connections_per_address(2));
    let address = reactor.local_addr();
    let (many, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 9, 8, 7));
    let first = connect_from(many, address);
    let _second = connect_from(many, address);
    let third = connect_from(many, address);
    let _elsewhere = connect_from(other, address);
    settle(&mut reactor);
    assert_over(&third);
    assert_eq!((stats(&mut reactor).accepted, stats(&mut reactor).rejected), (3, 1));
    drop(first);
    settle(&mut reactor);
    let _again = connect_from(many, address);
    settle(&mut reactor);
    assert_eq!((stats(&mut reactor).accepted, stats(&mut reactor).rejected), (4, 1));
}

#[test]
fn accepts_in_a_turn() {
    let mut reactor = echo(Config::default().accepts_per_turn(4));
    let _clients: Vec<_> = (0..10).map(|_| connect(reactor.local_addr())).collect();
    for accepted in [4, 8, 10] {
        prompt_turn(&mut reactor);
        assert_eq!(stats(&mut reactor).accepted, accepted);
    }
}

#[test]
fn the_backlog() {
    let server = words(Config::default().backlog(2));
    let address = server.local_addr();
    let mut reactor = server.into_reactor(|_, conn| conn.handlers()).expect("a loop");
    // The kernel completes as many, and one, ahead of a loop that does not turn; then it is silent.
    let mut waiting = Vec::new();
    let silent = loop {
        match TcpStream::connect_timeout(&address, ms(100)) {
            Ok(client) => waiting.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(silent.kind(), ErrorKind::TimedOut);
    assert_eq!(waiting.len(), 3);
    turn_until(&mut reactor, |reactor| stats(reactor).accepted >= 3);
}

// Budgets.

#[test]
fn bytes_read_from_one_connection_in_a_turn() {
    let mut reactor = Server::bind(ANY_PORT, BytesCodec::new())
        .expect("a port")
        .config(Config::default().read_budget(1_000))
        .state((0, Vec::new()))
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|(most, _): &mut (usize, Vec<_>), _, data: Bytes| {
                    *most = (*most).max(data.len());
                    Ok(())
                })
                .on_closed(|(_, closed), _, why| closed.push(why))
        })
        .expect("a loop");
    let busy = connect(reactor.local_addr());
    let modest = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&busy, vec![b'b'; 3_500]);
    send(&modest, vec![b'm'; 10]);
    drop((busy, modest));
    for expected in [1_010, 2_010, 3_010, 3_510] {
        prompt_turn(&mut reactor);
        assert_eq!(stats(&mut reactor).bytes_in, expected, "each its share, in each turn");
    }
    // The end stands behind the bytes, and no edge tells of it again.
    while reactor.state().1.len() < 2 {
        prompt_turn(&mut reactor);
    }
    assert_eq!(reactor.state().0, 1_000);
    assert_eq!(reactor.state().1[..], [CloseReason::Peer; 2]);
}

#[test]
fn packets_from_one_connection_in_a_turn() {
    let mut reactor = echo(Config::default().packet_budget(3));
    let busy = connect(reactor.local_addr());
    let modest = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&busy, "b\n".repeat(8));
    send(&modest, "m\n");
    for expected in [4, 7, 9] {
        prompt_turn(&mut reactor);
        assert_eq!(stats(&mut reactor).packets_in, expected);
    }
    assert_eq!(read_line(&modest), "m");
}

// Inboxes.

#[test]
fn the_inbox() {
    let mut reactor =
        words(Config::default().inbox(5)).into_reactor(|_, conn| conn.handlers()).expect("a loop");
    let client = connect_narrow(reactor.local_addr());
    client.set_nonblocking(true).expect("non-blocking");
    // The peer is slowed down by TCP itself: it can write until the kernel's buffers are full.
    let line = "x".repeat(99_999) + "\n";
    let mut taken = 0;
    let mut stuck = 0;
    while stuck < 3 {
        match std::io::Write::write(&mut &client, line.as_bytes()) {
            Ok(some) => taken += some,
            Err(_) => {
                stuck += 1;
                settle(&mut reactor);
            }
        }
        assert!(taken < 1 << 28, "nothing slows the peer down");
    }
    assert_eq!(stats(&mut reactor).packets_in, 5);
    let queued = stats(&mut reactor).queued_bytes;
    assert!((500_000..600_000).contains(&queued), "with their overhead: {queued}");
    let mut reads = 0;
    reactor.server().for_each_connection(|conn| {
        reads += usize::from(conn.read().is_some()) + usize::from(conn.read().is_some());
    });
    assert_eq!(reads, 2);
    turn_until(&mut reactor, |reactor| stats(reactor).packets_in == 7);
    settle(&mut reactor);
    assert_eq!(stats(&mut reactor).packets_in, 7);
}

// Outboxes.

#[test]
fn the_outboxs_hard_cap_gives_the_packet_back() {
    let mut reactor = words(Config::default().outbox(10, 20, 1_000))
        .into_reactor(|_, conn| {
            let word = || "x".repeat(99); // a frame of 100 bytes
            for _ in 0..10 {
                conn.write(word()).expect("it fits");
            }
            assert_eq!(conn.queued(), 1_000);
            let refused = conn.write("y".into()).expect_err("not a byte more");
            assert!(refused.is_full());
            assert_eq!(refused.to_string(), "the connection's outbox is full: its peer lags");
            assert_eq!(refused.into_packet().as_deref(), Some("y"));
            conn.handlers().on_read(|_, conn, _| {
                // A large packet on an empty outbox always goes; and nothing with it.
                assert_eq!(conn.queued(), 0);
                conn.write("z".repeat(4_999))?;
                assert!(matches!(conn.write(String::new()), Err(WriteError::Full(_))));
                Ok(())
            })
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    assert_eq!(read_exactly(&client, 1_000).len(), 1_000);
    send(&client, "more\n");
    settle(&mut reactor);
    assert_eq!(read_line(&client).len(), 4_999);
    let stats = stats(&mut reactor);
    assert_eq!((stats.packets_out, stats.packets_refused, stats.queued_bytes), (11, 2, 0));
}

#[test]
fn the_outboxs_marks_spare_an_answering_handler_every_refusal() {
    const ANSWERS: usize = 5_000;
    let mut reactor = words(Config::default().outbox(1_000, 4_000, 8_000))
        .state(0)
        .into_reactor(|_, conn| {
            conn.handlers().on_read(|most: &mut usize, conn, word| {
                conn.write(word.repeat(1_000))?;
                *most = (*most).max(conn.queued());
                Ok(())
            })
        })
        .expect("a loop");
    let client = connect_narrow(reactor.local_addr());
    send(&client, "abc\n".repeat(ANSWERS));
    settle(&mut reactor);
    let handled = stats(&mut reactor).packets_in;
    assert!(handled < ANSWERS as u64, "the high mark stops the reading");
    assert!(stats(&mut reactor).queued_bytes > 1_000, "and so it stays down to the low one");
    turn_while(&mut reactor, move || read_exactly(&client, ANSWERS * 3_001));
    let stats = stats(&mut reactor);
    assert_eq!((stats.packets_in, stats.packets_refused), (ANSWERS as u64, 0));
    assert!((4_000..8_000).contains(reactor.state()), "{}", reactor.state());
}

#[test]
fn what_came_while_others_filled_the_outbox_is_handled_once_it_drains() {
    let mut reactor = echo(Config::default().outbox(10, 20, 1 << 30));
    let client = connect_narrow(reactor.local_addr());
    settle(&mut reactor);
    let (id, size) = (first_id(&mut reactor), 8 << 20);
    let mut server = reactor.server();
    let mut conn = server.connection(id).expect("it is there");
    conn.write("x".repeat(size)).expect("an empty outbox");
    settle(&mut reactor);
    send(&client, "are you there?\n");
    settle(&mut reactor);
    assert_eq!(stats(&mut reactor).packets_in, 0, "there is no room for an answer");
    let answer = turn_while(&mut reactor, move || {
        read_exactly(&client, size + 1);
        read_line(&client)
    });
    assert_eq!(answer, "are you there?");
}

#[test]
fn bytes_in_all_queues_together() {
    let mut reactor = words(Config::default().max_queued_bytes(3_000_000).outbox(10, 20, 1 << 30))
        .state(Vec::new())
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|_, conn, word| Ok(conn.write("x".repeat(word.parse()?))?))
                .on_error(|seen: &mut Vec<_>, conn, error| {
                    assert!(matches!(error, Error::SlowConsumer { queued } if queued > 2_000_000));
                    seen.push((conn.id(), None));
                })
                .on_closed(|seen, conn, why| seen.push((conn.id(), Some(why))))
        })
        .expect("a loop");
    let clients: Vec<_> = (0..3).map(|_| connect_narrow(reactor.local_addr())).collect();
    settle(&mut reactor);
    let mut ids = Vec::new();
    reactor.server().for_each_connection(|conn| ids.push(conn.id()));
    let mut server = reactor.server();
    let mut queue = |id, bytes| {
        let mut conn = server.connection(id).expect("it is there");
        conn.write("x".repeat(bytes)).expect("under its cap");
        server.stats().queued_bytes
    };
    queue(ids[0], 500_000);
    queue(ids[1], 2_100_000);
    assert_eq!(queue(ids[2], 300_000), 2_900_003);
    // It is not the one that writes next that goes, but the one that holds most.
    assert_eq!(queue(ids[0], 200_000), 1_000_003);
    settle(&mut reactor);
    assert_eq!(reactor.state()[..], [(ids[1], None), (ids[1], Some(CloseReason::SlowConsumer))]);
    assert_eq!(stats(&mut reactor).slow_consumers, 1);
    assert_eq!((stats(&mut reactor).open, clients.len()), (2, 3));
}

// Other threads.

/// A loop that does not turn until it is told to, with one connection and its handle.
fn with_link(config: Config) -> (Reactor<Words, ()>, TcpStream, ConnectionHandle<Words>) {
    let (give, links) = mpsc::channel();
    let mut reactor = words(config)
        .into_reactor(move |_, conn| {
            give.send(conn.handle()).expect("the test listens");
            conn.handlers()
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    let link = told(&links);
    (reactor, client, link)
}

#[test]
fn commands_waiting() {
    let mut reactor = echo(Config::default().commands(3));
    let handle = reactor.handle();
    for _ in 0..3 {
        handle.try_run(|_, _| ()).expect("room");
    }
    assert!(matches!(handle.try_run(|_, _| ()), Err(HandleError::Full)));
    let asked = turn_while(&mut reactor, move || handle.run(|_, server| server.connection_count()));
    assert_eq!(asked.expect("a turn makes room"), 0);
}

#[test]
fn writes_waiting_in_a_handle() {
    let (mut reactor, client, link) = with_link(Config::default().handle_writes(4));
    for word in ["a", "b", "c", "d"] {
        link.try_write(word.into()).expect("room");
    }
    let refused = link.try_write("e".into()).expect_err("four are enough");
    assert_eq!(refused.into_packet().as_deref(), Some("e"));
    let patient = link.clone();
    let refused = thread::spawn(move || patient.write_timeout("f".into(), ms(20)));
    assert!(matches!(refused.join().expect("no panic"), Err(WriteError::Full(_))));
    let blocked = turn_while(&mut reactor, move || link.write("g".into()));
    blocked.expect("a turn makes room");
    settle(&mut reactor);
    assert_eq!(read_exactly(&client, 10), b"a\nb\nc\nd\ng\n");
}

#[test]
fn errors_waiting() {
    let (mut reactor, _client, link) = with_link(Config::default().errors(2));
    for _ in 0..5 {
        link.try_write("unspeakable".into()).expect("room in the channel");
    }
    settle(&mut reactor);
    assert_eq!(stats(&mut reactor).errors_dropped, 3);
    assert_eq!(stats(&mut reactor).caller_errors, 5);
    for _ in 0..2 {
        let error = link.try_error().expect("the newest are kept");
        assert_eq!(error.to_string(), "the handler failed: unfit: an unspeakable packet");
    }
    assert!(link.try_error().is_err());
}

#[test]
fn errors_do_not_wait_where_somebody_listens() {
    let (give, links) = mpsc::channel();
    let mut reactor = words(Config::default())
        .state(0)
        .into_reactor(move |_, conn| {
            give.send(conn.handle()).expect("the test listens");
            conn.handlers().on_error(|errors: &mut u32, conn, _| {
                assert!(conn.is_open(), "it was only one packet");
                *errors += 1;
            })
        })
        .expect("a loop");
    let _client = connect(reactor.local_addr());
    settle(&mut reactor);
    told(&links).try_write("unspeakable".into()).expect("room in the channel");
    settle(&mut reactor);
    assert_eq!(*reactor.state(), 1);
}

// Contradictions.

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let base = Config::default;
    for (config, name) in [
        (base().max_connections(0), "max_connections is 0"),
        (base().max_connections_per_address(0), "max_connections_per_address is 0"),
        (base().accepts_per_turn(0), "accepts_per_turn is 0"),
        (base().read_budget(0), "read_budget is 0"),
        (base().packet_budget(0), "packet_budget is 0"),
        (base().inbox(0), "inbox is 0"),
        (base().commands(0), "commands is 0"),
        (base().handle_writes(0), "handle_writes is 0"),
        (base().errors(0), "errors is 0"),
        (base().backlog(0), "backlog is 0"),
        (base().outbox(0, 0, 10), "outbox's high mark is 0"),
        (base().outbox(20, 10, 30), "outbox(20, 10, 30) is out of order"),
        (base().outbox(10, 30, 20), "outbox(10, 30, 20) is out of order"),
    ] {
        let error = words(config.clone()).into_reactor(|_, conn| conn.handlers()).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(name), "{error}");
        let error = words(config).start(|_, conn| conn.handlers()).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
    }
    let taken = words(Config::default());
    let address: SocketAddr = taken.local_addr();
    let error = Server::bind(address, Words).expect_err("the port is taken");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
