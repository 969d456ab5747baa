//! A panic in a handler or a codec takes one connection down, wherever it happens; or the process, where that is asked for.

mod common;

use std::os::unix::process::ExitStatusExt;

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
