//! A panic in a handler, a codec or a value's `Drop` takes one connection down, wherever it happens; or the process, where
//! that is asked for.

mod common;

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{
    Words, connect, connect_narrow, is_child, ms, read_line, run_child, send, settle, turn_until,
    words,
};
use wheelhouse::{CloseReason, Config, HandleError, PanicPolicy, Reactor, Server};

#[derive(Default)]
struct Seen {
    panicking: &'static str,
    closed: Vec<CloseReason>,
}

fn panic_if(due: bool) {
    assert!(!due, "a handler panics, as told");
}

/// The first connection panics in the place that is named, every other one echoes.
fn server(place: &'static str) -> Reactor<Words, Seen> {
    let mut first = true;
    words(Config::default().half_open(place == "on_end").outbox(10, 100, 1 << 20).linger(ms(20)))
        .state(Seen::default())
        .into_reactor(move |seen, conn| {
            if !std::mem::take(&mut first) {
                return conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?));
            }
            seen.panicking = place;
            panic_if(place == "on_accept");
            match place {
                "after" => {
                    conn.after(ms(1), |_, _| panic!("a timer panics, as told"));
                }
                "every" => {
                    conn.every(ms(1), |_, _| panic!("a timer panics, as told"));
                }
                "on_drain" => conn.write("x".repeat(1 << 23)).expect("an empty outbox"),
                _ => {}
            }
            conn.handlers()
                .on_read(move |_, conn, word| {
                    panic_if(place == "on_read");
                    if place == "encode" {
                        conn.write("!panic".into())?;
                    }
                    Err(wheelhouse::HandlerError::msg(word))
                })
                .on_error(|seen: &mut Seen, _, _| panic_if(seen.panicking == "on_error"))
                .on_end(move |_, _| panic_if(place == "on_end"))
                .on_drain(move |_, _| panic_if(place == "on_drain"))
                .on_stop(move |_, _| panic_if(place == "on_stop"))
                .on_closed(|seen, _, why| {
                    seen.closed.push(why);
                    panic_if(seen.panicking == "on_closed");
                })
        })
        .expect("a loop")
}

#[test]
fn a_panic_closes_only_its_connection() {
    for place in [
        "on_read",
        "on_error",
        "on_end",
        "on_drain",
        "on_closed",
        "after",
        "every",
        "decode",
        "encode",
    ] {
        let mut reactor = server(place);
        let unlucky = connect_narrow(reactor.local_addr());
        let bystander = connect(reactor.local_addr());
        settle(&mut reactor);
        match place {
            "on_end" => unlucky.shutdown(std::net::Shutdown::Write).expect("an end"),
            "on_drain" => {
                let unlucky = unlucky.try_clone().expect("a second hand");
                common::turn_while(&mut reactor, move || drop(common::read_to_end(&unlucky)));
            }
            "after" | "every" => {}
            "decode" => send(&unlucky, "!panic\n"),
            _ => send(&unlucky, "a word\n"),
        }
        turn_until(&mut reactor, |reactor| !reactor.state().closed.is_empty());
        settle(&mut reactor);
        let expected = match place {
            "on_closed" => CloseReason::HandlerError, // it was over already, and its slot still goes
            _ => CloseReason::HandlerPanic,
        };
        assert_eq!(reactor.state().closed, [expected], "{place}");
        assert_eq!(reactor.server().connection_count(), 1, "{place}");
        send(&bystander, "I am well\n");
        settle(&mut reactor);
        assert_eq!(read_line(&bystander), "I am well", "{place}");
    }
}

#[test]
fn a_panic_in_on_accept_closes_only_the_newcomer() {
    let mut reactor = server("on_accept");
    let unlucky = connect(reactor.local_addr());
    let bystander = connect(reactor.local_addr());
    settle(&mut reactor);
    common::assert_over(&unlucky);
    assert_eq!(reactor.server().connection_count(), 1);
    send(&bystander, "I am well\n");
    settle(&mut reactor);
    assert_eq!(read_line(&bystander), "I am well");
    assert!(reactor.state().closed.is_empty(), "it never had handlers");
}

