//! Each `CloseReason` by what brings it about, told to `on_closed` exactly once, and the error that went before it.

mod common;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Words, connect, connect_narrow, ms, now, reset, send, settle, turn_until, words};
use wheelhouse::{Blame, CloseReason, Config, Connection, Handlers, Reactor, SlowConsumers};

#[derive(Default)]
struct Seen {
    accepted: usize,
    closed: Vec<CloseReason>,
    errors: Vec<(Blame, String)>,
}

type Loop = Reactor<Words, Seen>;

fn handlers(conn: &Connection<'_, Words, Seen>) -> Handlers<Words, Seen> {
    conn.handlers()
        .on_read(|_, conn, word| match &*word {
            "close" => {
                conn.close();
                Ok(())
            }
            "abort" => {
                conn.abort();
                Ok(())
            }
            "flood" => Ok(conn.write("much ".repeat(2_000_000))?),
            "fail" => "not a number".parse::<u32>().map(drop).map_err(Into::into),
            "panic" => panic!("on_read panics, as told"),
            _ => Ok(()),
        })
        .on_error(|seen, _, error| seen.errors.push((error.blame(), error.to_string())))
        .on_closed(|seen, conn, why| {
            assert!(conn.is_closed() && !conn.is_open());
            seen.closed.push(why);
        })
}

fn server(config: Config) -> Loop {
    words(config)
        .state(Seen::default())
        .into_reactor(|seen, conn| {
            seen.accepted += 1;
            handlers(conn)
        })
        .expect("a loop")
}

/// One connection, to which `script` happens: why it closed, and what it was told before.
fn end_by(config: Config, script: impl FnOnce(&mut Loop, TcpStream) -> Option<TcpStream>) -> Seen {
    let mut reactor = server(config.linger(ms(20)));
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    let kept = script(&mut reactor, client);
    once(reactor, kept)
}

fn once(mut reactor: Loop, kept: Option<TcpStream>) -> Seen {
    turn_until(&mut reactor, |reactor| !reactor.state().closed.is_empty());
    drop(kept);
    settle(&mut reactor);
    let seen = std::mem::take(reactor.state_mut());
    drop(reactor);
    assert_eq!(seen.closed.len(), 1, "exactly once: {:?}", seen.closed);
    seen
}

/// The client says something, and stays.
fn say(words: &str) -> impl FnOnce(&mut Loop, TcpStream) -> Option<TcpStream> {
    move |_, client| {
        send(&client, words);
        Some(client)
    }
}

fn assert_error(seen: &Seen, blame: Blame, part: &str) {
    let [(blamed, message)] = &seen.errors[..] else { panic!("one error: {:?}", seen.errors) };
    assert_eq!(*blamed, blame, "{message}");
    assert!(message.contains(part), "{message:?} lacks {part:?}");
}

#[test]
fn peer() {
    let seen = end_by(Config::default(), |_, _dropped| None);
    assert_eq!(seen.closed, [CloseReason::Peer]);
    assert!(seen.errors.is_empty() && seen.accepted == 1);
}

#[test]
fn local() {
    for word in ["close\n", "abort\n"] {
        let seen = end_by(Config::default(), say(word));
        assert_eq!(seen.closed, [CloseReason::Local]);
        assert!(seen.errors.is_empty());
    }
}

#[test]
fn idle() {
    let began = now();
    let seen = end_by(Config::default().idle_timeout(ms(50)), say("one word\n"));
    assert!(began.elapsed() >= ms(50));
    assert_eq!(seen.closed, [CloseReason::Idle]);
    assert!(seen.errors.is_empty());
}

#[test]
fn protocol_error() {
    let seen = end_by(Config::default(), say("fine\n!malformed\n"));
    assert_eq!(seen.closed, [CloseReason::ProtocolError]);
    assert_error(&seen, Blame::Peer, "broke the protocol: unfit: a malformed line");

    let seen = end_by(Config::default(), |_, client| {
        send(&client, "half a wo");
        client.shutdown(Shutdown::Write).expect("an end");
        Some(client)
    });
    assert_eq!(seen.closed, [CloseReason::ProtocolError]);
    assert_error(&seen, Blame::Peer, "ended 9 bytes into an unfinished packet");

    let seen = end_by(Config::default().packet_timeout(ms(30)), say("half a wo"));
    assert_eq!(seen.closed, [CloseReason::ProtocolError]);
    assert_error(&seen, Blame::Peer, "unfinished for 30ms (packet_timeout)");
}

#[test]
fn io_error() {
    let seen = end_by(Config::default(), |_, client| {
        reset(client);
        None
    });
    assert_eq!(seen.closed, [CloseReason::IoError]);
    assert_error(&seen, Blame::Peer, "read failed: ");
}

fn outbound(to: SocketAddr, limit: Duration) -> Seen {
    let mut reactor = server(Config::default());
    let own = reactor.local_addr();
    // `handlers` wants a connection; the outbound one is begun from a timer's view of one.
    let knock = connect(own);
    turn_until(&mut reactor, |reactor| reactor.state().accepted == 1);
    let mut begun = false;
    reactor.server().for_each_connection(|conn| {
        let handlers = handlers(conn);
        conn.server().connect(to, limit, handlers).expect("room");
        conn.set_handlers(wheelhouse::Handlers::new());
        begun = true;
    });
    assert!(begun);
    let seen = once(reactor, Some(knock));
    assert_eq!(seen.accepted, 1, "on_accept is for inbound connections");
    seen
}

