//! Limits that hold: outboxes, inboxes, memory, descriptors, the number of connections.

use std::time::Duration;

use bytes::Bytes;
use wheelhouse::codec::BytesCodec;
use wheelhouse::testing::{Simulation, Sleep};
use wheelhouse::{CloseReason, Config, Connection, Overload, SlowConsumers, WriteError};

use crate::frames::{Frames, frame};
use crate::talker::Talker;
use crate::watch::{Watch, aloof, echo, listen};

const FRAMES: Frames = Frames { stateless: true };
const EMFILE: i32 = 24;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// Backpressure.

/// Writes what is left, as far as there is room: `on_drain` is to go on.
fn pour(left: &mut Vec<Bytes>, conn: &mut Connection<'_, BytesCodec, Vec<Bytes>>) {
    while let Some(next) = left.pop() {
        match conn.write(next) {
            Ok(()) => {}
            Err(WriteError::Full(next)) => return left.push(next),
            Err(error) => panic!("{error}"),
        }
    }
    conn.close();
}

#[test]
fn a_write_that_was_refused_below_the_high_mark_is_followed_by_on_drain() {
    // The first waits below the low mark, and between the marks.
    for first in [50, 99] {
        let mut sim = Simulation::builder(BytesCodec::new())
            .config(Config::default().outbox(60, 100, 200))
            .state(vec![Bytes::from(vec![b'2'; 180]), Bytes::from(vec![b'1'; first])])
            .start(|_, conn| {
                conn.handlers()
                    .on_read(|left, conn, _| {
                        pour(left, conn);
                        Ok(())
                    })
                    .on_drain(pour)
            });
        let peer = sim.connect();
        peer.window(0);
        peer.send("go");
        sim.run_until_idle();
        assert_eq!(sim.state().len(), 1, "the second is still to be written");
        for waits in (0..first).rev() {
            peer.window(1);
            sim.run_until_idle();
            assert_eq!(
                sim.state().is_empty(),
                waits + 180 <= 200,
                "{waits} bytes of the first wait"
            );
        }
        peer.window(usize::MAX);
        sim.run_until_idle();
        assert_eq!(peer.received().len(), first + 180);
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from_between_the_high_mark_and_the_low() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().outbox(1_000, 4_000, 16_000))
        .state(Watch::default())
        .start(echo);
    let peer = sim.connect();
    let packet = frame(&[b'x'; 98]);
    peer.window(0);
    peer.send(packet.repeat(100));
    let sleep = sim.run_until_idle();
    assert!(matches!(sleep, Sleep::AtMost(_)), "nothing to do but to wait: {sleep:?}");
    assert_eq!(sim.state().packets.len(), 40, "as many as fill the outbox to its high mark");
    peer.send(&packet);
    sim.run_until_idle();
    assert_eq!(peer.unread(), 100, "not even read");

    peer.window(2_900);
    sim.run_until_idle();
    assert_eq!(sim.state().packets.len(), 40, "1,100 bytes wait: not at the low mark yet");
    assert_eq!(sim.state().drained, 0);
    peer.window(100);
    sim.run_until_idle();
    assert_eq!(sim.state().drained, 1);
    assert_eq!(sim.state().packets.len(), 70, "from the low mark up to the high one");
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(peer.received(), packet.repeat(101));
    assert_eq!(sim.server().stats().packets_refused, 0);
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn room_that_was_gone_before_it_could_be_told_is_told_when_it_comes_again() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let peer = sim.connect();
    peer.window(0);
    peer.send("some bytes");
    sim.run_until_idle();
    peer.window(usize::MAX);
    peer.window(0);
    sim.run_until_idle();
    assert_eq!(sim.server().stats().queued_bytes, 10);
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(peer.received(), b"some bytes");
}

