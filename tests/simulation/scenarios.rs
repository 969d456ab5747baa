//! One rule each: budgets that leave nothing behind, limits that hold, a loop that neither spins nor stalls.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wheelhouse::codec::{BytesCodec, Decoder, Encoder, WriteBuffer};
use wheelhouse::testing::{Dial, Faults, Simulation, Sleep};
use wheelhouse::{CloseReason, Config, ConnectionId, HandlerError, Overload, SlowConsumers};

use crate::frames::{Frames, frame};
use crate::watch::{Watch, aloof, echo, listen};

const FRAMES: Frames = Frames { stateless: true };
const EMFILE: i32 = 24;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// Budgets.

#[test]
fn newcomers_that_the_accept_budget_left_are_taken_without_a_new_event() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().accepts_per_turn(4))
        .state(Watch::default())
        .start(echo);
    let _peers: Vec<_> = (0..10).map(|_| sim.connect()).collect();
    let mut accepted = Vec::new();
    assert_eq!(sim.turn(), Sleep::Unlimited);
    accepted.push(sim.state().accepted.len());
    for _ in 0..2 {
        assert_eq!(sim.turn(), Sleep::None, "with somebody in the backlog");
        accepted.push(sim.state().accepted.len());
    }
    assert_eq!(accepted, [4, 8, 10]);
    sim.run_until_idle();
    assert_eq!(sim.backlog(), 0);
}

#[test]
fn bytes_and_the_end_behind_them_that_the_byte_budget_left_are_read_without_a_new_event() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().read_budget(1_000))
        .state(Watch::default())
        .start(echo);
    let peer = sim.connect();
    peer.send(vec![7; 9_500]);
    peer.end();
    sim.turn();
    sim.turn();
    assert_eq!(sim.state().sizes().iter().sum::<usize>(), 1_000);
    assert_eq!(sim.turn(), Sleep::None, "with bytes left in the socket");
    sim.run_until_idle();
    assert_eq!(sim.state().sizes(), [&[1_000; 9][..], &[500]].concat());
    assert_eq!(peer.received().len(), 9_500);
    assert_eq!(sim.state().reasons(), [CloseReason::Peer]);
    assert!(peer.is_ended() && !peer.was_reset());
}

#[test]
fn packets_that_the_packet_budget_left_are_handled_without_a_new_event() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().packet_budget(3))
        .state(Watch::default())
        .start(echo);
    let peer = sim.connect();
    let other = sim.connect();
    sim.run_until_idle();
    peer.send(frame(b"x").repeat(10));
    other.send(frame(b"other"));
    sim.turn();
    assert_eq!(sim.state().packets.len(), 4, "three, and the other connection's one");
    peer.end();
    sim.run_until_idle();
    assert_eq!(sim.state().packets.len(), 11);
    assert_eq!(peer.received(), frame(b"x").repeat(10));
    assert_eq!(sim.state().reasons(), [CloseReason::Peer]);
}

#[test]
fn an_idle_loop_sleeps_and_a_busy_one_does_not() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    assert_eq!(sim.run_until_idle(), Sleep::Unlimited);
    let peer = sim.connect();
    peer.send("hello");
    assert_eq!(sim.run_until_idle(), Sleep::Unlimited, "an idle connection needs no timer");
    sim.server().after(ms(10), |_, _| {});
    assert_eq!(sim.run_until_idle(), Sleep::AtMost(ms(10)));
    sim.advance(ms(10));
    assert_eq!(sim.turn(), Sleep::None, "a timer is due");
    assert_eq!(sim.turn(), Sleep::Unlimited);
    drop(peer);
}

// Stale events.

#[test]
fn a_stale_event_does_not_reach_the_connection_that_took_the_slot() {
    let mut stale = Faults::none();
    stale.stale = 1.0;
    for seed in 0..20 {
        let mut sim =
            Simulation::builder(BytesCodec::new()).seed(seed).state(Watch::default()).start(echo);
        let first = sim.connect();
        sim.run_until_idle();
        first.end();
        sim.run_until_idle();
        let second = sim.connect();
        sim.run_until_idle();
        sim.set_faults(stale); // each turn brings news of the first
        for _ in 0..20 {
            sim.turn();
        }
        assert_eq!(sim.turn(), Sleep::Unlimited, "seed {seed}: stale news is no work");
        second.send("still here");
        sim.turn();
        sim.turn();
        assert_eq!(second.received(), b"still here", "seed {seed}");
        assert_eq!(sim.state().closed.len(), 1, "seed {seed}");
    }
}

