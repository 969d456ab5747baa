//! A loop that never sleeps: whatever comes is found by looking, and nothing is missed for it.
//!
//! That the looking is bounded, and followed by a sleep, is tested where looks can be counted: beside the driver, and on the
//! simulated network.

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{ANY_PORT, PATIENCE, Words, connect, ms, read_line, send, told};
use wheelhouse::{Config, Server};

/// No end of looking.
fn sleepless() -> Config {
    Config::default().busy_poll(Duration::MAX)
}

#[test]
fn peers_threads_and_timers_are_served_and_the_stop_is_heard() {
    let (tell, handles) = mpsc::channel();
    let server = Server::bind(ANY_PORT, Words)
        .expect("a port")
        .config(sleepless())
        .start(move |(), conn| {
            tell.send(conn.handle()).expect("the test");
            conn.handlers().on_read(|(), conn, word| {
                conn.after(ms(1), |(), conn| drop(conn.write("later".into())));
                Ok(conn.write(word)?)
            })
        })
        .expect("a thread");
    let client = connect(server.local_addr());
    let handle = told(&handles);
    for _ in 0..20 {
        send(&client, "now\n");
        assert_eq!([read_line(&client), read_line(&client)], ["now", "later"]);
        handle.write("from another thread".into()).expect("an open connection");
        assert_eq!(read_line(&client), "from another thread");
    }
    drop(client);
    let report = server.stop(PATIENCE).expect("a loop that ends");
    assert_eq!(report.forced, 0);
}

#[test]
fn a_turn_ends_with_its_timeout_although_it_never_sleeps() {
    let mut reactor = Server::bind(ANY_PORT, Words)
        .expect("a port")
        .config(sleepless())
        .into_reactor(|(), conn| conn.handlers())
        .expect("a loop");
    let began = common::now();
    let _ = reactor.turn(Some(ms(3))).expect("a working poll");
    assert!(began.elapsed() >= ms(3), "it came back early: {:?}", began.elapsed());
}
