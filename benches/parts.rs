//! The pieces under the codecs, and the loop without a kernel: what a broadcast costs, and whether timers that wait cost
//! anything. The loop runs on the simulated network of `wheelhouse::testing`, so these are figures of the loop and of that
//! network together: compare them with each other, not with a server's.

use std::cell::RefCell;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use wheelhouse::SlowConsumers;
use wheelhouse::codec::{BytesCodec, WriteBuffer};
use wheelhouse::testing::{Peer, Simulation};

fn main() {
    divan::main();
}

/// What an encoder appends to. Below 16 KiB `put_shared` copies, from there on it queues a reference.
mod write_buffer {
    use super::*;

    const LENGTHS: [usize; 4] = [64, 1024, 16 * 1024 - 1, 16 * 1024];

    /// Bytes that one measurement appends, or a little less.
    const BATCH: usize = 64 * 1024;

    /// A buffer whose pages are there already: the system's work to map them is not to be measured.
    fn room() -> BytesMut {
        let mut room = BytesMut::zeroed(BATCH);
        room.clear();
        room
    }

    fn appending<D>(
        bencher: Bencher<'_, '_>,
        len: usize,
        destination: impl Fn() -> D,
        append: impl Fn(&mut D, Bytes),
    ) {
        let count = BATCH / len;
        let inputs = || {
            let packets: Vec<_> = (0..count).map(|_| Bytes::from(vec![7; len])).collect();
            (packets.into_iter(), destination())
        };
        bencher
            .counter(ItemsCount::new(count))
            .counter(BytesCount::new(count * len))
            .with_inputs(inputs)
            .bench_local_refs(|(packets, dst)| {
                for packet in packets {
                    append(dst, packet);
                }
                black_box(&*dst);
            });
    }

    #[divan::bench(args = LENGTHS, sample_size = 2, sample_count = 500)]
    fn put_shared(bencher: Bencher<'_, '_>, len: usize) {
        let empty = || {
            let mut dst = WriteBuffer::new();
            *dst = room();
            dst
        };
        appending(bencher, len, empty, WriteBuffer::put_shared);
    }

    /// A plain buffer, for comparison.
    #[divan::bench(args = LENGTHS, sample_size = 2, sample_count = 500)]
    fn extend_bytes_mut(bencher: Bencher<'_, '_>, len: usize) {
        appending(bencher, len, room, |dst, packet| dst.extend_from_slice(&packet));
    }
}

/// The loop.
mod simulation {
    use super::*;

    fn echo() -> Simulation<BytesCodec> {
        Simulation::builder(BytesCodec::new())
            .start(|_, conn| conn.handlers().on_read(|_, conn, data| Ok(conn.write(data)?)))
    }

    fn connected(sim: &mut Simulation<BytesCodec>, count: usize) -> Vec<Peer> {
        let peers = (0..count).map(|_| sim.connect()).collect();
        sim.run_until_idle();
        peers
    }

    /// Bytes of a broadcast packet.
    const PACKET: usize = 64;

    /// One packet to all, until each peer has it; an item is a peer.
    #[divan::bench(args = [1, 10, 100, 1_000], sample_size = 1, sample_count = 400)]
    fn broadcast_to(bencher: Bencher<'_, '_>, count: usize) {
        let mut sim = echo();
        let peers = connected(&mut sim, count);
        let sim = RefCell::new(sim);
        let drained = || {
            peers.iter().for_each(|peer| drop(peer.take_received()));
            Bytes::from(vec![7; PACKET])
        };
        bencher.counter(ItemsCount::new(count)).with_inputs(drained).bench_local_values(|packet| {
            let sim = &mut *sim.borrow_mut();
            let report = sim.server().broadcast(packet, SlowConsumers::Skip);
            assert_eq!(report.sent, count);
            sim.run_until_idle();
        });
        assert!(peers.iter().all(|peer| peer.received() == [7; PACKET]));
    }

    /// A packet and its echo, on one connection, while so many timers wait; an item is a packet.
    #[divan::bench(args = [0, 1_000, 100_000], sample_size = 100, sample_count = 400)]
    fn echo_while_timers_wait(bencher: Bencher<'_, '_>, timers: u64) {
        let mut sim = echo();
        let peer = connected(&mut sim, 1).remove(0);
        for number in 0..timers {
            // Spread over an hour that never comes.
            sim.server().after(Duration::from_millis(3_600_000 + number * 36), |_, _| {});
        }
        sim.run_until_idle();
        let sim = RefCell::new(sim);
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            peer.send([7; PACKET]);
            sim.borrow_mut().run_until_idle();
            assert_eq!(peer.take_received().len(), PACKET);
        });
    }

    /// Timers set and cancelled while so many others wait; an item is a timer.
    #[divan::bench(args = [0, 1_000, 100_000], sample_size = 100, sample_count = 400)]
    fn set_and_cancel_while_timers_wait(bencher: Bencher<'_, '_>, timers: u64) {
        let mut sim = echo();
        for number in 0..timers {
            sim.server().after(Duration::from_millis(3_600_000 + number * 36), |_, _| {});
        }
        sim.run_until_idle();
        let sim = RefCell::new(sim);
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            let sim = &mut *sim.borrow_mut();
            let timer = sim.server().after(Duration::from_secs(5_000), |_, _| {});
            assert!(sim.server().cancel(timer));
            sim.turn();
        });
    }
}
