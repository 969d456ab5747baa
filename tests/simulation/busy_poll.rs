//! Looking before sleeping: for as long as was asked, and to no other effect.

use std::time::Duration;

use wheelhouse::Config;
use wheelhouse::codec::BytesCodec;
use wheelhouse::testing::{Faults, Peer, Simulation, Sleep};

use crate::watch::{Watch, echo};

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A server that looks for 50 µs, that is 50 times, at rest; and a peer of it.
fn start(config: Config) -> (Simulation<BytesCodec, Watch>, Peer) {
    let mut sim = Simulation::builder(BytesCodec::new())
        .config(config.busy_poll(us(50)))
        .state(Watch::default())
        .start(echo);
    let peer = sim.connect();
    sim.run_until_idle();
    (sim, peer)
}

/// How often it looks in one turn.
fn looks_in_a_turn(sim: &mut Simulation<BytesCodec, Watch>) -> (u64, Sleep) {
    let before = sim.looks();
    let sleep = sim.turn();
    (sim.looks() - before, sleep)
}

#[test]
fn after_each_thing_to_do_it_looks_for_so_long_and_then_sleeps() {
    let (mut sim, peer) = start(Config::default());
    assert_eq!(looks_in_a_turn(&mut sim), (0, Sleep::Unlimited), "it has looked, and sleeps");
    for _ in 0..3 {
        peer.send("a packet");
        // It wakes the sleep, or, had it come a little earlier, is found by the first look.
        sim.turn();
        assert_eq!(peer.take_received(), b"a packet");
        assert_eq!(looks_in_a_turn(&mut sim), (50, Sleep::Unlimited));
        assert_eq!(looks_in_a_turn(&mut sim), (0, Sleep::Unlimited));
    }
}

#[test]
fn what_comes_while_it_looks_is_found_without_a_sleep() {
    let (mut sim, peer) = start(Config::default());
    peer.send("one");
    sim.turn();
    peer.send("two");
    assert_eq!(looks_in_a_turn(&mut sim), (1, Sleep::None));
    assert_eq!(peer.received(), b"onetwo");
}

#[test]
fn another_thread_s_wish_is_found_by_a_look() {
    let (mut sim, peer) = start(Config::default());
    peer.send("one");
    sim.turn();
    let id = sim.state().accepted[0];
    let handle = sim.server().connection(id).expect("open").handle();
    handle.try_write("from elsewhere".into()).expect("room");
    assert_eq!(looks_in_a_turn(&mut sim), (1, Sleep::None));
    assert_eq!(peer.received(), b"onefrom elsewhere");
}

#[test]
fn a_timer_fires_on_time_while_it_looks() {
    let (mut sim, peer) = start(Config::default());
    peer.send("one");
    sim.turn();
    let at = sim.elapsed() + us(20);
    sim.server().after(us(20), |watch, _| watch.errors.push("it fired".to_owned()));
    sim.server().after(us(2_000), |watch, _| watch.errors.push("again".to_owned()));
    sim.turn();
    assert_eq!((sim.elapsed(), sim.state().errors.len()), (at, 1), "in time, and no sleep");
    // The time for looking begins anew with that; what is left until the next one is for the sleep.
    assert_eq!(looks_in_a_turn(&mut sim), (50, Sleep::AtMost(us(1_930))));
    sim.run_for(us(1_930));
    assert_eq!(sim.state().errors.len(), 2);
}

#[test]
fn a_stop_does_not_wait_for_the_looking_to_end() {
    let (mut sim, peer) = start(Config::default());
    sim.server().stop(Duration::ZERO);
    let looks = sim.looks();
    sim.run_until_idle();
    assert!(sim.is_stopped() && peer.was_reset());
    assert_eq!(sim.looks(), looks);
}

#[test]
fn a_turn_that_may_not_sleep_does_not_look_either() {
    let (mut sim, peer) = start(Config::default());
    peer.send("one");
    let _ = sim.reactor().turn(Some(Duration::ZERO)).expect("a working poll");
    let looks = sim.looks();
    let _ = sim.reactor().turn(Some(Duration::ZERO)).expect("a working poll");
    assert_eq!((sim.looks(), &*peer.received()), (looks, &b"one"[..]));
}

#[test]
fn a_loop_that_was_not_asked_to_does_not_look() {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Watch::default()).start(echo);
    let peer = sim.connect();
    peer.send("one");
    sim.run_until_idle();
    assert_eq!((sim.looks(), sim.elapsed()), (0, Duration::ZERO));
}

#[test]
fn no_mishap_is_lost_between_looks_and_sleeps() {
    for seed in 0..200 {
        let mut sim = Simulation::builder(BytesCodec::new())
            .config(Config::default().busy_poll(us(seed % 7)))
            .seed(seed)
            .faults(Faults::rough())
            .state(Watch::default())
            .start(echo);
        let peers = [(); 5].map(|()| sim.connect());
        for round in 0..10 {
            for peer in &peers {
                peer.send(format!("round {round} of the network's worst,"));
            }
            sim.run_until_idle();
        }
        for peer in &peers {
            let text = String::from_utf8(peer.received()).expect("text");
            assert_eq!(text.split(',').count(), 11, "seed {seed}: {text}");
        }
    }
}
