//! Go's channels, kept: each row of the table in docs/design.md, in the loop and from another thread.
//!
//! That a call blocks is shown by what has already happened when it returns: `open` is set before the one thing that can
//! let it through, so a call that did not wait finds it unset.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use kit::{
    Hold, after_a_turn, begin, gate, in_time, lines, narrow_peer, peer, read_lines, say, take, trio,
};
use wheelhouse::codec::LinesCodec;
use wheelhouse::{Config, ConnectionHandle, HandleError, ReadError, Turn, WriteError};

const SHORT: Duration = Duration::from_millis(20);

// `writeChan <- p` blocks while full.

#[test]
fn a_handler_that_answers_each_packet_never_finds_the_outbox_full() {
    const PACKETS: usize = 12_000;
    let answer = "a".repeat(1_000); // 12 MB in all, more than the kernel holds for a narrow peer
    let (tell, told) = mpsc::channel();
    let server = lines()
        .config(Config::default().outbox(2_000, 8_000, 10_000))
        .start(move |_, conn| {
            let (answer, tell) = (answer.clone(), tell.clone());
            conn.handlers()
                .on_read(move |_, conn, packet| {
                    assert!(conn.queued() < 8_000, "{} bytes queued at a packet", conn.queued());
                    Ok(conn.write(format!("{packet} {answer}"))?)
                })
                .on_error(move |_, _, error| tell.send(error.to_string()).expect("a test"))
        })
        .expect("a server");
    let mut peer = narrow_peer(server.local_addr());
    let requests: String = (0..PACKETS).map(|n| format!("{n}\n")).collect();
    say(&mut peer, &requests); // all of them before the first answer is read
    let mut taken = 0;
    let mut turns_without = 0;
    while taken == 0 || turns_without < 5 {
        let before = std::mem::replace(&mut taken, after_a_turn(&server).packets_in);
        turns_without = if taken == before { turns_without + 1 } else { 0 };
    }
    assert!(taken < PACKETS as u64, "it went on though its peer takes no answers");
    let answers = in_time("reading the answers", move || {
        let numbers = read_lines(peer).take(PACKETS);
        numbers.map(|line| line.split(' ').next().map(str::parse::<usize>)).collect::<Vec<_>>()
    });
    let expected: Vec<_> = (0..PACKETS).map(|n| Some(Ok(n))).collect();
    assert_eq!(answers, expected);
    assert!(told.try_recv().is_err(), "no write was refused");
    let stats = server.stats().expect("a running server");
    assert_eq!(stats.packets_refused, 0);
    server.stop(Duration::ZERO).expect("a stop");
}

#[test]
fn a_write_to_a_full_channel_blocks_its_thread() {
    let (server, peer, handle) = trio(Config::default().handle_writes(4));
    let hold = Hold::of(&server);
    for n in 0..4 {
        handle.try_write(n.to_string()).expect("room for four");
    }
    let refused = handle.try_write("five".into()).expect_err("the channel is full");
    assert!(matches!(&refused, WriteError::Full(packet) if packet == "five"), "{refused:?}");
    let late = handle.write_timeout("late".into(), SHORT).expect_err("nobody makes room");
    assert_eq!(late.into_packet().as_deref(), Some("late"), "given back");

    let (open, opened) = gate();
    let (tell, called) = mpsc::channel();
    let writer = handle.clone();
    let write = begin(move || {
        tell.send(()).expect("a test");
        writer.write("blocked".into()).expect("room came");
        opened.load(Ordering::SeqCst)
    });
    take(&called);
    open.store(true, Ordering::SeqCst);
    hold.release();
    assert!(write.wait("the blocked write"), "it returned before there was room");
    handle.close();
    let got: Vec<_> = read_lines(peer).collect();
    assert_eq!(got, ["0", "1", "2", "3", "blocked"]);
}

#[test]
fn a_peer_that_does_not_read_blocks_the_writing_thread() {
    let config = Config::default().outbox(1_000, 4_000, 8 << 20).handle_writes(2);
    let (server, peer, handle) = trio(config);
    // However large the kernel's buffers, one of these does not get through.
    let mut sent = 0_usize;
    let refused = loop {
        let line = format!("{sent} {}", "x".repeat(60_000));
        match handle.write_timeout(line, Duration::from_millis(300)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 2_000, "120 MB went to a peer that reads nothing");
    };
    assert!(refused.is_full());
    let queued = server.stats().expect("a running server").queued_bytes;
    assert!(queued < 150_000, "{queued} bytes wait: more than one packet over the high mark");

    let (open, opened) = gate();
    let (tell, called) = mpsc::channel();
    let writer = handle.clone();
    let write = begin(move || {
        tell.send(()).expect("a test");
        writer.write(refused.into_packet().expect("given back")).expect("the peer reads");
        opened.load(Ordering::SeqCst)
    });
    take(&called);
    open.store(true, Ordering::SeqCst);
    let read = begin(move || read_lines(peer).map(number).collect::<Vec<_>>());
    assert!(write.wait("the blocked write"), "it returned before the peer read");
    handle.close();
    assert_eq!(read.wait("the peer"), (0..=sent).collect::<Vec<_>>());
}

