//! Floods: connections without end from one address, and one peer that sends without end beside a hundred that talk.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use mio::{Events, Interest, Poll, Token};

use crate::common::{connect, connect_from, ms, now, read_exactly, send};
use crate::crowd::{Crowd, lines};
use crate::ground::{Figures, Latencies, Process, alone, millis, pass, size, until};
use crate::host;
use crate::kit::programs::Program;

/// Sends lines and reads their echoes, both as fast as they go; returns the bytes that came back.
fn flood(server: SocketAddr, enough: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let peer = connect(server);
    let enough = Arc::clone(enough);
    thread::spawn(move || {
        peer.set_nonblocking(true).expect("a socket option");
        let mut peer = mio::net::TcpStream::from_std(peer);
        let mut poll = Poll::new().expect("a poll");
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut peer, Token(0), both).expect("a poll");
        let mut events = Events::with_capacity(4);
        let block = b"a line of thirty-two bytes, all.\n".repeat(2_000);
        let (mut sent, mut back, mut buf) = (0, 0_u64, vec![0; 256 * 1024]);
        while !enough.load(Ordering::Relaxed) {
            let wrote = go_on(peer.write(&block[sent % block.len()..]));
            sent += wrote.unwrap_or_default();
            let read = go_on(peer.read(&mut buf));
            back += read.unwrap_or_default() as u64;
            if wrote.is_none() && read.is_none() {
                poll.poll(&mut events, Some(ms(20))).expect("a poll");
            }
        }
        back
    })
}

/// `None`: it would block.
fn go_on(done: io::Result<usize>) -> Option<usize> {
    match done {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("the flood is cut off: {error}"),
    }
}

#[test]
fn one_flooding_peer_does_not_drown_a_hundred() {
    let _alone = alone();
    let mut figures = Figures::of("a flooding peer");
    let server = Program::start("echo", &["--addr", "127.0.0.1:0", "--codec", "lines"]);
    let address = server.address();
    let span = size(ms(1_000), ms(8_000));
    // All the time, so that what differs is the flood.
    let mut calm = Crowd::talk_for(span, address, 100, ms(0), lines);
    let enough = Arc::new(AtomicBool::new(false));
    let flooding = flood(address, &enough);
    let mut beside = Crowd::talk_for(span, address, 100, ms(0), lines);
    enough.store(true, Ordering::Relaxed);
    let flooded = flooding.join().expect("a flood that does not panic");
    assert_eq!((calm.lost, beside.lost), Default::default(), "nobody is dropped");
    figures.tell("100 peers alone", calm.latencies.summary());
    figures.tell("100 peers beside the flood", beside.latencies.summary());
    let rate = u128::from(flooded) / 1024 / span.as_millis() * 1000 / 1024;
    figures.tell("the flood itself", format_args!("{rate} MiB/s echoed"));
    let (calm, beside) = (calm.latencies.quantile(0.99), beside.latencies.quantile(0.99));
    figures.at_most("p99 beside the flood", beside.div_duration_f64(calm), 3.0, "times");
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}

/// What remains of connections that were made: those that the server has not closed.
fn still_open(peers: &[TcpStream]) -> usize {
    let open = |peer: &&TcpStream| {
        let mut peer = *peer;
        peer.set_nonblocking(true).expect("a socket option");
        matches!(peer.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    };
    peers.iter().filter(open).count()
}

/// Looks all the time at how many descriptors a process has.
struct Watch {
    thread: JoinHandle<(usize, usize)>,
    enough: Arc<AtomicBool>,
}

impl Watch {
    fn over(process: Process) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let thread = thread::spawn(move || {
            let (mut looks, mut most) = (0, 0);
            while !told.load(Ordering::Relaxed) {
                (looks, most) = (looks + 1, most.max(process.descriptors()));
                pass(ms(2));
            }
            (looks, most)
        });
        Self { thread, enough }
    }

    /// How often it has looked, and the most that it has seen.
    fn finish(self) -> (usize, usize) {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("a watch that does not panic")
    }
}

#[test]
fn a_flood_of_connects_from_one_address_leaves_the_others_theirs() {
    const LIMIT: usize = 120;
    let _alone = alone();
    let mut figures = Figures::of("connects from one address");
    let server = host::start(&format!("per_address={LIMIT}"));
    let (address, process) = (server.address(), Process(server.pid()));
    let rested = process.rested();
    let mut calm = Crowd::talk_for(size(ms(500), ms(3_000)), address, 100, ms(10), lines);
    assert_eq!(calm.lost, <[&str; 0]>::default(), "nobody is dropped");
    figures.tell("100 peers alone", calm.latencies.summary());

    // They have an address and its limit, too.
    until("those have gone", || process.descriptors() == rested);
    let healthy = Crowd::start(address, 100, ms(10), lines);
    let watch = Watch::over(process);
    let began = now();
    let flooder = Ipv4Addr::new(127, 66, 6, 6);
    let mut newcomers = Latencies::default();
    let mut flood = Vec::new();
    for at in 0..size(1_000, 15_000) {
        flood.push(connect_from(flooder, address));
        if at % 100 == 0 {
            let asked = now();
            let newcomer = connect_from(Ipv4Addr::new(127, 5, 0, 1), address);
            send(&newcomer, "hello\n");
            assert_eq!(read_exactly(&newcomer, 6), b"hello\n", "a newcomer from elsewhere");
            newcomers.note(asked.elapsed());
        }
    }
    let rate = flood.len() as f64 / began.elapsed().as_secs_f64();
    until("the flood's rest is closed", || still_open(&flood) == LIMIT);
    until("the newcomers are gone", || process.descriptors() <= rested + LIMIT + 100);
    let left = process.descriptors() - rested;
    let (looks, most) = watch.finish();
    let most = most - rested - 100;
    let mut healthy = healthy.finish();
    figures.tell("connects of the flood", format_args!("{}, {rate:.0} a second", flood.len()));
    figures.tell("100 peers beside it", healthy.latencies.summary());
    figures.tell("newcomers from elsewhere, served after", newcomers.summary());
    assert_eq!(healthy.lost, <[&str; 0]>::default(), "nobody is dropped");
    assert_eq!(left, LIMIT + 100, "descriptors of the flood's, and of the peers'");
    figures.tell(
        "most descriptors of others than the peers",
        format_args!("{most}, in {looks} looks"),
    );
    figures.at_most("p50 beside it", millis(healthy.latencies.quantile(0.5)), 10.0, "ms");
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
