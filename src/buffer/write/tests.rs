//! A write buffer against the plain list of frames that it stands for.

use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    BufferPool, COPY_UP_TO, KEEP_CAPACITY, MAX_SLICES, SEGMENT_OVERHEAD, SHARE_FROM, WriteBuffer,
};

/// What is done to a buffer; the numbers are lengths.
#[derive(Clone, Debug)]
enum Step {
    Packet(usize),
    Shared(usize),
    Interject(usize),
    /// As much of what waits, in per cent.
    Send(usize),
    Shed,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..40_usize).prop_map(Step::Packet),
        2 => (1..40_usize).prop_map(Step::Shared),
        2 => (1..10_usize).prop_map(Step::Interject),
        3 => (0..=100_usize).prop_map(Step::Send),
        1 => Just(Step::Shed),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Frames that wait, each filled with a byte of its own, and how much of the first has been sent.
#[derive(Default)]
struct Model {
    frames: Vec<Vec<u8>>,
    begun: usize,
}

impl Model {
    fn first_unbegun(&self) -> usize {
        usize::from(self.begun > 0)
    }

    fn waiting(&self) -> Vec<u8> {
        self.frames.concat().split_off(self.begun)
    }

    fn send(&mut self, mut bytes: usize) {
        while let Some(first) = self.frames.first() {
            let left = first.len() - self.begun;
            if bytes < left {
                self.begun += bytes;
                return;
            }
            bytes -= left;
            self.begun = 0;
            self.frames.remove(0);
        }
    }
}

fn contents(buffer: &WriteBuffer) -> Vec<u8> {
    let segments = buffer.segments.iter().flat_map(|segment| segment.iter().copied());
    segments.chain(buffer.tail.iter().copied()).collect()
}

/// Appends pieces, small ones by copy and those over half of the longest by reference.
fn put(buffer: &mut WriteBuffer, lengths: &[usize], mark: u8) {
    for &len in lengths {
        if len > 20 {
            buffer.push_segment(Bytes::from(vec![mark; len]));
        } else {
            buffer.extend_from_slice(&vec![mark; len]);
        }
    }
}

proptest! {
    #[test]
    fn what_is_taken_back_leaves_what_was_there(
        before in proptest::collection::vec(0..40_usize, 0..5),
        attempt in proptest::collection::vec(0..40_usize, 0..5),
        behind in proptest::collection::vec(0..40_usize, 0..5),
    ) {
        let (mut buffer, mut expected) = (WriteBuffer::new(), WriteBuffer::new());
        put(&mut buffer, &before, 1);
        put(&mut expected, &before, 1);
        let mark = buffer.mark();
        put(&mut buffer, &attempt, 2);
        buffer.roll_back(mark);
        prop_assert_eq!(contents(&buffer), contents(&expected));
        prop_assert_eq!(buffer.queued(), expected.queued());
        prop_assert_eq!(buffer.cost(), expected.cost());
        put(&mut buffer, &behind, 3);
        put(&mut expected, &behind, 3);
        prop_assert_eq!(contents(&buffer), contents(&expected));
        prop_assert_eq!(buffer.queued(), expected.queued());
    }

    #[test]
    fn what_is_to_be_written_is_what_was_put_in(
        lengths in proptest::collection::vec(0..40_usize, 0..8),
        sent in 0..=100_usize,
    ) {
        let mut buffer = WriteBuffer::new();
        put(&mut buffer, &lengths, 7);
        buffer.consume(buffer.queued() * sent / 100);
        let waits = contents(&buffer);
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let filled = buffer.fill_slices(&mut slices);
        prop_assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
        let parts: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
        prop_assert_eq!(parts.concat(), waits.clone());
        prop_assert_eq!(buffer.is_drained(), waits.is_empty());
        match buffer.contiguous() {
            Some(bytes) => prop_assert_eq!(bytes, waits.as_slice()),
            None => prop_assert!(filled > 1, "one slice, and it is not in one place"),
        }
        prop_assert_eq!(buffer.take_shared(), waits);
        prop_assert!(buffer.is_drained() && buffer.queued() == 0);
    }

    #[test]
    fn frames_stay_whole_and_interjections_stand_between_them(steps in steps()) {
        let mut buffer = WriteBuffer::new();
        let mut model = Model::default();
        for (step, mark) in steps.into_iter().zip(0..) {
            match step {
                Step::Packet(len) => {
                    buffer.note_seam(buffer.queued());
                    buffer.extend_from_slice(&vec![mark; len]);
                    model.frames.push(vec![mark; len]);
                }
                Step::Shared(len) => {
                    buffer.note_seam(buffer.queued());
                    buffer.push_segment(Bytes::from(vec![mark; len]));
                    model.frames.push(vec![mark; len]);
                }
                Step::Interject(len) => {
                    if buffer.has_interjection() {
                        continue;
                    }
                    buffer.interject(Bytes::from(vec![mark; len]));
                    model.frames.insert(model.first_unbegun(), vec![mark; len]);
                    prop_assert!(buffer.has_interjection());
                }
                Step::Send(percent) => {
                    let bytes = buffer.queued() * percent / 100;
                    model.send(bytes);
                    // As the loop does: a buffer that has been emptied goes back to its pool.
                    if bytes == buffer.queued() {
                        buffer.recycle();
                    } else {
                        buffer.consume(bytes);
                    }
                }
                Step::Shed => {
                    buffer.shed_unbegun();
                    model.frames.truncate(model.first_unbegun());
                }
            }
            prop_assert_eq!(contents(&buffer), model.waiting());
            prop_assert_eq!(buffer.queued(), model.waiting().len());
        }
    }
}

