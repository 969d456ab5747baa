//! What events, reads and the decoder have told, and what is to be done next: a step too many is a system call for nothing.

use super::*;
use crate::codec::BytesCodec;

fn filled(got: usize, asked: usize) -> Filled {
    Filled { got, asked, is_cut: false }
}

/// Whether it may be read, whether what is held may be decoded, whether there is work, and whether the end has been read.
fn next(inbound: &Inbound) -> [bool; 4] {
    [inbound.may_read(), inbound.may_decode(), inbound.has_work(), inbound.has_ended()]
}

const IDLE: [bool; 4] = [false, false, false, false];
const READ: [bool; 4] = [true, false, true, false];
const DECODE: [bool; 4] = [false, true, true, false];
const BOTH: [bool; 4] = [true, true, true, false];
const ENDED: [bool; 4] = [false, true, true, true];

#[test]
fn a_socket_is_read_until_it_is_empty_and_no_more() {
    let mut inbound = Inbound::default();
    assert_eq!(next(&inbound), IDLE);
    inbound.note_readable();
    assert_eq!(next(&inbound), READ);
    inbound.note_drained();
    assert_eq!(next(&inbound), IDLE);

    inbound.note_readable();
    inbound.note_filled(filled(10, 10));
    assert_eq!(next(&inbound), BOTH, "there may be more");
    inbound.note_filled(filled(9, 10));
    assert_eq!(next(&inbound), DECODE, "that was all");
    inbound.note_filled(filled(0, 0));
    assert_eq!(next(&inbound), DECODE, "nothing was asked for: no end");
}

#[test]
fn an_end_that_was_told_is_read_for() {
    let mut inbound = Inbound::default();
    inbound.note_ending();
    inbound.note_readable();
    assert_eq!(next(&inbound), READ);
    inbound.note_filled(filled(9, 10));
    assert_eq!(next(&inbound), BOTH, "it is not told again");
    inbound.note_filled(filled(0, 10));
    assert_eq!(next(&inbound), ENDED);
    inbound.note_would_block();
    inbound.note_ending();
    assert_eq!(next(&inbound), ENDED, "for good");
}

#[test]
fn failed_reads_are_tried_again_waited_for_or_told() {
    let mut inbound = Inbound::default();
    inbound.note_readable();
    let failed =
        |inbound: &mut Inbound, kind: io::ErrorKind| inbound.note_read_error::<()>(kind.into());
    assert!(failed(&mut inbound, io::ErrorKind::Interrupted).is_none());
    assert_eq!(next(&inbound), READ);
    assert!(matches!(failed(&mut inbound, io::ErrorKind::WouldBlock), Some(Step::NeedsBytes)));
    assert_eq!(next(&inbound), IDLE);
    assert!(matches!(
        failed(&mut inbound, io::ErrorKind::ConnectionReset),
        Some(Step::Failed(Error::Io { during: "read", .. }))
    ));
}

#[test]
fn only_who_holds_nothing_and_may_read_is_fresh() {
    let fresh = || {
        let mut inbound = Inbound::default();
        inbound.note_readable();
        inbound
    };
    assert!(Inbound::default().is_fresh() && fresh().is_fresh());
    let spoilt: [fn(&mut Inbound); 5] = [
        Inbound::note_ending,
        Inbound::pause,
        Inbound::choke,
        |inbound| inbound.note_filled(filled(1, 1)),
        |inbound| inbound.hold_unfinished("half".into()),
    ];
    for (at, spoil) in spoilt.into_iter().enumerate() {
        let mut inbound = fresh();
        spoil(&mut inbound);
        assert!(!inbound.is_fresh(), "the case {at}");
    }
    let mut read_dry = fresh();
    read_dry.note_drained();
    assert!(read_dry.is_fresh(), "an event may have gone unseen");
}

#[test]
fn half_a_packet_has_a_time_from_which_it_waits() {
    let mut inbound = Inbound::default();
    let now = Tick::since_start(std::time::Duration::from_secs(1));
    assert_eq!(inbound.watch_unfinished(false, || now), None);
    assert_eq!(inbound.watch_unfinished(true, || now), Some(now), "the decoder holds it");
    inbound.owes_nothing();
    assert_eq!(inbound.unfinished_since(), None);

    inbound.hold_unfinished("half".into());
    assert_eq!(inbound.watch_unfinished(false, || now), Some(now));
    assert_eq!(inbound.watch_unfinished(false, || unreachable!("it is known")), Some(now));
    inbound.pause();
    assert_eq!(inbound.unfinished_since(), None);
    inbound.resume();
    assert_eq!(inbound.watch_unfinished(false, || now), Some(now));
    inbound.choke();
    assert_eq!(inbound.unfinished_since(), None);
    assert_eq!(inbound.watch_unfinished(false, || now), None, "it is not read");
    inbound.unchoke();
    assert_eq!(inbound.watch_unfinished(false, || now), Some(now));
    inbound.clear();
    assert_eq!((inbound.held(), inbound.unfinished_since()), (0, None));
    inbound.hold("a whole one, perhaps".into());
    assert_eq!(inbound.watch_unfinished(false, || now), None, "it has not been looked at");
}

#[test]
fn what_is_left_of_a_block_does_not_keep_it() {
    let mut block = BytesMut::from(&vec![7; 64 * 1024][..]);
    let mut inbound = Inbound::default();
    let came = block.split_to(1_000);
    inbound.take_filled(Filled { got: 1_000, asked: 1_000, is_cut: true }, came);
    drop(inbound.held_mut().split_to(990));
    let cut_from = inbound.held_mut().as_ptr();
    inbound.own_rest(1_000);
    assert_eq!(inbound.held(), 10);
    assert_ne!(inbound.held_mut().as_ptr(), cut_from, "it has memory of its own");
}

#[test]
fn a_decoder_may_make_a_thousand_packets_of_nothing_and_no_more() {
    let mut inbound = Inbound::default();
    for _ in 1..BARREN_LIMIT {
        inbound.note_packet(0).expect("some are allowed");
    }
    let told = inbound.note_packet(0).expect_err("it would go on for ever");
    assert!(matches!(told, Error::StalledDecoder { packets: BARREN_LIMIT }), "{told}");

    let mut inbound = Inbound::default();
    for _ in 0..3 * BARREN_LIMIT {
        inbound.note_packet(0).expect("one of two is made of something");
        inbound.note_packet(1).expect("it is");
    }
}

#[test]
fn a_stream_ends_where_a_packet_does_or_is_cut_short() {
    let step_at_end = |held: &str| {
        let mut inbound = Inbound::default();
        inbound.note_ending();
        inbound.note_filled(filled(0, 10));
        inbound.hold_unfinished(held.into());
        inbound.step(&mut crate::codec::LinesCodec::new(10))
    };
    assert!(matches!(step_at_end(""), Step::Finished));
    assert!(matches!(step_at_end("rest"), Step::Packet { size: 4, .. }), "as lines have it");
    let mut inbound = Inbound::default();
    inbound.hold("all".into());
    let mut codec = BytesCodec::new();
    assert!(matches!(inbound.step(&mut codec), Step::Packet { size: 3, .. }));
    assert_eq!(next(&inbound), DECODE);
    assert!(matches!(inbound.step(&mut codec), Step::NeedsBytes));
    assert_eq!(next(&inbound), IDLE);
}
