//! Deadlines on real sockets: from when each counts, and what moves it on. Their reasons are in `reasons.rs`, and what each
//! means to the millisecond is in `simulation/deadlines.rs`.

mod common;

use std::time::Duration;

use common::{
    PATIENCE, connect, echo, first_id, ms, now, read_line, send, settle, stats, turn_until, words,
};
use wheelhouse::Config;

/// Keeps the loop from everything else, if the word is `slow`.
fn dawdle_over(word: &str, span: Duration) {
    let until = now() + span;
    while word == "slow" && now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn a_packet_has_one_deadline_from_its_first_byte() {
    let mut reactor = echo(Config::default().packet_timeout(ms(120)).linger(ms(0)));
    let client = connect(reactor.local_addr());
    send(&client, "whole\n");
    settle(&mut reactor);
    assert_eq!(read_line(&client), "whole");
    let began = now();
    // A byte in each turn, which is often enough to count as busy and never as a packet.
    turn_until(&mut reactor, |reactor| {
        drop(std::io::Write::write(&mut &client, b"."));
        stats(reactor).open == 0
    });
    let took = began.elapsed();
    assert!(took >= ms(120) && took < PATIENCE, "{took:?}");
    assert_eq!(stats(&mut reactor).peer_errors, 1);
}

#[test]
fn a_pause_of_this_side_is_not_the_peers_delay() {
    let mut reactor = words(Config::default().packet_timeout(ms(40)))
        .state(false)
        .into_reactor(|_, conn| {
            // Paused with half a packet held, and for longer than a packet may take.
            conn.after(ms(10), |paused: &mut bool, conn| {
                conn.pause_read();
                *paused = true;
                conn.after(ms(100), |_, conn| conn.resume_read());
            });
            conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?))
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "first half, ");
    let began = now();
    turn_until(&mut reactor, |reactor| *reactor.state());
    send(&client, "second half\n");
    turn_until(&mut reactor, |_| common::has_news(&client));
    assert_eq!(read_line(&client), "first half, second half");
    assert!(began.elapsed() >= ms(100));
}

#[test]
fn the_idle_deadline_moves_on_with_each_packet() {
    let limit = ms(200);
    let mut reactor = echo(Config::default().idle_timeout(limit).linger(ms(0)));
    let client = connect(reactor.local_addr());
    let began = now();
    let mut silent_since = began;
    // It talks for three times as long as it may be silent, unless this very thread falls silent on a busy machine.
    turn_until(&mut reactor, |reactor| {
        let over = stats(reactor).closed > 0;
        if !over && began.elapsed() < limit * 3 {
            silent_since = now();
            send(&client, "a\n");
        }
        over
    });
    assert!(silent_since.elapsed() >= limit, "{:?}", silent_since.elapsed());
    assert_eq!(stats(&mut reactor).timers, 0, "a deadline goes with its connection");
}

#[test]
fn a_slow_handler_does_not_age_what_is_read_after_it() {
    let slow = ms(600);
    let config = Config::default().idle_timeout(slow).packet_timeout(slow);
    let mut reactor = words(config)
        .into_reactor(move |(), conn| {
            conn.handlers().on_read(move |(), conn, word| {
                dawdle_over(&word, slow);
                Ok(conn.write(word)?)
            })
        })
        .expect("a reactor");
    let address = reactor.server().local_addr();
    let [first, second, third] = [(); 3].map(|()| connect(address));
    turn_until(&mut reactor, |reactor| stats(reactor).open == 3);
    send(&first, "slow\n");
    send(&second, "quick\n");
    send(&third, "half a wo");
    turn_until(&mut reactor, |reactor| stats(reactor).bytes_in == 20);
    let read = now();
    // The second was read just now, as was the third's half; the first has been silent since before its handler ran.
    turn_until(&mut reactor, |reactor| stats(reactor).closed > 0 || read.elapsed() > slow / 2);
    assert!(stats(&mut reactor).open >= 2, "{:?}", stats(&mut reactor));
    assert_eq!(stats(&mut reactor).peer_errors, 0, "half a word is not late yet");
    assert_eq!(read_line(&second), "quick");
    send(&third, "rd\n");
    turn_until(&mut reactor, |reactor| stats(reactor).packets_in == 3);
    assert_eq!(read_line(&third), "half a word");
}

#[test]
fn half_a_packet_behind_a_whole_one_is_dated_from_when_it_was_read() {
    let slow = ms(600);
    let mut reactor = words(Config::default().packet_timeout(slow))
        .into_reactor(move |(), conn| {
            conn.handlers().on_read(move |(), conn, word| {
                let _ = conn.server().now(); // the turn's moment is known from here on
                dawdle_over(&word, slow);
                Ok(conn.write(word)?)
            })
        })
        .expect("a reactor");
    let address = reactor.server().local_addr();
    let [first, second] = [(); 2].map(|()| connect(address));
    turn_until(&mut reactor, |reactor| stats(reactor).open == 2);
    send(&first, "slow\n");
    send(&second, "whole\nhalf a wo");
    turn_until(&mut reactor, |reactor| stats(reactor).bytes_in == 20);
    let read = now();
    turn_until(&mut reactor, |reactor| stats(reactor).closed > 0 || read.elapsed() > slow / 2);
    assert_eq!(stats(&mut reactor).peer_errors, 0, "half a word is not late yet");
    send(&second, "rd\n");
    turn_until(&mut reactor, |reactor| stats(reactor).packets_in == 3);
}

#[test]
fn the_write_deadline_moves_on_with_each_byte_that_is_taken() {
    const SIZE: usize = 32 << 20;
    let limit = ms(400);
    let mut reactor = echo(Config::default().write_timeout(limit).outbox(0, 1, 1 << 30));
    let client = common::connect_with_buffer(reactor.local_addr(), 256 * 1024);
    settle(&mut reactor);
    let id = first_id(&mut reactor);
    let mut server = reactor.server();
    let mut conn = server.connection(id).expect("it is there");
    conn.write("x".repeat(SIZE)).expect("an empty outbox");
    let began = now();
    let (mut read, mut taken_last) = (0, began);
    // It takes some 16 MB/s for twice as long as it may take nothing, and is not done by then.
    turn_until(&mut reactor, |reactor| {
        let over = stats(reactor).closed > 0;
        let due = began.elapsed().as_millis() as usize * 16_000;
        while !over && began.elapsed() < limit * 2 && read < due && common::has_news(&client) {
            read += std::io::Read::read(&mut &client, &mut [0; 65_536]).expect("there is more");
            taken_last = now();
        }
        over
    });
    assert!(read < SIZE, "it was left with some");
    assert!(taken_last.elapsed() >= limit / 2, "{:?}", taken_last.elapsed());
    assert_eq!((stats(&mut reactor).slow_consumers, stats(&mut reactor).timers), (1, 0));
}
