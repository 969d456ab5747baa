//! The loop's read memory: that bytes come through it as they came, and what it costs.

use proptest::prelude::*;

use super::*;

fn read_of(bytes: &[u8]) -> impl FnOnce(&mut [u8]) -> io::Result<usize> + '_ {
    |free| {
        free[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

#[test]
fn few_bytes_leave_the_block_as_it_was() {
    let mut buffer = ReadBuffer::new();
    let block = buffer.block.len();
    for round in 0..10_000_u32 {
        let came = round.to_be_bytes();
        let filled = buffer.read(usize::MAX, read_of(&came)).expect("a read");
        assert!(filled.is_few());
        buffer.take_few(filled.got);
        assert_eq!(buffer.few().split().freeze(), came[..]);
    }
    assert_eq!(buffer.block.len(), block);
}

#[test]
fn what_a_panic_left_is_not_the_next_ones() {
    let mut buffer = ReadBuffer::new();
    for came in [&b"left by somebody"[..], b"another's"] {
        let filled = buffer.read(usize::MAX, read_of(came)).expect("a read");
        buffer.take_few(filled.got);
        assert_eq!(&buffer.few()[..], came);
    }
}

#[test]
fn what_is_kept_of_few_bytes_has_memory_of_its_own() {
    let mut buffer = ReadBuffer::new();
    let filled = buffer.read(usize::MAX, read_of(b"packet, half")).expect("a read");
    buffer.take_few(filled.got);
    let packet = buffer.few().split_to(8);
    let kept = buffer.keep_few();
    assert_eq!((&packet[..], &kept[..]), (&b"packet, "[..], &b"half"[..]));
    assert!(buffer.few().is_empty());
    drop(packet);
    buffer.take_few(filled.got);
    assert_eq!(&kept[..], b"half");
}

#[test]
fn what_a_decoder_reserves_is_not_kept_by_the_loop() {
    let mut buffer = ReadBuffer::new();
    let filled = buffer.read(usize::MAX, read_of(b"half")).expect("a read");
    buffer.take_few(filled.got);
    buffer.few().reserve(1 << 20);
    assert_eq!(buffer.keep_few(), b"half"[..]);
    assert!(buffer.few.capacity() <= BLOCK);
}

#[test]
fn a_full_read_is_not_few() {
    let filled = |got, asked| Filled { got, asked, is_cut: true };
    assert!(!filled(0, 10).is_few(), "the end");
    assert!(!filled(10, 10).is_few(), "there may be more");
    assert!(filled(10, 11).is_few());
    assert!(!filled(FEW + 1, BLOCK).is_few());
}

const KIB: usize = 1_024;

fn filled_with(buffer: &mut ReadBuffer, held: &mut BytesMut, bytes: &[u8]) -> Filled {
    buffer.fill(held, usize::MAX, read_of(bytes)).expect("a read")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_comes_is_held_in_order_and_what_was_taken_stays_as_it_was(
        reads in proptest::collection::vec(
            (prop_oneof![0..40_usize, 0..70_000_usize], 1..80_000_usize, 0..=100_usize, any::<bool>()),
            1..40,
        ),
    ) {
        let mut buffer = ReadBuffer::new();
        let (mut held, mut expected) = (BytesMut::new(), Vec::new());
        let mut kept = Vec::new();
        let mut next = (0..=u8::MAX).cycle();
        for (came, limit, taken, keeps) in reads {
            let mut asked = 0;
            let filled = buffer.fill(&mut held, limit, |free| {
                asked = free.len();
                let came = &mut free[..came.min(asked)];
                came.fill_with(|| next.next().expect("it goes round"));
                expected.extend_from_slice(came);
                Ok(came.len())
            }).expect("a read");
            prop_assert_eq!((filled.asked, filled.got), (asked, came.min(asked)));
            prop_assert!(asked <= limit && asked >= limit.min(16 * KIB / 2), "{} asked", asked);
            prop_assert_eq!(&held[..], &expected[..]);

            let fed = held.len();
            let taken = fed * taken / 100;
            let packet = held.split_to(taken);
            let rest = expected.split_off(taken);
            if keeps {
                kept.push((packet, std::mem::replace(&mut expected, rest)));
            } else {
                drop(packet);
                expected = rest;
            }
            own_rest(&mut held, filled.is_cut, fed);
            prop_assert_eq!(&held[..], &expected[..]);
            prop_assert!(kept.iter().all(|(packet, bytes)| packet == bytes), "a packet changed");
        }
    }
}

#[test]
fn a_read_is_offered_the_block_and_never_less_than_a_quarter_of_it() {
    let mut buffer = ReadBuffer::new();
    let bytes = vec![1; 1_000];
    let mut packets = Vec::new();
    let mut offered = Vec::new();
    for _ in 0..200 {
        let filled = buffer.read(usize::MAX, read_of(&bytes)).expect("a read");
        packets.push(buffer.cut(filled.got));
        offered.push(filled.asked);
    }
    assert_eq!(offered.iter().max(), Some(&(64 * KIB)));
    assert!(offered.iter().all(|asked| *asked >= 16 * KIB));
    let fresh = offered.iter().filter(|asked| **asked == 64 * KIB).count();
    assert_eq!(fresh, 200_usize.div_ceil(50), "a fresh block for 49 packets and what is left");
    let filled = buffer.discard(usize::MAX, |free| Ok(free.len())).expect("a read");
    assert!(!filled.is_cut && filled.got >= 16 * KIB);
    let filled = buffer.discard(7, |free| Ok(free.len())).expect("a read");
    assert!(filled.got == 7 && !filled.drained());
}

#[test]
fn a_block_whose_packets_have_gone_is_used_again() {
    let mut buffer = ReadBuffer::new();
    let start = buffer.block.as_ptr();
    for _ in 0..100 {
        let filled = buffer.read(usize::MAX, |free| Ok(free.len() / 2)).expect("a read");
        drop(buffer.cut(filled.got));
    }
    let end = start.wrapping_add(64 * KIB);
    assert!((start..end).contains(&buffer.block.as_ptr()), "it has moved");
}

#[test]
fn the_shorter_piece_moves() {
    // (held, comes, whether what was held is put in front of what comes)
    let cases = [
        (10, 9, false),
        (10, 10, true),
        (16 * KIB, 20 * KIB, true),
        (16 * KIB + 1, 20 * KIB, false),
    ];
    for (before, came, in_front) in cases {
        let mut buffer = ReadBuffer::new();
        let mut held = BytesMut::from(&vec![1; before][..]);
        let filled = filled_with(&mut buffer, &mut held, &vec![2; came]);
        assert_eq!(filled.is_cut, in_front, "{came} behind {before}");
        assert_eq!(held, [vec![1; before], vec![2; came]].concat());
        let offered = if before > 16 * KIB { 64 * KIB } else { 64 * KIB - before };
        assert_eq!(filled.asked, offered);
    }
}

#[test]
fn what_is_left_over_keeps_no_larger_piece_alive() {
    let rest = |held: usize, is_cut, fed| {
        let mut piece = BytesMut::from(&vec![1; fed][..]);
        let mut left = piece.split_off(fed - held);
        let place = left.as_ptr();
        own_rest(&mut left, is_cut, fed);
        assert_eq!(left, vec![1; held]);
        (left.as_ptr() != place, left.capacity())
    };
    assert_eq!(rest(10, true, 10), (true, 10), "a slice of the block");
    assert_eq!(rest(10, false, 1_000), (true, 10), "a little of much");
    assert!(rest(500, false, 1_000).0, "half of it");
    assert!(!rest(501, false, 1_000).0, "more than was consumed: not worth the move");
    assert_eq!(rest(0, false, 1_000).1, 0);
}

#[test]
fn the_end_takes_no_share_of_the_block() {
    let mut buffer = ReadBuffer::new();
    let mut held = BytesMut::new();
    let filled = filled_with(&mut buffer, &mut held, b"");
    assert_eq!((filled.got, filled.drained()), (0, true));
    assert_eq!(held.capacity(), 0);
}
