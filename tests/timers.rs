//! Timers of the server and of a connection, on a reactor whose turns the test takes, in real time and short spans. What is
//! asserted holds however late the machine is; precision is for the tests of the timer queue, which bring their own time.

mod kit;

use std::sync::mpsc;
use std::time::Duration;

use kit::{PATIENCE, lines, peer, say};
use wheelhouse::codec::LinesCodec;
use wheelhouse::{CloseReason, Connection, Handlers, Reactor, Server, TimerId, Turn};

/// What has happened, in order; the state of every server here.
type Log = Vec<String>;
type Loop = Reactor<LinesCodec, Log>;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn server() -> Server<LinesCodec, Log> {
    lines().state(Log::new())
}

fn reactor() -> Loop {
    server().into_reactor(|_, conn| conn.handlers()).expect("a reactor")
}

/// A reactor with one connection, which `on_accept` prepares, and that connection's peer.
fn with_peer(
    on_accept: impl FnMut(&mut Log, &mut Connection<'_, LinesCodec, Log>) -> Handlers<LinesCodec, Log>
    + 'static,
) -> (Loop, std::net::TcpStream) {
    let reactor = server().into_reactor(on_accept).expect("a reactor");
    let peer = peer(reactor.local_addr());
    (reactor, peer)
}

/// Takes turns until the log is as long as that.
fn turn_until(reactor: &mut Loop, entries: usize) {
    for _ in 0..10_000 {
        if reactor.state().len() >= entries {
            return;
        }
        assert_eq!(reactor.turn(Some(PATIENCE)).expect("a turn"), Turn::Running);
    }
    panic!("{entries} entries have not come: {:?}", reactor.state());
}

/// Takes turns for so long, to see that nothing happens.
fn turn_for(reactor: &mut Loop, span: Duration) {
    let until = reactor.server().now() + span;
    while reactor.server().now() < until {
        assert_eq!(reactor.turn(Some(ms(1))).expect("a turn"), Turn::Running);
    }
}

#[test]
fn after_fires_once_and_not_too_early() {
    let mut reactor = reactor();
    let armed = reactor.server().now();
    reactor.server().after(ms(25), move |log: &mut Log, server| {
        assert!(server.now() >= armed + ms(25), "{:?} early", armed + ms(25) - server.now());
        log.push("fired".into());
    });
    turn_until(&mut reactor, 1);
    turn_for(&mut reactor, ms(60));
    assert_eq!(*reactor.state(), ["fired"]);
    assert_eq!(reactor.server().stats().timers, 0);
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines_then_of_their_setting() {
    let mut reactor = reactor();
    for (delay, name) in [(30, "third"), (10, "first"), (20, "second"), (30, "fourth")] {
        reactor.server().after(ms(delay), move |log: &mut Log, _| log.push(name.into()));
    }
    turn_until(&mut reactor, 4);
    assert_eq!(*reactor.state(), ["first", "second", "third", "fourth"]);
}

#[test]
fn every_leaves_out_what_it_missed() {
    let mut reactor = reactor();
    let armed = reactor.server().now();
    let mut held = false;
    reactor.server().every(ms(10), move |log: &mut Log, server| {
        log.push(format!("{}", (server.now() - armed).as_millis() / 10));
        if !std::mem::replace(&mut held, true) {
            let (_tell, never) = mpsc::channel::<()>();
            assert!(never.recv_timeout(ms(55)).is_err(), "five periods are missed here");
        }
    });
    turn_until(&mut reactor, 3);
    let periods: Vec<u64> =
        reactor.state().iter().map(|it| it.parse().expect("a number")).collect();
    assert!(periods[1] >= periods[0] + 5, "{periods:?}");
    assert!(periods[2] > periods[1], "no two calls for one period: {periods:?}");
}

#[test]
fn what_is_cancelled_does_not_fire() {
    let mut reactor = reactor();
    let once = reactor.server().after(ms(10), |log: &mut Log, _| log.push("once".into()));
    let each = reactor.server().every(ms(10), |log: &mut Log, _| log.push("each".into()));
    assert!(reactor.server().cancel(once) && reactor.server().cancel(each), "they were to fire");
    assert!(!reactor.server().cancel(once) && !reactor.server().cancel(each), "no more");
    turn_for(&mut reactor, ms(40));
    assert!(reactor.state().is_empty(), "{:?}", reactor.state());
}

#[test]
fn a_timer_may_cancel_itself_and_others() {
    let mut reactor = reactor();
    let victim = reactor.server().after(ms(200), |log: &mut Log, _| log.push("victim".into()));
    let (tell, told) = mpsc::channel::<TimerId>();
    let mut calls = 0;
    let each = reactor.server().every(ms(5), move |log: &mut Log, server| {
        calls += 1;
        log.push(format!("call {calls}"));
        if calls == 3 {
            let itself = told.recv().expect("a test");
            assert!(server.cancel(itself) && !server.cancel(itself));
            assert!(server.cancel(victim));
        }
    });
    tell.send(each).expect("a timer");
    turn_until(&mut reactor, 3);
    turn_for(&mut reactor, ms(250));
    assert_eq!(*reactor.state(), ["call 1", "call 2", "call 3"]);
    assert_eq!(reactor.server().stats().timers, 0);
}

#[test]
fn a_timer_that_sets_another_for_now_leaves_the_turn_to_the_rest() {
    let mut reactor = reactor();
    fn again(log: &mut Log, server: &mut wheelhouse::ServerRef<'_, LinesCodec, Log>) {
        log.push("again".into());
        server.after(Duration::ZERO, again);
    }
    reactor.server().after(Duration::ZERO, again);
    for turns in 1..=5 {
        assert_eq!(reactor.turn(Some(PATIENCE)).expect("a turn"), Turn::Running);
        assert!(reactor.state().len() <= turns, "one call a turn");
    }
    turn_until(&mut reactor, 5);
}

#[test]
fn a_timer_that_panics_takes_nothing_down_but_itself() {
    let mut reactor = reactor();
    reactor.server().every(ms(5), |log: &mut Log, _| {
        log.push("panics".into());
        panic!("on purpose, in a timer");
    });
    reactor.server().after(ms(40), |log: &mut Log, _| log.push("goes on".into()));
    turn_until(&mut reactor, 2);
    assert_eq!(*reactor.state(), ["panics", "goes on"]);
    let stats = reactor.server().stats();
    assert_eq!((stats.caller_errors, stats.timers), (1, 0));
}

// A connection's timers.

#[test]
fn a_connections_timer_gets_its_connection() {
    let (mut reactor, peer) = with_peer(|_, conn| {
        let mut left = 3;
        conn.every(ms(5), move |log: &mut Log, conn| {
            if !conn.is_open() {
                return; // it has asked to be closed, and the machine is slow
            }
            left -= 1;
            log.push(format!("{left} left"));
            conn.write(format!("{left}")).expect("room");
            if left == 0 {
                conn.close();
            }
        });
        conn.handlers().on_closed(|log, _, reason| log.push(reason.to_string()))
    });
    let read = kit::begin(move || kit::read_lines(peer).collect::<Vec<_>>());
    turn_until(&mut reactor, 4);
    let local = CloseReason::Local.to_string();
    assert_eq!(*reactor.state(), ["2 left", "1 left", "0 left", local.as_str()]);
    assert_eq!(read.wait("the peer"), ["2", "1", "0"]);
}

#[test]
fn a_connections_timers_die_with_it() {
    let (mut reactor, peer) = with_peer(|_, conn| {
        conn.after(ms(60), |log: &mut Log, _| log.push("too late".into()));
        conn.every(ms(60), |log: &mut Log, _| log.push("too late as well".into()));
        conn.handlers().on_closed(|log, conn, _| {
            conn.after(Duration::ZERO, |log: &mut Log, _| log.push("set too late".into()));
            log.push("closed".into());
        })
    });
    while reactor.server().connection_count() == 0 {
        assert_eq!(reactor.turn(Some(PATIENCE)).expect("a turn"), Turn::Running);
    }
    assert_eq!(reactor.server().stats().timers, 2);
    drop(peer);
    turn_until(&mut reactor, 1);
    assert_eq!(reactor.server().stats().timers, 0, "cancelled, not merely mute");
    turn_for(&mut reactor, ms(120));
    assert_eq!(*reactor.state(), ["closed"]);
}

#[test]
fn a_timer_that_has_fired_leaves_the_others_to_die_with_their_connection() {
    let (mut reactor, peer) = with_peer(|_, conn| {
        conn.after(Duration::ZERO, |log: &mut Log, _| log.push("fired".into()));
        conn.after(PATIENCE, |log: &mut Log, _| log.push("too late".into()));
        conn.handlers().on_closed(|log, _, _| log.push("closed".into()))
    });
    turn_until(&mut reactor, 1);
    assert_eq!(reactor.server().stats().timers, 1);
    drop(peer);
    turn_until(&mut reactor, 2);
    assert_eq!(*reactor.state(), ["fired", "closed"]);
    assert_eq!(reactor.server().stats().timers, 0);
}

#[test]
fn a_connections_timer_may_cancel_itself_and_be_cancelled() {
    let (mut reactor, mut peer) = with_peer(|_, conn| {
        let never = conn.after(PATIENCE, |log: &mut Log, _| log.push("never".into()));
        let (tell, told) = mpsc::channel();
        let each = conn.every(ms(5), move |log: &mut Log, conn| {
            log.push("once".into());
            let itself = told.recv().expect("a handler");
            assert!(conn.cancel(itself) && !conn.cancel(itself));
        });
        tell.send(each).expect("a timer");
        conn.handlers().on_read(move |log, conn, _| {
            assert!(conn.cancel(never) && !conn.cancel(never));
            log.push("cancelled".into());
            Ok(())
        })
    });
    say(&mut peer, "cancel it\n");
    turn_until(&mut reactor, 2);
    let mut log = reactor.state().clone();
    log.sort();
    assert_eq!(log, ["cancelled", "once"]);
    assert_eq!(reactor.server().stats().timers, 0);
}

#[test]
fn a_connections_timer_that_panics_ends_its_connection() {
    let (mut reactor, _peer) = with_peer(|_, conn| {
        conn.every(ms(5), |log: &mut Log, _| {
            log.push("panics".into());
            panic!("on purpose, in a timer");
        });
        conn.handlers().on_closed(|log, _, reason| log.push(reason.to_string()))
    });
    turn_until(&mut reactor, 2);
    assert_eq!(*reactor.state(), ["panics".to_owned(), CloseReason::HandlerPanic.to_string()]);
    assert_eq!(reactor.server().stats().timers, 0);
}

#[test]
fn timers_can_be_set_from_another_thread() {
    let server = server().start(|_, conn| conn.handlers()).expect("a server");
    let (tell, told) = mpsc::channel();
    let timer = server
        .run(move |_, server| server.after(ms(5), move |_, _| tell.send("fired").expect("a test")));
    timer.expect("a running server");
    assert_eq!(kit::take(&told), "fired");
}
