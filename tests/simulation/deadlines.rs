//! What comes too late, to the millisecond, in no time.

use std::time::Duration;

use bytes::Bytes;
use wheelhouse::codec::BytesCodec;
use wheelhouse::testing::{Dial, Peer, Simulation, Sleep};
use wheelhouse::{CloseReason, Config, SlowConsumers};

use crate::frames::{Frames, frame};
use crate::talker::Talker;
use crate::watch::{Watch, echo, listen};

const FRAMES: Frames = Frames { stateless: false };

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn start(config: Config) -> (Simulation<Frames, Watch>, Peer) {
    let mut sim = Simulation::builder(FRAMES).config(config).state(Watch::default()).start(echo);
    let peer = sim.connect();
    sim.run_until_idle();
    (sim, peer)
}

#[test]
fn a_packet_has_so_long_from_its_first_byte_however_it_dribbles() {
    let (mut sim, peer) = start(Config::default().packet_timeout(secs(30)));
    for byte in frame(&[0; 60]).iter().take(60) {
        peer.send([*byte]);
        sim.run_for(ms(500));
        assert!(sim.state().closed.is_empty() || sim.elapsed() >= secs(30), "{:?}", sim.elapsed());
    }
    assert_eq!(sim.elapsed(), secs(30));
    assert_eq!(sim.state().reasons(), [CloseReason::ProtocolError]);
    let error = &sim.state().errors[0];
    assert!(error.contains("30s") && error.contains("packet_timeout"), "{error}");
}

#[test]
fn whole_packets_owe_nothing() {
    let (mut sim, peer) = start(Config::default().packet_timeout(secs(1)));
    for _ in 0..5 {
        peer.send(&frame(b"packet")[..3]);
        sim.run_for(ms(900));
        peer.send(&frame(b"packet")[3..]);
        assert!(matches!(sim.run_until_idle(), Sleep::AtMost(_) | Sleep::Unlimited));
    }
    sim.run_for(secs(10));
    assert_eq!(sim.state().packets.len(), 5);
    assert!(sim.state().closed.is_empty());
    assert_eq!(sim.run_until_idle(), Sleep::Unlimited, "no deadline is left behind");
}

#[test]
fn a_peer_is_not_late_while_it_is_not_read_from() {
    let (mut sim, peer) = start(Config::default().packet_timeout(secs(1)));
    peer.send(&frame(b"packet")[..3]);
    sim.run_until_idle();
    let id = sim.state().accepted[0];
    sim.server().connection(id).expect("open").pause_read();
    peer.send(&frame(b"packet")[3..]);
    sim.run_for(secs(10));
    assert!(sim.state().closed.is_empty(), "the rest has come, and this side does not read it");
    sim.server().connection(id).expect("open").resume_read();
    sim.run_until_idle();
    assert_eq!(peer.received(), frame(b"packet"));
    peer.send(&frame(b"packet")[..3]);
    sim.run_for(ms(999));
    assert!(sim.state().closed.is_empty());
    sim.run_for(ms(1));
    assert_eq!(sim.state().reasons(), [CloseReason::ProtocolError]);
}

#[test]
fn a_peer_is_not_late_while_the_outbox_keeps_it_from_being_read() {
    let mut sim = Simulation::builder(FRAMES)
        .config(
            Config::default().outbox(10, 100, 1_000).packet_timeout(secs(1)).write_timeout(None),
        )
        .state(Watch::default())
        .start(echo);
    let peer = sim.connect();
    peer.window(0);
    peer.send(&frame(b"packet")[..3]);
    sim.run_until_idle();
    sim.server().broadcast(Bytes::from(vec![b'x'; 200]), SlowConsumers::Skip);
    peer.send(&frame(b"packet")[3..]);
    sim.run_until_idle();
    assert_eq!(peer.unread(), 5, "it is this side that does not read");
    sim.run_for(secs(10));
    assert!(sim.state().closed.is_empty(), "{:?}", sim.state().errors);
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert!(peer.received().ends_with(&frame(b"packet")));
    peer.send(&frame(b"packet")[..3]);
    sim.run_for(ms(999));
    assert!(sim.state().closed.is_empty());
    sim.run_for(ms(1));
    assert_eq!(sim.state().reasons(), [CloseReason::ProtocolError]);
}

#[test]
fn output_that_is_not_taken_ends_it_and_taking_some_starts_anew() {
    let (mut sim, peer) = start(Config::default().write_timeout(secs(5)));
    peer.window(0);
    peer.send(frame(&[0; 98]));
    sim.run_for(ms(4_999));
    peer.window(1);
    sim.run_for(ms(4_999));
    assert!(sim.state().closed.is_empty());
    sim.run_for(ms(1));
    assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
    assert!(peer.was_reset());
    let stats = sim.server().stats();
    assert_eq!((stats.slow_consumers, stats.queued_bytes), (1, 0));
}

#[test]
fn idle_counts_from_the_last_input() {
    let (mut sim, peer) = start(Config::default().idle_timeout(secs(60)));
    for _ in 0..3 {
        sim.run_for(secs(59));
        peer.send(frame(b"here"));
        sim.run_until_idle();
    }
    sim.run_for(ms(59_999));
    assert!(!peer.is_ended());
    sim.run_for(ms(1));
    assert!(peer.is_ended());
    peer.end();
    sim.run_until_idle();
    assert_eq!(sim.state().reasons(), [CloseReason::Idle]);
}

