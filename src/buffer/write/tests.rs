//! A write buffer against the plain list of frames that it stands for.

use bytes::Bytes;
use proptest::prelude::*;

use super::{BufferPool, COPY_UP_TO, WriteBuffer};

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

proptest! {
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