#[test]
fn the_pool_keeps_many_small_buffers_and_few_large_ones() {
    let mut pool = BufferPool::default();
    let mut give_back = |capacity: usize, times: usize| {
        for _ in 0..times {
            let mut buffer = Box::new(WriteBuffer::new());
            buffer.reserve(capacity);
            pool.give_back(buffer);
        }
        pool.others.len()
    };
    assert_eq!(give_back(10_000, 200), BufferPool::OTHERS);
    assert_eq!(give_back(100, 2_000), BufferPool::SMALL_OTHERS);
}

#[test]
fn what_many_share_is_copied_where_it_is_small() {
    let mut buffer = WriteBuffer::new();
    buffer.put_common(&Bytes::from(vec![1; COPY_UP_TO]));
    assert_eq!((buffer.segments.len(), buffer.queued()), (0, COPY_UP_TO));
    buffer.put_common(&Bytes::from(vec![1; COPY_UP_TO + 1]));
    assert_eq!((buffer.segments.len(), buffer.queued()), (2, 2 * COPY_UP_TO + 1));
}

#[test]
fn the_sender_of_many_bytes_shares_them() {
    let mut buffer = WriteBuffer::new();
    buffer.put_shared(Bytes::from(vec![1; SHARE_FROM - 1]));
    assert_eq!(buffer.segments.len(), 0);
    let large = Bytes::from(vec![1; SHARE_FROM]);
    buffer.put_shared(large.clone());
    assert_eq!(buffer.segments.back().map(|bytes| bytes.as_ptr()), Some(large.as_ptr()));
    buffer.push_segment(Bytes::new());
    assert_eq!((buffer.segments.len(), buffer.queued()), (2, 2 * SHARE_FROM - 1));
}

#[test]
fn what_it_costs_to_keep_track_counts() {
    let mut buffer = WriteBuffer::new();
    assert_eq!(buffer.cost(), 0);
    buffer.note_seam(0); // the first packet's place is known
    buffer.extend_from_slice(b"0123456789");
    assert_eq!(buffer.cost(), 10);
    buffer.note_seam(10);
    buffer.push_segment(Bytes::from_static(b"01234"));
    assert_eq!(buffer.cost(), 15 + 2 * SEGMENT_OVERHEAD + size_of::<u64>());
}

#[test]
fn an_emptied_buffer_keeps_what_memory_is_usual_and_no_more() {
    let mut buffer = WriteBuffer::new();
    buffer.extend_from_slice(&[0; KEEP_CAPACITY]);
    buffer.recycle();
    assert!(buffer.is_drained() && buffer.tail.capacity() == KEEP_CAPACITY);
    buffer.extend_from_slice(&[0; KEEP_CAPACITY + 1]);
    buffer.recycle();
    assert!(buffer.is_drained() && buffer.tail.capacity() == 0);

    for (slices, kept) in [(MAX_SLICES, true), (2 * MAX_SLICES, false)] {
        put(&mut buffer, &vec![21; slices], 1);
        buffer.recycle();
        assert!(buffer.is_drained() && buffer.queued() == 0);
        assert_eq!(buffer.segments.capacity() > 0, kept, "{slices} slices");
    }
}