#[test]
fn io_error_of_a_failed_connect() {
    let nobody = {
        let listener = TcpListener::bind(common::ANY_PORT).expect("a port");
        listener.local_addr().expect("an address")
    };
    let seen = outbound(nobody, common::PATIENCE);
    assert_eq!(seen.closed, [CloseReason::IoError]);
    assert_error(&seen, Blame::Peer, "connect failed: ");
}

#[test]
fn io_error_of_a_late_connect() {
    // A backlog that is full: the kernel answers no more.
    let deaf =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = common::ANY_PORT.parse().expect("an address");
    deaf.bind(&any.into()).expect("a port");
    deaf.listen(0).expect("a listener");
    let deaf: TcpListener = deaf.into();
    let address = deaf.local_addr().expect("an address");
    let _waiting = connect(address);
    let seen = outbound(address, ms(40));
    assert_eq!(seen.closed, [CloseReason::IoError]);
    assert_error(&seen, Blame::Peer, "no connection within 40ms");
}

#[test]
fn slow_consumer() {
    let seen = end_by(Config::default().write_timeout(ms(50)), say("flood\n"));
    assert_eq!(seen.closed, [CloseReason::SlowConsumer]);
    assert_error(&seen, Blame::Peer, "took no output for 50ms (write_timeout)");

    let mut reactor = server(Config::default().outbox(10, 20, 100_000));
    let client = connect_narrow(reactor.local_addr());
    settle(&mut reactor);
    let lines = "x".repeat(50_000);
    loop {
        let sent = reactor.server().broadcast(lines.clone(), SlowConsumers::Disconnect);
        assert_eq!(sent.sent + sent.disconnected, 1, "{sent:?}");
        if sent.disconnected == 1 {
            break;
        }
        settle(&mut reactor);
    }
    let seen = once(reactor, Some(client));
    assert_eq!(seen.closed, [CloseReason::SlowConsumer]);
    assert_error(&seen, Blame::Peer, "reads too slowly: ");
}

#[test]
fn shutdown() {
    let seen = end_by(Config::default(), |reactor, client| {
        reactor.server().stop(common::PATIENCE);
        Some(client)
    });
    assert_eq!(seen.closed, [CloseReason::Shutdown]);
    assert!(seen.errors.is_empty());
}

#[test]
fn forced() {
    let seen = end_by(Config::default(), |reactor, client| {
        reactor.server().stop(ms(0));
        Some(client)
    });
    assert_eq!(seen.closed, [CloseReason::Forced]);
    let seen = end_by(Config::default(), |reactor, client| {
        let staying = reactor
            .server()
            .handlers()
            .on_stop(|_, _| {})
            .on_closed(|seen: &mut Seen, _, why| seen.closed.push(why));
        let mut staying = Some(staying);
        reactor.server().for_each_connection(|conn| {
            conn.set_handlers(staying.take().expect("one connection"));
        });
        reactor.server().stop(ms(30));
        Some(client)
    });
    assert_eq!(seen.closed, [CloseReason::Forced]);
    assert!(seen.errors.is_empty());
}

#[test]
fn handler_error() {
    let seen = end_by(Config::default(), say("fail\nnever read\n"));
    assert_eq!(seen.closed, [CloseReason::HandlerError]);
    assert_error(&seen, Blame::Caller, "the handler failed: invalid digit");

    let seen = end_by(Config::default(), say("!stall\n"));
    assert_eq!(seen.closed, [CloseReason::HandlerError]);
    assert_error(&seen, Blame::Caller, "packets in a row without consuming a byte");
}

#[test]
fn handler_panic() {
    let seen = end_by(Config::default(), say("panic\nnever read\n"));
    assert_eq!(seen.closed, [CloseReason::HandlerPanic]);
    assert_error(&seen, Blame::Caller, "panicked: on_read panics, as told");
}

#[test]
fn what_on_error_writes_is_still_sent() {
    for (words, config) in [
        ("!malformed\n", Config::default()),
        ("half", Config::default().packet_timeout(ms(30))),
        ("fail\n", Config::default()),
    ] {
        let mut reactor = words_with_a_farewell(config);
        let client = connect(reactor.local_addr());
        send(&client, words);
        turn_until(&mut reactor, |reactor| *reactor.state());
        assert_eq!(common::read_to_end(&client).expect("an orderly end"), b"sorry\n", "{words}");
    }
}

fn words_with_a_farewell(config: Config) -> Reactor<Words, bool> {
    words(config.linger(ms(20)))
        .state(false)
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|_, _, _| Err(wheelhouse::HandlerError::msg("no words, please")))
                .on_error(|_, conn, _| conn.write("sorry".into()).expect("the peer can hear"))
                .on_closed(|over, _, _| *over = true)
        })
        .expect("a loop")
}
