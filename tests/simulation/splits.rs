//! However the bytes are cut, and however the socket balks, the packets and the answers are the same.

use proptest::prelude::*;
use wheelhouse::codec::BytesCodec;
use wheelhouse::testing::{Faults, Simulation};
use wheelhouse::{CloseReason, Config};

use crate::frames::{Frames, frame};
use crate::watch::{Watch, echo};

fn small_steps() -> Config {
    Config::default().read_budget(700).packet_budget(5).outbox(200, 900, 6_000)
}

/// Cuts `bytes` at the given places, as parts of 65,536.
fn cut<'a>(bytes: &'a [u8], places: &[u16]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> =
        places.iter().map(|place| usize::from(*place) * bytes.len() / 65_536).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn faults() -> impl Strategy<Value = Faults> {
    let chance = || prop_oneof![Just(0.0), 0.0..0.8];
    (chance(), chance(), chance(), chance(), chance(), chance(), chance()).prop_map(
        |(short_reads, short_writes, would_blocks, interrupts, delays, batches, duplicates)| {
            let mut faults = Faults::none();
            faults.short_reads = short_reads;
            faults.short_writes = short_writes;
            faults.would_blocks = would_blocks;
            faults.interrupts = interrupts;
            faults.delays = delays;
            faults.batches = batches;
            faults.duplicates = duplicates;
            faults
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_arrive_whole_and_are_answered_in_order(
        sizes in proptest::collection::vec(0_usize..600, 1..30),
        places in proptest::collection::vec(any::<u16>(), 0..40),
        window in 1_usize..800,
        (faults, seed) in (faults(), any::<u64>()),
        (half_open, idle) in any::<(bool, bool)>(),
    ) {
        let payloads: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(at, size)| (0..*size).map(|byte| (at * 31 + byte) as u8).collect())
            .collect();
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();

        let mut sim = Simulation::builder(Frames { stateless: true })
            .config(small_steps().half_open(half_open))
            .state(Watch::default())
            .seed(seed)
            .faults(faults)
            .start(|watch, conn| echo(watch, conn).on_end(|_, conn| conn.close()));
        let peer = sim.connect();
        let mut answer = Vec::new();
        for part in cut(&stream, &places) {
            peer.send(part);
            peer.window(window);
            if idle { sim.run_until_idle(); } else { sim.turn(); }
            answer.extend(peer.take_received());
        }
        peer.end();
        for _ in 0..stream.len() / window + 2 {
            peer.window(window);
            sim.run_until_idle();
            answer.extend(peer.take_received());
        }

        let packets: Vec<&[u8]> =
            sim.state().packets.iter().map(|(_, packet)| &packet[..]).collect();
        prop_assert_eq!(packets, payloads.iter().map(|payload| &payload[..]).collect::<Vec<_>>());
        prop_assert_eq!(answer, stream);
        let reason = if half_open { CloseReason::Local } else { CloseReason::Peer };
        prop_assert_eq!(sim.state().reasons(), [reason]);
        prop_assert!(peer.is_ended() && peer.is_closed());
        let stats = sim.server().stats();
        prop_assert_eq!((stats.queued_bytes, stats.open, stats.packets_refused), (0, 0, 0));
    }

    #[test]
    fn plain_bytes_come_back_as_they_went(
        stream in proptest::collection::vec(any::<u8>(), 0..5_000),
        places in proptest::collection::vec(any::<u16>(), 0..20),
        (faults, seed) in (faults(), any::<u64>()),
    ) {
        let mut sim = Simulation::builder(BytesCodec::new())
            .config(small_steps())
            .state(Watch::default())
            .seed(seed)
            .faults(faults)
            .start(echo);
        let peer = sim.connect();
        for part in cut(&stream, &places) {
            peer.send(part);
            sim.turn();
        }
        peer.end();
        sim.run_until_idle();
        let heard: Vec<u8> =
            sim.state().packets.iter().flat_map(|(_, packet)| packet.to_vec()).collect();
        prop_assert_eq!(&heard, &stream);
        prop_assert_eq!(&peer.received(), &stream);
        prop_assert_eq!(sim.state().reasons(), [CloseReason::Peer]);
    }
}
