//! Resets in the middle of a frame, at each of its bytes, by the thousand: nothing is left of them, and nobody else notices.

use crate::common::{connect_from, ms, reset, send};
use crate::crowd::Crowd;
use crate::ground::{Figures, Process, alone, seed, size, until};
use crate::kit::programs::Program;

use std::net::Ipv4Addr;

/// A frame of 64 bytes behind its length, which comes back.
fn frames(peer: usize, question: u64) -> (Vec<u8>, Vec<u8>) {
    let mut frame = 64_u32.to_be_bytes().to_vec();
    frame.extend(format!("{peer:>32}{question:>32}").into_bytes());
    (frame.clone(), frame)
}

#[test]
fn a_reset_at_any_byte_of_a_frame_leaves_nothing_behind() {
    let _alone = alone();
    let mut rng = fastrand::Rng::with_seed(seed());
    let figures = Figures::of("resets");
    let server = Program::start("echo", &["--addr", "127.0.0.1:0", "--codec", "length"]);
    let (address, process) = (server.address(), Process(server.pid()));
    let rested = process.rested();
    let mut calm = Crowd::talk_for(size(ms(500), ms(3_000)), address, 10, ms(10), frames);
    figures.tell("10 peers alone", calm.latencies.summary());
    until("the crowd's connections are gone", || process.descriptors() == rested);

    let healthy = Crowd::start(address, 10, ms(10), frames);
    until("the crowd is there", || process.descriptors() == rested + 10);
    let before = process.memory();
    let resets = size(1_000, 20_000);
    for at in 0..resets {
        let source = Ipv4Addr::new(127, 30, 0, u8::try_from(at / 2_000 + 1).expect("few"));
        let peer = connect_from(source, address);
        let (frame, _) = frames(at, 0);
        let whole = rng.usize(..3);
        let cut = at % (frame.len() + 1);
        send(&peer, [frame.repeat(whole), frame[..cut].to_vec()].concat());
        reset(peer); // some with an answer on its way
    }
    until("their connections are gone", || process.descriptors() == rested + 10);
    let grown = process.memory().saturating_sub(before);
    let mut healthy = healthy.finish();
    figures.tell("resets", resets);
    figures.tell("10 peers beside them", healthy.latencies.summary());
    figures.tell("memory grown by", format_args!("{} KiB", grown / 1024));
    assert_eq!((calm.lost, healthy.lost), Default::default(), "nobody is dropped");
    assert!(grown < 4 << 20, "{grown} bytes are left of {resets} resets");
    until("all are gone", || process.descriptors() == rested);
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
