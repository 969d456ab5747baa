//! What is queued, what it counts for, and who keeps a buffer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;

use super::*;
use crate::codec::BytesCodec;

const MARKS: Marks = Marks { low: 10, high: 20, cap: 10_000 };

/// Writes what it is given. Then it fails where that begins with a question mark, and panics over an exclamation mark.
struct Fickle;

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a question")
    }
}

impl std::error::Error for Refused {}

impl Decoder for Fickle {
    type Packet = Bytes;
    type Error = Refused;

    fn decode(&mut self, _: &mut BytesMut) -> Result<Option<Bytes>, Refused> {
        Ok(None)
    }
}

impl Encoder<Bytes> for Fickle {
    type Error = Refused;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Refused> {
        dst.put_shared(packet.clone());
        assert!(!packet.starts_with(b"!"), "a fault of the codec, as told");
        if packet.starts_with(b"?") { Err(Refused) } else { Ok(()) }
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn written(outbound: &Outbound) -> Vec<u8> {
    outbound.to_send().map(|buffer| buffer.to_vec()).unwrap_or_default()
}

#[test]
fn a_packet_that_is_refused_leaves_nothing() {
    let (mut outbound, mut pool) = (Outbound::default(), BufferPool::default());
    let refused = outbound.write(bytes("?"), &mut Fickle, &MARKS, &mut pool);
    assert!(matches!(refused, Err(WriteError::Encode(error)) if error.is::<Refused>()));
    assert!(outbound.is_empty() && outbound.to_send().is_none(), "not even a buffer");

    outbound.write(bytes("one"), &mut Fickle, &MARKS, &mut pool).expect("it is none");
    let cost = outbound.queued();
    assert!(outbound.write(bytes("?two"), &mut Fickle, &MARKS, &mut pool).is_err());
    assert_eq!((written(&outbound), outbound.queued()), (b"one".to_vec(), cost));
}

#[test]
fn a_codec_that_panics_leaves_nothing() {
    let (mut outbound, mut pool) = (Outbound::default(), BufferPool::default());
    let fail = |outbound: &mut Outbound, pool: &mut BufferPool, len: usize| {
        let mut packet = vec![b'x'; len];
        packet[0] = b'!';
        let write = || drop(outbound.write(packet.into(), &mut Fickle, &MARKS, pool));
        catch_unwind(AssertUnwindSafe(write)).expect_err("it panics");
    };
    for len in [1, 9_000, 100_000] {
        fail(&mut outbound, &mut pool, len);
        assert!(outbound.queued() == 0 && outbound.admits(usize::MAX, &MARKS), "as before");
    }
    outbound.write(bytes("one"), &mut Fickle, &MARKS, &mut pool).expect("it is none");
    for len in [1, 9_000, 100_000] {
        outbound.write(bytes("two"), &mut Fickle, &MARKS, &mut pool).expect("it is none");
        let cost = outbound.queued();
        fail(&mut outbound, &mut pool, len);
        assert_eq!(outbound.buffer.as_ref().map(|buffer| buffer.cost()), Some(cost));
        assert_eq!(outbound.queued(), cost);
    }
    assert_eq!(written(&outbound), b"onetwotwotwo");
}

#[test]
fn a_packet_of_no_bytes_needs_no_buffer() {
    let (mut outbound, mut pool) = (Outbound::default(), BufferPool::default());
    let empty = Bytes::new();
    outbound.write(empty.clone(), &mut BytesCodec::new(), &MARKS, &mut pool).expect("it fits");
    assert!(outbound.is_empty() && outbound.to_send().is_none());
    assert!(outbound.write_shared::<BytesCodec>(&empty, &MARKS, &mut pool));
    assert!(outbound.is_empty() && outbound.to_send().is_none());
}

#[test]
fn what_the_socket_took_at_once_leaves_no_trace() {
    let (mut outbound, mut pool) = (Outbound::default(), BufferPool::default());
    let write = |outbound: &mut Outbound, pool: &mut BufferPool, text| {
        outbound.write(bytes(text), &mut BytesCodec::new(), &MARKS, pool).expect("it fits");
    };
    write(&mut outbound, &mut pool, "short");
    assert!(!outbound.note_sent(4, &mut pool), "a byte is left");
    assert_eq!(written(&outbound), b"short");
    assert!(outbound.note_sent(5, &mut pool));
    assert!(outbound.is_empty() && outbound.to_send().is_none());

    write(&mut outbound, &mut pool, "long enough to be over the mark");
    assert!(!outbound.note_sent(31, &mut pool), "the fall below the low mark is to be told");
    let flushed = outbound.flush(Ok(31), &MARKS, &mut pool, |_| unreachable!("all was taken"));
    let Flushed { written, drained, fell } = flushed.expect("no error");
    assert_eq!((written, drained, fell), (31, true, true));
}

#[test]
fn whoever_was_refused_is_told_once_the_peer_has_taken_something() {
    const WIDE: Marks = Marks { low: 10, high: 100, cap: 100 };
    let (mut outbound, mut pool) = (Outbound::default(), BufferPool::default());
    let write = |outbound: &mut Outbound, pool: &mut BufferPool, packet: Bytes| {
        outbound.write(packet, &mut BytesCodec::new(), &WIDE, pool).is_ok()
    };
    let large = Bytes::from_static(&[b'x'; 100]);
    assert!(write(&mut outbound, &mut pool, bytes("twelve bytes")));
    assert!(!outbound.write_shared::<BytesCodec>(&large, &WIDE, &mut pool));
    assert!(!outbound.is_high(), "its peer is read all the same");
    let mut fell = |outbound: &mut Outbound, taken: io::Result<usize>| {
        let would_block = |_: &WriteBuffer| Err(io::ErrorKind::WouldBlock.into());
        outbound.flush(taken, &WIDE, &mut pool, would_block).expect("no error").fell
    };
    assert!(!fell(&mut outbound, Ok(1)), "eleven are over the low mark");
    assert!(fell(&mut outbound, Ok(1)));
    assert!(!fell(&mut outbound, Ok(1)), "once");
    let mut other = BufferPool::default();
    assert!(!write(&mut outbound, &mut other, large.clone()), "there is room, but not for so much");
    assert!(!fell(&mut outbound, Err(io::ErrorKind::WouldBlock.into())), "nothing has changed");
    assert!(fell(&mut outbound, Ok(1)), "told again");
    assert!(!write(&mut outbound, &mut other, large.clone()));
    assert!(!outbound.note_sent(8, &mut other), "the fall is to be told");
    assert!(fell(&mut outbound, Ok(8)));
    assert!(outbound.is_empty() && write(&mut outbound, &mut other, large));
}

#[test]
fn a_buffer_goes_from_hand_to_hand() {
    let mut pool = BufferPool::default();
    let mut buffers: Vec<_> = (0..3).map(|_| pool.lend()).collect();
    for buffer in &mut buffers {
        buffer.reserve(100);
    }
    let lent = |buffers: &[Box<WriteBuffer>]| {
        buffers.iter().map(|buffer| (&raw const **buffer).addr()).collect::<Vec<_>>()
    };
    let mut before = lent(&buffers);
    buffers.drain(..).for_each(|buffer| pool.give_back(buffer));
    let mut after = lent(&(0..3).map(|_| pool.lend()).collect::<Vec<_>>());
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after);
}