#[test]
fn an_event_in_the_batch_in_which_its_connection_is_aborted_is_not_served() {
    for seed in 0..20 {
        let mut rough = Faults::none();
        rough.duplicates = 0.5; // and the order of events is the seed's
        let mut sim = Simulation::builder(BytesCodec::new())
            .seed(seed)
            .state(Watch::default())
            .start(|watch, conn| {
                aloof(watch, conn).on_read(|watch: &mut Watch, conn, packet| {
                    watch.packets.push((conn.id(), packet));
                    let me = conn.id();
                    conn.server().for_each_connection(|other| {
                        if other.id() != me {
                            other.abort();
                        }
                    });
                    Ok(())
                })
            });
        let peers = [sim.connect(), sim.connect(), sim.connect()];
        sim.run_until_idle();
        sim.set_faults(rough);
        peers.iter().for_each(|peer| peer.send("it is me or them"));
        sim.turn();
        let newcomer = sim.connect();
        sim.run_until_idle();
        assert_eq!(sim.state().packets.len(), 1, "seed {seed}: only the first was served");
        assert_eq!(sim.state().reasons(), [CloseReason::Local; 2], "seed {seed}");
        assert_eq!(peers.iter().filter(|peer| peer.was_reset()).count(), 2, "seed {seed}");
        assert!(!newcomer.is_closed(), "seed {seed}");
    }
}

// Codecs and handlers at fault.

/// Yields packets from nothing.
#[derive(Clone)]
struct Fountain;

impl Decoder for Fountain {
    type Packet = Bytes;
    type Error = Infallible;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Infallible> {
        Ok((!src.is_empty()).then(|| Bytes::copy_from_slice(src)))
    }
}

impl Encoder<Bytes> for Fountain {
    type Error = Infallible;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Infallible> {
        dst.extend_from_slice(&packet);
        Ok(())
    }
}

#[test]
fn a_decoder_that_yields_without_consuming_is_named_and_closed() {
    let mut sim = Simulation::builder(Fountain).state(Watch::default()).start(listen);
    let peer = sim.connect();
    peer.send("?");
    sim.run_until_idle();
    peer.end();
    sim.run_until_idle();
    assert_eq!(sim.state().reasons(), [CloseReason::HandlerError]);
    let [error] = &sim.state().errors[..] else { panic!("{:?}", sim.state().errors) };
    assert!(error.contains("without consuming a byte"), "{error}");
}

#[test]
fn what_a_panic_left_undecoded_reaches_nobody_else() {
    let mut sim = Simulation::builder(FRAMES).state(Watch::default()).start(|watch, conn| {
        aloof(watch, conn).on_read(|watch: &mut Watch, conn, packet| {
            if packet == "panic" {
                std::panic::resume_unwind(Box::new("as the test wants it"));
            }
            watch.packets.push((conn.id(), packet));
            Ok(())
        })
    });
    let (one, two) = (sim.connect(), sim.connect());
    sim.run_until_idle();
    one.send([frame(b"panic"), frame(b"secret")].concat());
    sim.run_until_idle();
    two.send(frame(b"mine"));
    sim.run_until_idle();
    assert_eq!(sim.state().reasons(), [CloseReason::HandlerPanic]);
    let packets: Vec<_> = sim.state().packets.iter().map(|(_, packet)| &packet[..]).collect();
    assert_eq!(packets, [b"mine"]);
    assert!(one.was_reset() && !two.is_closed());
}

#[test]
fn a_handler_error_is_told_answered_and_closes_that_connection_alone() {
    let mut sim = Simulation::builder(FRAMES).state(Watch::default()).start(|watch, conn| {
        listen(watch, conn).on_read(|_, _, _| Err(HandlerError::msg("no"))).on_error(
            |watch, conn, error| {
                watch.errors.push(error.to_string());
                conn.write(Bytes::from_static(b"sorry")).expect("it may be told");
            },
        )
    });
    let (one, two) = (sim.connect(), sim.connect());
    one.send([frame(b"1"), frame(b"2")].concat());
    sim.run_until_idle();
    one.end();
    sim.run_until_idle();
    assert_eq!(sim.state().errors, ["the handler failed: no"]);
    assert_eq!(one.received(), frame(b"sorry"));
    assert!(one.is_ended() && one.is_closed() && !two.is_ended());
    assert_eq!(sim.state().reasons(), [CloseReason::HandlerError]);
}

// Backpressure.

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

// Accepting under duress.

#[test]
fn out_of_descriptors_it_sheds_one_rests_and_tries_again() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let (shed, waiting) = (sim.connect(), sim.connect());
    sim.fail_accept(EMFILE, 1);
    assert_eq!(sim.run_until_idle(), Sleep::AtMost(ms(100)), "it neither spins nor stalls");
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
    assert_eq!(sim.backlog(), 1);
    first.end();
    sim.run_until_idle();
    assert_eq!((sim.backlog(), sim.elapsed()), (0, Duration::ZERO));
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

