//! How connections end: closing loses nothing, aborting resets, the peer's end is answered first, and a slot's next tenant
//! is never taken for the one before.

mod common;

use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use common::{
    ANY_PORT, Words, assert_over, assert_reset, connect, ms, now, read_line, read_to_end, send,
    settle, told, turn_until, turn_while, words,
};
use wheelhouse::codec::{BytesCodec, LinesCodec};
use wheelhouse::{CloseReason, Config, ConnectionId, Reactor, Server, WriteError};

/// Words that the handlers below know: `close`, `abort`, `finish`, all after a farewell; anything else is answered.
fn obedient(config: Config) -> Reactor<Words, Vec<(ConnectionId, CloseReason)>> {
    words(config)
        .state(Vec::new())
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|_, conn, word| {
                    conn.write(format!("{word}?"))?;
                    match &*word {
                        "close" => conn.close(),
                        "abort" => conn.abort(),
                        "finish" => conn.finish(),
                        _ => {}
                    }
                    Ok(())
                })
                .on_closed(|closed: &mut Vec<_>, conn, why| closed.push((conn.id(), why)))
        })
        .expect("a loop")
}

#[test]
fn close_loses_nothing_though_input_was_never_read() {
    // A plain close would turn into a reset that destroys the answer: 200 times of 200.
    let (tell, ended) = mpsc::channel();
    let server = Server::bind(ANY_PORT, BytesCodec::new())
        .expect("a port")
        .config(Config::default().read_budget(1024));
    let address = server.local_addr();
    let answer = Bytes::from(vec![b'a'; 20_000]);
    let expected = answer.clone();
    let handle = server
        .start(move |_, conn| {
            let (answer, tell) = (answer.clone(), tell.clone());
            conn.handlers()
                .on_read(move |_, conn, _| {
                    conn.write(answer.clone())?;
                    conn.close();
                    Ok(())
                })
                .on_closed(move |_, _, why| tell.send(why).expect("the test listens"))
        })
        .expect("a loop");
    for round in 0..200 {
        let client = connect(address);
        send(&client, vec![b'q'; 100_000]);
        let answer = read_to_end(&client).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(answer, expected, "round {round}");
        drop(client);
        assert_eq!(told(&ended), CloseReason::Local);
    }
    assert_eq!(handle.stats().expect("a loop").closed, 200);
    handle.stop(ms(0)).expect("a stop");
}

#[test]
fn close_sends_what_is_queued_and_takes_nothing_more() {
    const SIZE: usize = 8 << 20; // more than the kernel's buffers hold
    let server = Server::bind(ANY_PORT, BytesCodec::new()).expect("a port");
    let address = server.local_addr();
    let mut reactor = server
        .into_reactor(|_, conn| {
            conn.write(Bytes::from(vec![7; SIZE])).expect("it goes to an empty outbox");
            conn.close();
            assert!(!conn.is_open() && !conn.is_closed());
            let refused = conn.write(Bytes::from_static(b"too late"));
            assert!(matches!(refused, Err(WriteError::Closed(packet)) if packet == "too late"));
            conn.handlers()
        })
        .expect("a loop");
    let got = turn_while(&mut reactor, move || read_to_end(&connect(address)));
    assert_eq!(got.expect("an orderly end").len(), SIZE);
}

#[test]
fn close_discards_input_while_output_is_stuck() {
    const SIZE: usize = 8 << 20;
    let server = Server::bind(ANY_PORT, BytesCodec::new()).expect("a port");
    let address = server.local_addr();
    let mut reactor = server
        .into_reactor(|_, conn| {
            conn.handlers().on_read(|_, conn, _| {
                conn.write(Bytes::from(vec![7; SIZE]))?;
                conn.close();
                Ok(())
            })
        })
        .expect("a loop");
    // A peer that reads nothing before it has written everything.
    let got = turn_while(&mut reactor, move || {
        let client = connect(address);
        send(&client, vec![1; SIZE]);
        read_to_end(&client)
    });
    assert_eq!(got.expect("an orderly end").len(), SIZE);
}

#[test]
fn close_ends_its_side_and_waits_for_the_peers() {
    let mut reactor = obedient(Config::default());
    let client = connect(reactor.local_addr());
    send(&client, "close\nignored\n");
    settle(&mut reactor);
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"close?\n");
    assert_eq!(reactor.server().connection_count(), 1, "it lingers");
    assert!(reactor.state().is_empty());
    send(&client, "ignored, too\n");
    drop(client);
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert_eq!(reactor.state()[0].1, CloseReason::Local);
    assert_eq!(reactor.server().stats().packets_in, 1, "nothing is handled after a close");
}

#[test]
fn close_waits_no_longer_than_the_linger() {
    let mut reactor = obedient(Config::default().linger(ms(60)));
    let client = connect(reactor.local_addr());
    send(&client, "close\n");
    let began = now();
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert!(began.elapsed() >= ms(60), "{:?}", began.elapsed());
    assert_eq!(reactor.state()[0].1, CloseReason::Local);
    assert_eq!(read_line(&client), "close?");
}

#[test]
fn abort_drops_what_is_queued_and_resets() {
    let mut reactor = obedient(Config::default());
    let client = connect(reactor.local_addr());
    send(&client, "abort\n");
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert_reset(&client);
    assert_eq!(reactor.state()[0].1, CloseReason::Local);
    assert_eq!(reactor.server().stats().bytes_out, 0);
}

#[test]
fn the_peers_end_is_answered_first() {
    // echo hi | nc
    let mut reactor = obedient(Config::default());
    let client = connect(reactor.local_addr());
    send(&client, "hi\n");
    client.shutdown(Shutdown::Write).expect("an end");
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"hi?\n");
    assert_eq!(reactor.state()[0].1, CloseReason::Peer);
}