#[test]
fn a_peer_that_answered_is_asked_in_its_next_silence_whatever_the_idle_limit() {
    for idle in [None, Some(secs(40)), Some(secs(3_600))] {
        let mut sim = Simulation::builder(Talker::default())
            .config(Config::default().probe_after(secs(30)).idle_timeout(idle))
            .state(Watch::default())
            .start(listen);
        let peer = sim.connect();
        sim.run_until_idle();
        // It answers at once, just before the next question could be due, and where it may only after that.
        for answers_after in [ms(0), ms(9_999), ms(29_999), ms(90_000)] {
            if idle.is_some_and(|idle| idle <= secs(30) + answers_after) {
                continue;
            }
            sim.run_for(ms(29_999));
            assert_eq!(peer.take_received(), b"", "{idle:?}, {answers_after:?}");
            sim.run_for(ms(1));
            assert_eq!(peer.take_received(), b"there?\n", "{idle:?}, {answers_after:?}");
            sim.run_for(answers_after);
            assert_eq!(peer.take_received(), b"", "once in each silence");
            peer.send("yes\n");
            sim.run_until_idle();
        }
        assert!(sim.state().closed.is_empty());
        assert_eq!(sim.server().stats().timers, 1);
    }
}

#[test]
fn an_outbound_connection_is_not_idle_before_it_is_made() {
    for dial in [Dial::Hang, Dial::Accept] {
        let mut sim = Simulation::builder(BytesCodec::new())
            .config(Config::default().idle_timeout(secs(5)).linger(ms(0)))
            .state(Watch::default())
            .start(listen);
        sim.plan_dial(dial);
        let mut server = sim.server();
        let handlers = server
            .handlers()
            .on_error(|watch: &mut Watch, _, error| watch.errors.push(error.to_string()))
            .on_closed(|watch, conn, reason| watch.closed.push((conn.id(), reason)));
        let address = "192.0.2.1:7".parse().expect("an address");
        server.connect(address, secs(60), handlers).expect("room");
        let (limit, reason) = match dial {
            Dial::Accept => {
                sim.advance(secs(20)); // the loop stands still before it can look
                sim.run_until_idle();
                (secs(25), CloseReason::Idle)
            }
            _ => (secs(60), CloseReason::IoError),
        };
        sim.run_for(limit - sim.elapsed() - ms(1));
        assert!(sim.state().closed.is_empty(), "{dial:?}: {:?}", sim.state().reasons());
        sim.run_for(ms(1));
        assert_eq!(sim.state().reasons(), [reason]);
        let late = usize::from(reason == CloseReason::IoError);
        assert_eq!(sim.state().errors.len(), late, "{:?}", sim.state().errors);
    }
}

#[test]
fn a_close_waits_for_the_peers_end_as_long_as_it_may_linger() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(Config::default().linger(secs(2)))
        .state(Watch::default())
        .start(|watch, conn| {
            listen(watch, conn).on_read(|_, conn, _| {
                conn.write(Bytes::from_static(b"bye"))?;
                conn.close();
                Ok(())
            })
        });
    let (patient, prompt) = (sim.connect(), sim.connect());
    patient.send("x");
    prompt.send("x");
    sim.run_until_idle();
    prompt.send("more, that nobody wants");
    prompt.end();
    sim.run_for(ms(1_999));
    assert!(prompt.is_closed() && !prompt.was_reset());
    assert!(patient.is_ended() && !patient.is_closed());
    sim.run_for(ms(1));
    assert!(patient.is_closed() && !patient.was_reset());
    assert_eq!((patient.received(), prompt.received()), (b"bye".to_vec(), b"bye".to_vec()));
    assert_eq!(sim.state().reasons(), [CloseReason::Local; 2]);
}

#[test]
fn timers_fire_in_time_never_early_and_keep_to_their_grid() {
    let mut sim = Simulation::builder(BytesCodec::new())
        .state(Vec::<Duration>::new())
        .start(|_, conn| conn.handlers());
    let start = sim.server().now();
    sim.server().every(ms(10), move |log, server| log.push(server.now() - start));
    sim.run_for(ms(35));
    assert_eq!(sim.state(), &[ms(10), ms(20), ms(30)]);
    sim.advance(ms(30)); // it oversleeps: 40, 50 and 60 are one call
    sim.run_for(ms(10));
    assert_eq!(sim.state()[3..], [ms(65), ms(70)]);
}

/// More of them than one turn serves.
const MANY: usize = 300;

#[test]
fn what_came_in_time_is_not_late_because_the_loop_was() {
    let limits = Config::default().packet_timeout(secs(1)).idle_timeout(secs(2));
    let mut sim = Simulation::builder(FRAMES).config(limits).state(Watch::default()).start(echo);
    let peers: Vec<_> = (0..MANY).map(|_| sim.connect()).collect();
    sim.run_until_idle();
    for peer in &peers {
        peer.send(&frame(b"packet")[..3]);
    }
    sim.run_until_idle();
    for peer in &peers {
        peer.send(&frame(b"packet")[3..]);
    }
    sim.advance(secs(10)); // the loop stands still
    sim.run_until_idle();
    assert!(sim.state().closed.is_empty(), "{:?}", sim.state().errors);
    assert!(peers.iter().all(|peer| peer.received() == frame(b"packet")));
    sim.run_for(ms(1_999));
    assert!(sim.state().closed.is_empty());
    sim.run_for(ms(10));
    assert!(peers.iter().all(Peer::is_ended), "and its deadlines are kept as ever");
}

#[test]
fn output_that_could_go_is_not_stuck_because_the_loop_was() {
    let (mut sim, peer) = start(Config::default().write_timeout(secs(5)));
    peer.window(0);
    peer.send(frame(&[0; 98]));
    sim.run_for(secs(1));
    peer.window(1 << 20);
    sim.advance(secs(10)); // the loop stands still
    sim.run_until_idle();
    assert_eq!(peer.received(), frame(&[0; 98]));
    assert!(sim.state().closed.is_empty(), "{:?}", sim.state().errors);
}