#[test]
fn packets_that_came_while_the_outbox_was_full_are_handled_once_it_has_emptied() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().outbox(10, 100, 1_000))
        .state(Watch::default())
        .start(listen);
    let peer = sim.connect();
    peer.window(0);
    sim.run_until_idle();
    sim.server().broadcast(Bytes::from(vec![b'x'; 200]), SlowConsumers::Skip);
    peer.send(frame(b"one"));
    sim.run_until_idle();
    assert!(sim.state().packets.is_empty(), "its answer would find no room");
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(sim.state().sizes(), [3]);
}

#[test]
fn a_full_inbox_stops_the_reads_and_a_read_starts_them_again() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().inbox(5))
        .state(Watch::default())
        .start(aloof);
    let peer = sim.connect();
    peer.send(frame(b"p").repeat(8));
    sim.run_until_idle();
    peer.send(frame(b"q").repeat(8));
    assert_eq!(sim.run_until_idle(), Sleep::Unlimited);
    assert_eq!(sim.server().stats().packets_in, 5);
    assert_eq!(peer.unread(), 24, "the second lot is the kernel's business");
    let id = sim.state().accepted[0];
    let mut taken = Vec::new();
    for _ in 0..16 {
        let mut server = sim.server();
        let mut conn = server.connection(id).expect("open");
        taken.extend(conn.read().expect("one at least"));
        sim.run_until_idle();
        assert!(sim.server().stats().packets_in <= taken.len() as u64 + 5);
    }
    assert_eq!(taken, b"ppppppppqqqqqqqq");
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn a_write_over_the_hard_cap_gives_the_packet_back() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().outbox(10, 20, 100))
        .state(Watch::default())
        .start(listen);
    let peer = sim.connect();
    peer.window(0);
    sim.run_until_idle();
    let id = sim.state().accepted[0];
    let mut server = sim.server();
    let mut conn = server.connection(id).expect("open");
    conn.write(Bytes::from(vec![1; 500])).expect("anything goes into an empty outbox");
    let refused = conn.write(Bytes::from_static(b"more")).expect_err("500 of 100 bytes wait");
    assert_eq!(refused.into_packet().expect("given back"), "more");
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(peer.received(), [1; 500]);
}

#[test]
fn the_memory_cap_drops_the_connection_that_holds_most() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().max_queued_bytes(10_000))
        .state(Watch::default())
        .start(listen);
    let peers = [sim.connect(), sim.connect(), sim.connect()];
    peers.iter().for_each(|peer| peer.window(0));
    sim.run_until_idle();
    let ids = sim.state().accepted.clone();
    for (id, size) in [(ids[0], 3_000), (ids[1], 4_000), (ids[2], 2_500), (ids[0], 600)] {
        let mut server = sim.server();
        let mut conn = server.connection(id).expect("open");
        conn.write(Bytes::from(vec![0; size])).expect("room");
        sim.run_until_idle();
    }
    assert_eq!(sim.state().closed, [(ids[1], CloseReason::SlowConsumer)]);
    assert!(peers[1].was_reset());
    assert_eq!(sim.server().stats().queued_bytes, 6_100);
    assert_eq!(sim.state().errors.len(), 1);
}