#[test]
fn everything_before_the_peers_end_is_delivered() {
    const WORDS: usize = 20_000; // many turns' budget, and answers past the high mark
    let mut reactor = obedient(Config::default().packet_budget(100));
    let address = reactor.local_addr();
    let answers = turn_while(&mut reactor, move || {
        let client = connect(address);
        let writer = client.try_clone().expect("a second hand");
        let writer = thread::spawn(move || {
            let all: String = (0..WORDS).map(|number| format!("{number}\n")).collect();
            send(&writer, all);
            writer.shutdown(Shutdown::Write).expect("an end");
        });
        let answers = read_to_end(&client).expect("an orderly end");
        writer.join().expect("a writer that does not panic");
        answers
    });
    let expected: String = (0..WORDS).map(|number| format!("{number}?\n")).collect();
    assert!(answers == expected.as_bytes(), "{} bytes of {}", answers.len(), expected.len());
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert_eq!(reactor.state()[0].1, CloseReason::Peer);
}

#[test]
fn the_decoder_has_the_last_word_on_what_the_end_cut_off() {
    let mut reactor = Server::bind(ANY_PORT, LinesCodec::new(100))
        .expect("a port")
        .into_reactor(|_, conn| conn.handlers().on_read(|_, conn, line| Ok(conn.write(line)?)))
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "whole\ncut off");
    client.shutdown(Shutdown::Write).expect("an end");
    settle(&mut reactor);
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"whole\ncut off\n");
}

#[test]
fn half_open_leaves_the_last_word_to_the_handler() {
    let mut reactor = words(Config::default().half_open(true))
        .state(Vec::new())
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|_, conn, word| Ok(conn.write(word)?))
                .on_end(|_, conn| {
                    assert!(conn.is_open());
                    conn.after(ms(30), |_, conn| {
                        conn.write("late".into()).expect("the write side is open");
                        conn.close();
                    });
                })
                .on_closed(|closed: &mut Vec<_>, _, why| closed.push(why))
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "early\n");
    client.shutdown(Shutdown::Write).expect("an end");
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"early\nlate\n");
    assert_eq!(reactor.state()[..], [CloseReason::Local]);
}

#[test]
fn half_open_ends_with_finish_too() {
    let mut reactor = words(Config::default().half_open(true))
        .state(Vec::new())
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_end(|_, conn| {
                    conn.write("all done".into()).expect("the write side is open");
                    conn.finish();
                })
                .on_closed(|closed: &mut Vec<_>, _, why| closed.push(why))
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    client.shutdown(Shutdown::Write).expect("an end");
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"all done\n");
    assert_eq!(reactor.state()[..], [CloseReason::Peer]);
}

#[test]
fn finish_ends_the_output_and_goes_on_reading() {
    let mut reactor = words(Config::default())
        .state((Vec::new(), Vec::new()))
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|(heard, _): &mut (Vec<String>, Vec<_>), conn, word| {
                    if word == "finish" {
                        conn.write("the last".into())?;
                        conn.finish();
                        assert!(matches!(conn.write("x".into()), Err(WriteError::Closed(_))));
                    }
                    heard.push(word);
                    Ok(())
                })
                .on_closed(|(_, closed), _, why| closed.push(why))
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "finish\n");
    settle(&mut reactor);
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"the last\n");
    send(&client, "still\nlistening\n");
    settle(&mut reactor);
    assert_eq!(reactor.state().0, ["finish", "still", "listening"]);
    assert!(reactor.state().1.is_empty());
    drop(client);
    turn_until(&mut reactor, |reactor| !reactor.state().1.is_empty());
    assert_eq!(reactor.state().1[..], [CloseReason::Peer]);
}

#[test]
fn a_slot_has_a_new_generation_for_each_tenant() {
    let (tell, tenants) = mpsc::channel();
    let (tell_end, ends) = mpsc::channel();
    let server = words(Config::default());
    let address = server.local_addr();
    let handle = server
        .start(move |_, conn| {
            tell.send(conn.id()).expect("the test listens");
            let tell_end = tell_end.clone();
            conn.handlers().on_closed(move |_, conn, _| {
                let id = conn.id();
                let mut server = conn.server();
                let kept = server.connection_count() == 1 && server.connection(id).is_none();
                tell_end.send(kept).expect("the test listens");
            })
        })
        .expect("a loop");
    let mut ids: Vec<ConnectionId> = Vec::new();
    for _ in 0..5 {
        let client = connect(address);
        ids.push(told(&tenants));
        drop(client);
        assert!(told(&ends), "the slot is kept until on_closed has run, and its id finds nothing");
        assert_eq!(handle.run(|_, server| server.connection_count()).expect("a loop"), 0);
    }
    let slot = |id: &ConnectionId| id.to_string().split('.').next().map(str::to_owned);
    assert!(ids.iter().all(|id| slot(id) == slot(&ids[0])), "one slot serves them all: {ids:?}");
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");

    let tenant: TcpStream = connect(address);
    let id = told(&tenants);
    for stale in ids {
        assert!(handle.connection(stale).expect("a loop").is_none());
        let sent = handle.send(stale, "to nobody".into()).expect("a loop");
        assert!(matches!(sent, Err(WriteError::Closed(packet)) if packet == "to nobody"));
    }
    handle.send(id, "to you".into()).expect("a loop").expect("room");
    assert_eq!(read_line(&tenant), "to you");
    handle.stop(ms(0)).expect("a stop");
    assert_over(&tenant);
}