fn number(line: String) -> usize {
    line.split(' ').next().and_then(|first| first.parse().ok()).expect("a number first")
}

#[test]
fn what_waits_in_a_channel_follows_as_the_outbox_drains() {
    let (server, peer, handle) = trio(Config::default().outbox(100, 400, 100_000));
    let hold = Hold::of(&server);
    for n in 0..50 {
        handle.try_write(format!("{n} {}", "x".repeat(1_000))).expect("room"); // each is over the high mark
    }
    handle.close();
    hold.release();
    assert_eq!(read_lines(peer).map(number).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

// `select { case ch <- p: default: }`

#[test]
fn a_write_over_the_hard_cap_gives_the_packet_back() {
    let (tell, told) = mpsc::channel();
    let server = lines()
        .config(Config::default().outbox(100, 500, 1_000))
        .start(move |_, conn| {
            let large = conn.write("L".repeat(5_000)); // over the cap, but nothing else waits
            let small = conn.write("s".into());
            conn.close();
            tell.send((large.is_ok(), small)).expect("a test");
            conn.handlers()
        })
        .expect("a server");
    let peer = peer(server.local_addr());
    let (large, small) = take(&told);
    assert!(large, "a packet larger than the cap goes to an empty outbox");
    assert!(matches!(small, Err(WriteError::Full(packet)) if packet == "s"));
    let got: Vec<_> = read_lines(peer).collect();
    assert_eq!(got, ["L".repeat(5_000)], "nothing of a refused packet is sent");
    assert_eq!(server.stats().expect("a running server").packets_refused, 1);
}

// `<-readChan`

#[test]
fn without_on_read_packets_wait_and_a_full_inbox_stops_the_reading() {
    let mut reactor = lines()
        .config(Config::default().inbox(4))
        .into_reactor(|(), conn| conn.handlers())
        .expect("a reactor");
    let mut peer = peer(reactor.local_addr());
    say(&mut peer, "0\n1\n2\n3\n4\n5\n");
    let id = loop {
        assert_eq!(reactor.turn(Some(kit::PATIENCE)).expect("a turn"), Turn::Running);
        let mut first = None;
        reactor.server().for_each_connection(|conn| first = Some(conn.id()));
        if let Some(id) = first.filter(|_| reactor.server().stats().packets_in == 4) {
            break id;
        }
    };
    for _ in 0..20 {
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("a turn"), Turn::Running);
    }
    assert_eq!(reactor.server().stats().packets_in, 4, "the fifth packet has nowhere to go");

    let read = reactor.server().connection(id).expect("it is open").read();
    assert_eq!(read.as_deref(), Some("0"), "the oldest");
    assert_eq!(reactor.turn(Some(kit::PATIENCE)).expect("a turn"), Turn::Running);
    assert_eq!(reactor.server().stats().packets_in, 5, "and one came in for it");
}

#[test]
fn a_full_inbox_slows_its_peer_through_tcp() {
    let (_server, peer, handle) = trio(Config::default().inbox(2));
    peer.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket option");
    let mut peer = peer;
    let line = format!("{}\n", "x".repeat(8_191));
    let block = line.repeat(8);
    let mut sent = 0_usize;
    let error = loop {
        match std::io::Write::write(&mut peer, block.as_bytes()) {
            Ok(written) => sent += written,
            Err(error) => break error,
        }
        assert!(sent < 100 << 20, "100 MiB went to a server that has room for two packets");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(peer);
    let got = in_time("draining the inbox", move || handle.packets().count());
    assert_eq!(
        got,
        sent.div_ceil(line.len()),
        "everything that was sent is read, the cut line too"
    );
}

#[test]
fn a_read_blocks_its_thread_until_a_packet_comes() {
    let (_server, mut peer, handle) = trio(Config::default());
    assert_eq!(handle.try_read(), Err(ReadError::Empty));
    assert_eq!(handle.read_timeout(SHORT), Err(ReadError::Empty));

    let (open, opened) = gate();
    let (tell, called) = mpsc::channel();
    let read = begin(move || {
        tell.send(()).expect("a test");
        (handle.read(), opened.load(Ordering::SeqCst))
    });
    take(&called);
    open.store(true, Ordering::SeqCst);
    say(&mut peer, "at last\n");
    assert_eq!(read.wait("the read"), (Ok("at last".to_owned()), true));
}

#[test]
fn draining_a_full_inbox_resumes_the_reads() {
    let (server, mut peer, handle) = trio(Config::default().inbox(3));
    let text: String = (0..5_000).map(|n| format!("{n}\n")).collect();
    say(&mut peer, &text);
    for n in 0..5_000 {
        let read = handle.read_timeout(kit::PATIENCE);
        assert_eq!(read, Ok(n.to_string()), "{:?}", server.stats());
    }
    assert_eq!(handle.try_read(), Err(ReadError::Empty));
}

// Order.

#[test]
fn each_senders_packets_stay_in_order_and_senders_interleave() {
    const EACH: usize = 2_000;
    let server = lines()
        .start(|_, conn| conn.handlers().on_read(|_, conn, packet| Ok(conn.write(packet)?)))
        .expect("a server");
    let mut peer = peer(server.local_addr());
    say(&mut peer, "l 0\n"); // so that the connection is there
    let id = in_time("the connection", {
        let server = server.clone();
        move || loop {
            let found = server.run(|_, server| {
                let mut id = None;
                server.for_each_connection(|conn| id = Some(conn.id()));
                id
            });
            if let Some(id) = found.expect("a running server") {
                break id;
            }
        }
    });
    let handle = server.connection(id).expect("a running server").expect("it is open");
    let senders: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let handle = handle.clone();
            begin(move || {
                for n in 0..EACH {
                    handle.write(format!("{name} {n}")).expect("it is open");
                }
            })
        })
        .into();
    let text: String = (1..EACH).map(|n| format!("l {n}\n")).collect();
    say(&mut peer, &text); // the loop's own writes: the echo
    let next: Arc<[AtomicUsize; 4]> = Arc::default();
    let seen = Arc::clone(&next);
    in_time("the peer", move || {
        for line in read_lines(peer).take(4 * EACH) {
            let (name, n) = line.split_once(' ').expect("a name and a number");
            let sender = "abcl".find(name).expect("one of the four");
            let expected = seen[sender].fetch_add(1, Ordering::Relaxed);
            assert_eq!(n.parse(), Ok(expected), "out of {name}'s order");
        }
    });
    for sender in senders {
        sender.wait("a sender");
    }
    assert!(next.iter().all(|count| count.load(Ordering::Relaxed) == EACH));
}

