//! What a protocol says by itself: it waits behind no packet, falls into none, and is bounded.

use std::time::Duration;

use bytes::Bytes;
use wheelhouse::testing::{Faults, Simulation};
use wheelhouse::{CloseReason, Config, SlowConsumers};

use crate::talker::Talker;
use crate::watch::{Watch, echo, listen};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn talking(config: Config) -> Simulation<Talker, Watch> {
    Simulation::builder(Talker::default()).config(config).state(Watch::default()).start(echo)
}

#[test]
fn it_answers_by_itself_and_only_to_the_newest_question() {
    let mut sim = talking(Config::default());
    let peer = sim.connect();
    peer.send("ping 1\nhello\nping 2\nping 3\n");
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "hello\npong 3\n");
    assert_eq!(sim.state().packets.len(), 1, "a question is no packet");
}

#[test]
fn a_reply_goes_ahead_of_what_waits_but_not_into_a_packet_that_has_been_begun() {
    let mut sim = talking(Config::default());
    let peer = sim.connect();
    peer.window(2);
    peer.send("first\nsecond\nthird\n");
    sim.run_until_idle();
    peer.send("ping 1\n");
    sim.run_until_idle();
    peer.window(3); // the rest of the first packet, but for its line's end
    sim.run_until_idle();
    peer.send("ping 2\nping 3\n"); // the first reply has not gone: it is the newest of these that follows
    sim.run_until_idle();
    peer.window("\npong 1\n".len());
    sim.run_until_idle();
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "first\npong 1\npong 3\nsecond\nthird\n");
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn a_peer_that_asks_without_end_and_never_reads_costs_no_memory() {
    let mut sim = talking(Config::default());
    let peer = sim.connect();
    peer.window(0);
    for turn in 0..1_000 {
        peer.send(format!("ping {turn}\n"));
        sim.run_until_idle();
    }
    let queued = sim.server().stats().queued_bytes;
    assert!(queued < 100, "one reply, and what it costs to keep: {queued} bytes");
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "pong 0\npong 999\n");
}

#[test]
fn a_reply_has_room_where_packets_have_none() {
    let mut sim = Simulation::builder(Talker::default())
        .config(Config::default().outbox(1, 64, 64))
        .state(Watch::default())
        .start(listen);
    let peer = sim.connect();
    peer.window(1);
    sim.run_until_idle();
    let everyone = |sim: &mut Simulation<Talker, Watch>, packet: &'static str| {
        sim.server().broadcast(Bytes::from_static(packet.as_bytes()), SlowConsumers::Skip)
    };
    let long = "a packet of half the cap, or so";
    assert_eq!(everyone(&mut sim, long).sent, 1);
    sim.run_until_idle();
    while everyone(&mut sim, long).sent == 1 {}
    peer.window(0);
    // Input is not read above the high mark, so the question is the loop's own.
    let before = sim.server().stats().queued_bytes;
    sim.run_until_idle();
    assert!(sim.server().stats().queued_bytes >= before);
    peer.window(usize::MAX);
    peer.send("ping\n");
    sim.run_until_idle();
    assert!(text(&peer.received()).ends_with("pong\n"));
}

// Its own end.

#[test]
fn a_conversation_that_the_peer_ends_is_closed_with_the_answers_that_were_due() {
    let mut sim = talking(Config::default());
    let peer = sim.connect();
    peer.send("hello\nquit\nignored\n");
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "hello\nbye: the peer closed\n");
    assert!(peer.is_ended() && sim.state().closed.is_empty(), "it waits for the peer's end");
    peer.end();
    sim.run_until_idle();
    assert_eq!(sim.state().reasons(), [CloseReason::Peer]);
    assert_eq!(sim.state().sizes(), [5]);
}

#[test]
fn a_conversation_may_end_together_with_its_stream() {
    let mut sim = talking(Config::default());
    let (polite, silent) = (sim.connect(), sim.connect());
    polite.send("hello\nquit\n");
    polite.end();
    silent.send("hello\nping\n");
    silent.end();
    sim.run_until_idle();
    assert_eq!(text(&polite.received()), "hello\nbye: the peer closed\n");
    assert_eq!(text(&silent.received()), "hello\npong\n", "it has not taken leave");
    assert_eq!(sim.state().reasons(), [CloseReason::Peer; 2]);
    assert!(polite.is_ended() && silent.is_ended());
}

#[test]
fn what_a_peer_that_has_ended_the_conversation_would_not_read_is_dropped() {
    let mut sim = talking(Config::default());
    let peer = sim.connect();
    peer.window(2);
    peer.send("first\nsecond\nquit\n");
    sim.run_until_idle();
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "first\nbye: the peer closed\n");
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn last_words_that_replace_all_that_waited_are_given_as_long_as_any_output_and_no_longer() {
    let mut sim = talking(Config::default().write_timeout(Duration::from_secs(5)));
    let peer = sim.connect();
    peer.window(0);
    peer.send("first\n");
    sim.run_until_idle();
    sim.run_for(Duration::from_secs(3));
    peer.send("quit\n"); // drops the packet, which has not been begun
    sim.run_for(Duration::from_millis(4_999));
    assert!(!peer.is_closed());
    sim.run_for(Duration::from_millis(1));
    assert!(peer.was_reset());
    assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
}