#[test]
fn a_panic_in_on_stop_does_not_hold_up_the_stop() {
    let mut reactor = server("on_stop");
    let _unlucky = connect(reactor.local_addr());
    let bystander = connect(reactor.local_addr());
    settle(&mut reactor);
    reactor.server().stop(common::PATIENCE);
    settle(&mut reactor);
    assert_eq!(reactor.state().closed, [CloseReason::HandlerPanic]);
    drop(bystander);
    turn_until(&mut reactor, |reactor| reactor.report().is_some());
    let report = reactor.report().expect("it has stopped");
    assert_eq!((report.closed, report.forced), (2, 0));
}

#[test]
fn a_panic_that_is_nobodys_connection_closes_none() {
    let server = words(Config::default());
    let address = server.local_addr();
    let handle = server
        .start(|_, conn| conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?)))
        .expect("a loop");
    let bystander = connect(address);
    let panicked: Result<(), _> = handle.run(|_, _| panic!("a command panics, as told"));
    assert!(matches!(panicked, Err(HandleError::Panicked)));
    handle
        .run(|_, server| {
            server.after(ms(0), |_, _| panic!("a timer of the server's panics, as told"));
            server.every(ms(1), |_, _| panic!("a timer of the server's panics, as told"));
        })
        .expect("a loop");
    let gone = std::iter::repeat_with(|| handle.stats().expect("a loop"))
        .find(|stats| stats.timers == 0)
        .expect("a repeating one does not repeat");
    assert_eq!(gone.caller_errors, 3);
    send(&bystander, "I am well\n");
    assert_eq!(read_line(&bystander), "I am well");
    handle.stop(ms(0)).expect("a stop");
}

// Values that panic as they are dropped.

/// Panics as it is dropped, whatever else is being dropped, and counts that.
struct Mine(Arc<AtomicUsize>);

impl Drop for Mine {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a value panics as it is dropped, as told");
    }
}

/// An error that holds one.
struct Trapped(#[expect(dead_code, reason = "it is there to be dropped")] Mine);

impl std::fmt::Debug for Trapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("trapped")
    }
}

impl std::fmt::Display for Trapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("trapped")
    }
}

impl std::error::Error for Trapped {}

/// Keeps it in a closure.
fn touch(_: &Mine) {}

/// A server whose connections are full of mines: in each handler, each timer and their data.
fn minefield(dropped: &Arc<AtomicUsize>) -> Reactor<Words, Seen> {
    let dropped = Arc::clone(dropped);
    let reactor = words(Config::default()).state(Seen::default()).into_reactor(move |_, conn| {
        let [error, closed, read, stop, drain, end, connect, after, every, data] =
            std::array::from_fn(|_| Mine(Arc::clone(&dropped)));
        conn.set_user_data(data);
        conn.after(common::PATIENCE, move |_, _| touch(&after));
        conn.every(common::PATIENCE, move |_, _| touch(&every));
        conn.handlers()
            .on_error(move |_, _, _| touch(&error))
            .on_closed(move |seen: &mut Seen, _, why| {
                touch(&closed);
                seen.closed.push(why);
            })
            .on_read(move |_, conn, word| {
                touch(&read);
                Ok(conn.write(word)?)
            })
            .on_stop(move |_, _| touch(&stop))
            .on_drain(move |_, _| touch(&drain))
            .on_end(move |_, _| touch(&end))
            .on_connect(move |_, _| touch(&connect))
    });
    reactor.expect("a loop")
}