// The loop's own thread.

#[test]
fn blocking_calls_on_the_loops_own_thread_say_that_they_would_deadlock() {
    let (server, mut peer, handle) = trio(Config::default());
    let on_loop: ConnectionHandle<LinesCodec> = handle.clone();
    let (tell, told) = mpsc::channel();
    let itself = server.clone();
    server
        .run(move |_, _| {
            let write = |result| matches!(result, Err(WriteError::WouldDeadlock(p)) if p == "p");
            assert!(write(on_loop.write("p".to_owned())));
            assert!(write(on_loop.write_timeout("p".to_owned(), SHORT)));
            assert_eq!(on_loop.read(), Err(ReadError::WouldDeadlock));
            assert_eq!(on_loop.read_timeout(SHORT), Err(ReadError::WouldDeadlock));
            assert_eq!(on_loop.error().expect_err("blocking"), ReadError::WouldDeadlock);
            assert_eq!(on_loop.packets().count(), 0);
            assert!(matches!(itself.stats(), Err(HandleError::WouldDeadlock)));
            assert!(matches!(itself.join(), Err(HandleError::WouldDeadlock)));
            // What does not block works here too.
            assert_eq!(on_loop.try_read(), Err(ReadError::Empty));
            on_loop.try_write("from the loop".into()).expect("room");
            itself.try_send(on_loop.id(), "and by a command".into()).expect("room");
            tell.send(()).expect("a test");
        })
        .expect("every assertion above held");
    take(&told);
    // The command of this turn is for the next, the handle's packet for this one.
    say(&mut peer, "unread\n");
    handle.close();
    let got = kit::read_to_end(&mut peer);
    assert!(got.contains("from the loop\n"), "{got}");
    drop(peer);

    server
        .run({
            let itself = server.clone();
            move |_, _| {
                let stop = itself.stop(Duration::from_secs(5));
                assert!(matches!(stop, Err(HandleError::WouldDeadlock)), "{stop:?}");
            }
        })
        .expect("every assertion above held");
    in_time("the stop that is under way all the same", move || server.join()).expect("a report");
}

#[test]
fn a_thread_that_ran_a_loop_may_wait_once_it_is_over() {
    let server = lines();
    let address = server.local_addr();
    let (tell, told) = mpsc::channel();
    let peer = begin(move || {
        let mut peer = peer(address);
        say(&mut peer, "last words\n");
        peer.shutdown(std::net::Shutdown::Write).expect("a socket that is open");
        kit::read_to_end(&mut peer)
    });
    let report = server
        .run(move |(), conn| {
            tell.send((conn.handle(), conn.server().handle())).expect("a test");
            conn.handlers().on_closed(|(), conn, _| conn.server().stop(Duration::ZERO))
        })
        .expect("a run");
    assert_eq!(peer.wait("the peer"), "");
    let (handle, server) = take(&told);
    assert_eq!(handle.read(), Ok("last words".into()));
    assert_eq!(handle.read(), Err(ReadError::Closed));
    assert_eq!(server.join().expect("it has stopped"), report);
}