#[test]
fn a_decoder_that_fails_says_why_before_its_connection_closes() {
    let mut sim = talking(Config::default());
    let peer = sim.connect();
    peer.send("hello\nfail\n");
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "hello\nnonsense\nbye: protocol error\n");
    assert_eq!(sim.state().errors, ["the peer broke the protocol: nonsense"]);
}

#[test]
fn it_takes_leave_in_every_graceful_close_and_in_none_that_is_not() {
    for grace in [Duration::from_secs(1), Duration::ZERO] {
        let mut sim = talking(Config::default());
        let peer = sim.connect();
        sim.run_until_idle();
        sim.server().stop(grace);
        sim.run_until_idle();
        let words = if grace.is_zero() { "" } else { "bye: server shutdown\n" };
        assert_eq!(text(&peer.received()), words);
    }
}

// The slow.

#[test]
fn a_slow_consumer_hears_so_after_the_packet_that_was_begun() {
    let mut sim = talking(Config::default().outbox(10, 20, 40));
    let peer = sim.connect();
    peer.window(3);
    sim.run_until_idle();
    let packet = Bytes::from_static(b"fifteen letters");
    let mut dropped = 0;
    for _ in 0..5 {
        dropped += sim.server().broadcast(packet.clone(), SlowConsumers::Disconnect).disconnected;
        sim.run_until_idle();
    }
    assert_eq!(dropped, 1);
    assert!(sim.state().closed.is_empty(), "it may still read");
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "fifteen letters\nbye: slow consumer\n");
    peer.end();
    sim.run_until_idle();
    assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
    assert_eq!(sim.server().stats().slow_consumers, 1);
}

#[test]
fn a_slow_consumer_has_no_longer_for_the_last_words_than_for_any_output() {
    let limit = Duration::from_secs(5);
    let mut sim = talking(Config::default().outbox(10, 20, 40).write_timeout(limit));
    let peer = sim.connect();
    peer.window(1);
    sim.run_until_idle();
    for _ in 0..4 {
        let packet = Bytes::from_static(b"fifteen letters");
        sim.server().broadcast(packet, SlowConsumers::Disconnect);
        sim.run_until_idle();
    }
    for _ in 0..4 {
        sim.run_for(Duration::from_secs(1));
        peer.window(1); // taking a byte now and then wins it no time
        assert!(sim.state().closed.is_empty());
    }
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
    assert!(peer.was_reset());
}

#[test]
fn a_protocol_without_last_words_drops_a_slow_consumer_at_once() {
    let curt = Talker::curt();
    let mut sim = Simulation::builder(curt)
        .config(Config::default().outbox(10, 20, 40))
        .state(Watch::default())
        .start(listen);
    let peer = sim.connect();
    peer.window(1);
    sim.run_until_idle();
    for _ in 0..4 {
        let packet = Bytes::from_static(b"fifteen letters");
        sim.server().broadcast(packet, SlowConsumers::Disconnect);
        sim.run_until_idle();
    }
    assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
    assert!(peer.was_reset());
}

// Questions to the silent.

#[test]
fn a_silent_peer_is_asked_once_in_each_silence_and_closed_without_an_answer() {
    let config = Config::default()
        .probe_after(Duration::from_secs(30))
        .idle_timeout(Duration::from_secs(40));
    let mut sim = talking(config);
    let peer = sim.connect();
    sim.run_until_idle();
    sim.run_for(Duration::from_secs(29));
    assert_eq!(text(&peer.take_received()), "");
    sim.run_for(Duration::from_secs(2));
    assert_eq!(text(&peer.take_received()), "there?\n");
    peer.send("yes\n");
    sim.run_until_idle();
    assert_eq!(text(&peer.take_received()), "yes\n");
    sim.run_for(Duration::from_secs(31));
    assert_eq!(text(&peer.take_received()), "there?\n", "it was silent again");
    sim.run_for(Duration::from_secs(8));
    assert_eq!(text(&peer.take_received()), "", "asked once");
    sim.run_for(Duration::from_secs(1));
    assert_eq!(text(&peer.take_received()), "bye: idle for too long\n");
}

#[test]
fn a_probe_needs_no_idle_limit() {
    let mut sim = talking(Config::default().probe_after(Duration::from_secs(30)));
    let peer = sim.connect();
    sim.run_until_idle();
    sim.run_for(Duration::from_secs(100));
    assert_eq!(text(&peer.received()), "there?\n");
}