// Outbound.

#[test]
fn outbound_connections_are_made_refused_or_given_up() {
    let address = "192.0.2.1:80".parse().expect("an address");
    let mut sim = Simulation::builder(FRAMES).state(Watch::default()).start(listen);
    let mut peers = Vec::new();
    let mut outcome = |dial: Dial| {
        sim.plan_dial(dial);
        *sim.state_mut() = Watch::default();
        let connected = Rc::new(Cell::new(false));
        let note = Rc::clone(&connected);
        let mut server = sim.server();
        let handlers = server.handlers().on_connect(move |_, _| note.set(true));
        let handlers = handlers
            .on_error(|watch: &mut Watch, _, error| watch.errors.push(error.to_string()))
            .on_closed(|watch, conn, reason| watch.closed.push((conn.id(), reason)));
        let id: ConnectionId = server.connect(address, ms(500), handlers).expect("room");
        let mut conn = server.connection(id).expect("begun");
        conn.write(Bytes::from_static(b"early")).expect("queued until it is made");
        sim.run_until_idle();
        let peer = sim.dialled();
        let sent = peer.as_ref().map(|peer| peer.received());
        peers.extend(peer);
        sim.run_for(ms(500));
        (connected.get(), sent, sim.state().reasons(), sim.state().errors.len())
    };
    assert_eq!(outcome(Dial::Accept), (true, Some(frame(b"early")), vec![], 0));
    let failed = |sent| (false, sent, vec![CloseReason::IoError], 1);
    assert_eq!(outcome(Dial::Refuse), failed(Some(vec![])));
    assert_eq!(outcome(Dial::Hang), failed(Some(vec![])));
    assert_eq!(outcome(Dial::Fail(std::io::ErrorKind::AddrNotAvailable)), failed(None));
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

// Half-open.

#[test]
fn a_half_open_connection_that_is_reset_is_over() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().half_open(true))
        .state(Watch::default())
        .start(echo);
    let peer = sim.connect();
    peer.send("x");
    peer.end();
    sim.run_until_idle();
    assert!(sim.state().closed.is_empty());
    peer.reset();
    sim.run_until_idle();
    assert_eq!(sim.state().reasons(), [CloseReason::IoError]);
}

#[test]
fn packets_that_wait_in_the_inbox_of_a_half_open_connection_go_to_a_new_on_read() {
    let mut sim = Simulation::builder(FRAMES)
        .config(Config::default().half_open(true))
        .state(Watch::default())
        .start(aloof);
    let peer = sim.connect();
    peer.send(frame(b"first").repeat(3));
    peer.end();
    sim.run_until_idle();
    let id = sim.state().accepted[0];
    let (watch, mut server) = sim.reactor().parts();
    let mut conn = server.connection(id).expect("half open");
    let handlers = echo(watch, &mut conn);
    conn.set_handlers(handlers);
    sim.run_until_idle();
    assert_eq!(peer.received(), frame(b"first").repeat(3));
}

// The stop.

#[test]
fn a_second_stop_between_turns_shortens_the_sleep_too() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .state(Watch::default())
        .start(|watch, conn| echo(watch, conn).on_stop(|_, _| { /* stays */ }));
    let _peer = sim.connect();
    sim.run_until_idle();
    sim.server().stop(Duration::from_secs(60));
    assert_eq!(sim.run_until_idle(), Sleep::AtMost(Duration::from_secs(60)));
    sim.server().stop(Duration::ZERO);
    assert_eq!(sim.turn(), Sleep::None, "the deadline is now");
    assert!(sim.is_stopped());
    assert_eq!(sim.state().reasons(), [CloseReason::Forced]);
}

#[test]
fn a_stop_returns_as_soon_as_the_last_connection_is_gone() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let (quick, slow) = (sim.connect(), sim.connect());
    sim.run_until_idle();
    sim.server().stop(Duration::from_secs(60));
    sim.run_until_idle();
    quick.end();
    sim.run_for(ms(300));
    assert!(!sim.is_stopped() && quick.is_closed() && slow.is_ended());
    assert!(sim.connect().was_reset(), "nobody listens any more");
    slow.end();
    sim.run_until_idle();
    let report = sim.reactor().report().expect("stopped");
    assert_eq!((report.closed, report.forced, report.elapsed), (2, 0, ms(300)));
    assert_eq!(sim.state().reasons(), [CloseReason::Shutdown; 2]);
}
