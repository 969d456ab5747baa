//! One rule each: budgets that leave nothing behind, handlers and codecs at fault, half-open ends, the stop.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wheelhouse::codec::{BytesCodec, Decoder, Encoder, WriteBuffer};
use wheelhouse::testing::{Dial, Faults, Peer, Simulation, Sleep};
use wheelhouse::{CloseReason, Config, ConnectionId, HandlerError};

use crate::frames::{Frames, frame};
use crate::watch::{Watch, aloof, echo, listen};

const FRAMES: Frames = Frames { stateless: true };

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

/// Encodes, and then panics over a packet that begins with an exclamation mark.
#[derive(Clone)]
struct Touchy;

impl Decoder for Touchy {
    type Packet = Bytes;
    type Error = Infallible;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Infallible> {
        Ok((!src.is_empty()).then(|| src.split().freeze()))
    }
}

impl Encoder<Bytes> for Touchy {
    type Error = Infallible;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Infallible> {
        let is_bad = packet.first() == Some(&b'!');
        dst.put_shared(packet);
        assert!(!is_bad, "a fault of the codec, as told");
        Ok(())
    }

    fn frame_len(&self, packet: &Bytes) -> usize {
        packet.len()
    }
}

#[test]
fn a_codec_that_panics_over_a_packet_for_another_leaves_that_one_as_it_was() {
    let config = Config::default().outbox(1_000, 5_000, 25_000);
    let sim = Simulation::builder(Touchy).config(config).state(Watch::default());
    let mut sim = sim.start(|watch, conn| {
        aloof(watch, conn).on_read(|watch: &mut Watch, conn, packet| {
            let first = watch.accepted[0];
            let mut server = conn.server();
            Ok(server.connection(first).expect("open").write(packet)?)
        })
    });
    let first = sim.connect();
    sim.run_until_idle();
    let id = sim.state().accepted[0];
    let say = |sim: &mut Simulation<Touchy, Watch>, size: usize, mark: u8| {
        let peer = sim.connect();
        let mut packet = vec![b'x'; size];
        packet[0] = mark;
        peer.send(packet);
        sim.run_until_idle();
        peer
    };
    // With nothing else queued, and behind something: the large one would be queued by reference.
    first.window(0);
    let mut peers = vec![say(&mut sim, 20_000, b'!')];
    peers.push(say(&mut sim, 30_000, b'x')); // larger than the cap: it goes where nothing waits
    first.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(first.take_received().len(), 30_000);
    first.window(0);
    peers.push(say(&mut sim, 100, b'x'));
    peers.push(say(&mut sim, 20_000, b'!'));
    first.window(10);
    sim.run_until_idle();
    first.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(first.received(), [b'x'; 100]);
    assert_eq!(sim.server().stats().queued_bytes, 0);
    assert_eq!(sim.state().reasons(), [CloseReason::HandlerPanic; 2]);
    assert!(sim.server().connection(id).is_some(), "it is no fault of its own");
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
        let sent = peer.as_ref().map(Peer::received);
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

// The network.

#[test]
fn a_connection_may_break_in_the_middle_of_a_write_that_was_taken() {
    let mut faults = Faults::none();
    faults.resets = 1.0;
    let mut came_in_part = 0;
    for seed in 0..40 {
        let mut sim =
            Simulation::builder(BytesCodec::new()).seed(seed).faults(faults).start(|(), conn| {
                conn.write(Bytes::from(vec![7; 2_000])).expect("room");
                conn.handlers()
            });
        let peer = sim.connect();
        sim.run_until_idle();
        let came = peer.received().len();
        assert_eq!(sim.server().stats().bytes_out, 2_000);
        assert!(peer.was_cut() && peer.is_closed() && (1..=2_000).contains(&came));
        came_in_part += usize::from(came < 2_000);
    }
    assert!((10..=30).contains(&came_in_part), "{came_in_part} of 40");
}