#[test]
fn a_peer_that_was_dialled_is_asked_in_time_however_long_the_dialling_might_have_taken() {
    let mut sim = talking(Config::default().probe_after(Duration::from_secs(5)));
    let mut server = sim.server();
    let address = "192.0.2.1:7".parse().expect("an address");
    let handlers = server.handlers();
    server.connect(address, Duration::from_secs(60), handlers).expect("room");
    sim.run_until_idle();
    let peer = sim.dialled().expect("it was dialled");
    sim.run_for(Duration::from_secs(4));
    assert_eq!(text(&peer.received()), "");
    sim.run_for(Duration::from_secs(2));
    assert_eq!(text(&peer.received()), "there?\n");
}

// Answers that take their time.

#[test]
fn a_blocked_decoder_waits_for_its_answer_and_then_goes_on() {
    let mut sim = Simulation::builder(Talker::default()).state(Watch::default()).start(listen);
    let peer = sim.connect();
    peer.send("ask one\nask two\nthree\n");
    peer.end();
    sim.run_until_idle();
    assert_eq!(sim.state().sizes(), [7], "the next ones wait");
    let id = sim.state().accepted[0];
    sim.run_for(Duration::from_secs(100));
    assert!(sim.state().closed.is_empty(), "it is not late: it is this side that owes an answer");
    for answer in ["1", "2"] {
        let mut server = sim.server();
        let mut conn = server.connection(id).expect("it waits");
        conn.write(Bytes::from_static(answer.as_bytes())).expect("room");
        sim.run_until_idle();
    }
    assert_eq!(sim.state().sizes(), [7, 7, 5]);
    assert_eq!(text(&peer.received()), "1\n2\n");
    assert_eq!(sim.state().reasons(), [CloseReason::Peer]);
}

#[test]
fn nothing_goes_ahead_of_an_answer_that_was_waited_for() {
    let mut sim = talking(Config::default().probe_after(Duration::from_secs(3)));
    let peer = sim.connect();
    peer.window(3);
    peer.send("first\nask\nping 1\n"); // all three are echoed or answered, and wait
    sim.run_until_idle();
    sim.run_for(Duration::from_secs(5));
    peer.window("st\nas".len());
    sim.run_until_idle();
    peer.window(usize::MAX);
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "first\nask\npong 1\n", "and no question meanwhile");
    peer.send("ask\nping 2\nquit\n");
    peer.window(0);
    sim.run_until_idle();
    peer.window(usize::MAX);
    sim.run_until_idle();
    let last = "first\nask\npong 1\nask\nbye: the peer closed\n";
    assert_eq!(text(&peer.received()), last, "last words drop no such answer");
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn a_peer_too_slow_for_the_answer_it_asked_for_hears_no_last_words() {
    let mut sim = talking(Config::default().outbox(10, 20, 40));
    let peer = sim.connect();
    peer.window(1);
    peer.send("ask\n");
    sim.run_until_idle();
    let packet = Bytes::from_static(b"fifteen letters");
    for _ in 0..3 {
        sim.server().broadcast(packet.clone(), SlowConsumers::Disconnect);
        sim.run_until_idle();
    }
    assert_eq!(sim.state().reasons(), [CloseReason::SlowConsumer]);
    assert!(peer.was_reset());
    assert_eq!(text(&peer.received()), "a");
    assert_eq!(sim.server().stats().queued_bytes, 0);
}

#[test]
fn a_question_that_came_before_there_was_a_handler_reaches_it() {
    let mut sim = Simulation::builder(Talker::default()).start(|(), conn| conn.handlers());
    let peer = sim.connect();
    peer.send("one\nask two\nthree\n");
    sim.run_until_idle();
    sim.server().for_each_connection(|conn| {
        let handlers = conn.handlers();
        conn.set_handlers(handlers.on_read(|(), conn, packet| Ok(conn.write(packet)?)));
    });
    sim.run_until_idle();
    assert_eq!(text(&peer.received()), "one\nask two\nthree\n");
}

#[test]
fn whatever_the_network_does_replies_stand_between_packets() {
    for seed in 0..200 {
        let mut sim = Simulation::builder(Talker::default())
            .seed(seed)
            .faults(Faults::rough())
            .state(Watch::default())
            .start(echo);
        let peer = sim.connect();
        for round in 0..50 {
            peer.window(round % 7);
            peer.send(format!("packet {round}\nping {round}\n"));
            if round % 3 == 0 {
                sim.turn();
            }
        }
        peer.window(usize::MAX);
        sim.run_until_idle();
        let received = text(&peer.received());
        let mut lines: Vec<&str> = received.lines().collect();
        let mut last_pong = None;
        lines.retain(|line| {
            let Some(round) = line.strip_prefix("pong ") else { return true };
            let round: u32 = round.parse().expect("a whole reply");
            assert!(last_pong < Some(round), "an older answer after a newer, seed {seed}");
            last_pong = Some(round);
            false
        });
        assert_eq!(last_pong, Some(49), "the newest is always answered, seed {seed}");
        let sent: Vec<String> = (0..50).map(|round| format!("packet {round}")).collect();
        assert_eq!(lines, sent, "seed {seed}");
        assert_eq!(sim.server().stats().queued_bytes, 0);
    }
}