#[test]
fn values_that_panic_as_they_are_dropped_cost_only_their_own_connection() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut reactor = minefield(&dropped);
    let bystander = connect(reactor.local_addr());
    let unlucky = connect(reactor.local_addr());
    settle(&mut reactor);
    drop(unlucky);
    turn_until(&mut reactor, |reactor| !reactor.state().closed.is_empty());
    assert_eq!(reactor.state().closed, [CloseReason::Peer], "it was over already");
    assert_eq!(dropped.load(Ordering::Relaxed), 10, "each of them, once");
    let stats = reactor.server().stats();
    assert_eq!((stats.open, stats.timers, stats.caller_errors), (1, 2, 10));
    send(&bystander, "I am well\n");
    settle(&mut reactor);
    assert_eq!(read_line(&bystander), "I am well");
    reactor.server().stop(ms(0));
    turn_until(&mut reactor, |reactor| reactor.report().is_some());
    assert_eq!(dropped.load(Ordering::Relaxed), 20);
}

#[test]
fn what_panics_as_it_is_dropped_beside_a_handlers_call_is_caught() {
    for place in ["on_accept", "on_end", "error"] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mines = Arc::clone(&dropped);
        let mut reactor = words(Config::default().half_open(true).linger(ms(0)))
            .state(Seen::default())
            .into_reactor(move |_, conn| {
                let mine = Mine(Arc::clone(&mines));
                let (handlers, others) = (conn.handlers(), conn.handlers());
                let told = others.on_closed(|seen: &mut Seen, _, why| seen.closed.push(why));
                match place {
                    "on_accept" => {
                        conn.set_handlers(told);
                        handlers.on_stop(move |_, _| touch(&mine)) // dropped: others have been set
                    }
                    "on_end" => {
                        let mut told = Some(told);
                        handlers.on_end(move |_, conn| {
                            let _used = &mine;
                            told.take().into_iter().for_each(|told| conn.set_handlers(told));
                        })
                    }
                    _ => {
                        let mut mine = Some(mine);
                        told.on_read(move |_, _, _| {
                            mine.take().map_or(Ok(()), |mine| Err(Trapped(mine).into()))
                        })
                    }
                }
            })
            .expect("a loop");
        let client = connect(reactor.local_addr());
        if place == "error" {
            send(&client, "a word\n"); // nobody hears of the error: it waits with the connection
        }
        client.shutdown(std::net::Shutdown::Write).expect("an end");
        turn_until(&mut reactor, |reactor| !reactor.state().closed.is_empty());
        let over_already = place == "error";
        let expected =
            if over_already { CloseReason::HandlerError } else { CloseReason::HandlerPanic };
        assert_eq!(reactor.state().closed, [expected], "{place}");
        assert_eq!(dropped.load(Ordering::Relaxed), 1, "{place}");
        assert_eq!(reactor.server().stats().open, 0, "{place}");
    }
}

#[test]
fn a_timer_that_panics_as_it_is_dropped_takes_nothing_down() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mine = Mine(Arc::clone(&dropped));
    let mut reactor =
        words(Config::default()).into_reactor(|_, conn| conn.handlers()).expect("a loop");
    let own = Rc::new(Cell::new(None));
    let shown = Rc::clone(&own);
    let timer = reactor.server().every(ms(1), move |(), server| {
        let _used = &mine;
        shown.take().into_iter().for_each(|timer| assert!(server.cancel(timer), "it fires"));
    });
    own.set(Some(timer));
    turn_until(&mut reactor, |reactor| reactor.server().stats().timers == 0);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(reactor.server().stats().caller_errors, 1);
}

#[test]
fn a_panic_takes_the_process_down_where_that_is_asked_for() {
    if !is_child() {
        let output = run_child("a_panic_takes_the_process_down_where_that_is_asked_for");
        assert_eq!(output.status.signal(), Some(6), "{output:?}"); // SIGABRT
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("as told"), "the message is printed first: {stderr}");
        return;
    }
    let config = Config::default().panic_policy(PanicPolicy::AbortProcess);
    let server: Server<Words> = words(config);
    let address = server.local_addr();
    let mut reactor = server
        .into_reactor(|_, conn| conn.handlers().on_read(|_, _, _| panic!("on_read, as told")))
        .expect("a loop");
    let client = connect(address);
    send(&client, "a word\n");
    settle(&mut reactor);
    unreachable!("the process has gone down");
}