#[test]
fn what_a_connection_that_is_over_held_costs_no_other_its_place() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().max_queued_bytes(1_000))
        .state(Watch::default())
        .start(|watch, conn| {
            let is_first = watch.accepted.is_empty();
            if is_first { aloof(watch, conn) } else { echo(watch, conn) }
        });
    let (over, other) = (sim.connect(), sim.connect());
    other.window(0);
    sim.run_until_idle();
    over.send(frame(&[b'x'; 800])); // it waits in the inbox
    sim.run_until_idle();
    assert!(sim.server().stats().queued_bytes > 800);
    over.reset();
    other.send(frame(&[b'y'; 300]).repeat(3)); // one turn serves both
    sim.turn();
    let first = sim.state().accepted[0];
    assert_eq!(sim.state().closed, [(first, CloseReason::IoError)]);
    let stats = sim.server().stats();
    assert_eq!((stats.slow_consumers, stats.queued_bytes), (0, 906));
    other.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(other.received(), frame(&[b'y'; 300]).repeat(3));
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn a_slow_consumer_is_counted_and_told_once_whatever_becomes_of_the_last_words() {
    let told_once = |sim: &mut Simulation<Talker, Watch>| {
        assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
        assert_eq!(sim.state().errors.len(), 1, "{:?}", sim.state().errors);
        let stats = sim.server().stats();
        assert_eq!((stats.slow_consumers, stats.queued_bytes), (1, 0));
    };
    let start = |config: Config| {
        let mut sim = Simulation::builder(Talker::default())
            .config(config)
            .state(Watch::default())
            .start(listen);
        let peer = sim.connect();
        peer.window(1); // so that a packet has been begun, which the last words are to follow
        sim.run_until_idle();
        (sim, peer)
    };
    let everyone = |sim: &mut Simulation<Talker, Watch>, size, slow| {
        sim.server().broadcast(Bytes::from(vec![b'x'; size]), slow);
    };
    // They are not taken in time, which began before they were said.
    let (mut sim, _peer) = start(Config::default().outbox(10, 20, 40).write_timeout(ms(5_000)));
    everyone(&mut sim, 15, SlowConsumers::Disconnect);
    sim.run_for(ms(3_000));
    for _ in 0..4 {
        everyone(&mut sim, 15, SlowConsumers::Disconnect);
    }
    sim.run_for(ms(1_999));
    assert_eq!(sim.server().stats().open, 1);
    sim.run_for(ms(1));
    told_once(&mut sim);
    // They find no room.
    let (mut sim, _peer) = start(Config::default().max_queued_bytes(1_000));
    everyone(&mut sim, 900, SlowConsumers::Skip);
    sim.run_until_idle();
    everyone(&mut sim, 500, SlowConsumers::Skip);
    sim.run_until_idle();
    assert_eq!(sim.server().stats().open, 1, "the begun packet and the last words fit");
    assert_eq!(sim.server().stats().slow_consumers, 1);
    sim.run_for(ms(30_000));
    told_once(&mut sim);
    let (mut sim, _peer) = start(Config::default().max_queued_bytes(1_000));
    everyone(&mut sim, 960, SlowConsumers::Skip);
    sim.run_until_idle();
    everyone(&mut sim, 500, SlowConsumers::Skip);
    sim.run_until_idle();
    told_once(&mut sim);
}

#[test]
fn a_closing_connection_goes_on_discarding_however_full_its_outbox_is() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().outbox(100, 200, 10_000).read_budget(12))
        .state(Watch::default())
        .start(|watch, conn| {
            listen(watch, conn).on_read(|_, conn, _| {
                conn.write(Bytes::from(vec![b'x'; 1_000]))?;
                conn.close();
                Ok(())
            })
        });
    let peer = sim.connect();
    peer.window(0);
    // A peer that writes all it has before it reads: it must be able to.
    peer.send(frame(b"1").repeat(10));
    sim.run_until_idle();
    assert_eq!(peer.unread(), 0);
    peer.end();
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(peer.received().len(), 1_002);
    assert_eq!(sim.state().reasons(), [CloseReason::Local]);
    assert!(!peer.was_reset());
}

#[test]
fn what_a_closing_connection_throws_away_keeps_to_the_budget_of_its_turn() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().read_budget(1_000))
        .start(|(), conn| {
            conn.handlers().on_read(|(), conn, _| {
                conn.close();
                Ok(())
            })
        });
    let peer = sim.connect();
    peer.send("enough");
    sim.run_until_idle();
    peer.send(vec![7; 2_500]);
    for left in [1_500, 500, 0] {
        sim.turn();
        assert_eq!(peer.unread(), left);
    }
}

// Accepting under duress.

#[test]
fn out_of_descriptors_it_sheds_one_rests_and_tries_again() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let (shed, waiting) = (sim.connect(), sim.connect());
    sim.fail_accept(EMFILE, 2);
    assert_eq!(sim.run_until_idle(), Sleep::AtMost(ms(100)), "it neither spins nor stalls");
    assert_eq!((sim.backlog(), sim.server().stats().rejected), (2, 0), "room may be on its way");
    sim.run_for(ms(100));
    assert!(shed.is_ended(), "turned away rather than left waiting");
    assert_eq!((sim.backlog(), sim.server().stats().rejected), (1, 1));
    sim.run_for(ms(100));
    assert_eq!(sim.state().accepted.len(), 1);
    waiting.send("hello");
    sim.run_until_idle();
    assert_eq!(waiting.received(), b"hello");
}

#[test]
fn a_connection_that_closes_ends_the_rest_early() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let first = sim.connect();
    sim.run_until_idle();
    let _others = [sim.connect(), sim.connect()];
    sim.fail_accept(EMFILE, 1);
    sim.run_until_idle();
    assert_eq!(sim.backlog(), 2);
    first.end();
    sim.run_until_idle();
    assert_eq!((sim.backlog(), sim.elapsed()), (0, Duration::ZERO));
}

#[test]
fn only_a_whole_rest_without_room_turns_somebody_away() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let first = sim.connect();
    sim.run_until_idle();
    let _second = sim.connect();
    sim.fail_accept(EMFILE, 1);
    sim.run_for(ms(60));
    first.end();
    sim.run_until_idle();
    assert_eq!((sim.backlog(), sim.state().accepted.len()), (0, 2));
    // The rest's end finds no room, but there has been some since it began.
    let third = sim.connect();
    sim.fail_accept(EMFILE, 3);
    sim.run_for(ms(60));
    let stats = sim.server().stats();
    assert_eq!((stats.accept_failures, stats.rejected, third.is_ended()), (3, 0, false));
    sim.run_for(ms(80));
    let stats = sim.server().stats();
    assert_eq!((stats.accept_failures, stats.rejected, third.is_ended()), (4, 1, true));
}

#[test]
fn rests_that_were_cut_short_do_not_make_it_knock_more_often() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let peers: Vec<_> = (0..50).map(|_| sim.connect()).collect();
    sim.run_until_idle();
    let _waiting: Vec<_> = (0..200).map(|_| sim.connect()).collect();
    sim.fail_accept(EMFILE, 10_000);
    for peer in &peers {
        sim.run_for(ms(1));
        peer.end(); // which ends the rest
    }
    sim.run_until_idle();
    let before = sim.server().stats();
    sim.run_for(ms(1_000));
    let after = sim.server().stats();
    assert_eq!(after.accept_failures - before.accept_failures, 10, "one in each 100 ms");
    assert_eq!(after.timers, 1);
}

#[test]
fn transient_accept_errors_pass_at_once_and_a_failed_registration_is_no_connection() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let (lost, _kept) = (sim.connect(), sim.connect());
    sim.fail_accept(103, 3); // ECONNABORTED on Linux; elsewhere some other error, after which it rests
    sim.fail_register(1);
    sim.run_for(ms(1_000));
    assert!(lost.is_ended());
    let stats = sim.server().stats();
    assert_eq!((stats.accepted, stats.open, stats.closed, stats.accept_failures), (1, 1, 0, 4));
}

#[test]
fn over_the_limit_a_peer_waits_in_the_backlog_or_is_turned_away_as_configured() {
    for overload in [Overload::Backlog, Overload::Reject] {
        let mut sim = Simulation::builder(BytesCodec::new())
            .config(Config::default().max_connections(1).overload(overload))
            .state(Watch::default())
            .start(echo);
        let (first, second) = (sim.connect(), sim.connect());
        assert_eq!(sim.run_until_idle(), Sleep::Unlimited);
        let waits = overload == Overload::Backlog;
        assert_eq!((sim.backlog(), second.is_ended()), (usize::from(waits), !waits));
        first.end();
        sim.run_until_idle();
        assert_eq!(sim.state().accepted.len(), if waits { 2 } else { 1 });
    }
}
