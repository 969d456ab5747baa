//! Senders who never finish: a byte a second, a first byte and no more, half a packet. Each is gone at its deadline, which
//! runs from a packet's first byte, and nobody else waits for them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::{PATIENCE, connect_from, ms, now};
use crate::crowd::{Crowd, Dialect};
use crate::ground::{Figures, Process, alone, millis, size};
use crate::kit::programs::Program;

/// What the example `custom_protocol` allows for a packet.
const DEADLINE: Duration = Duration::from_secs(5);

const PACE: Duration = Duration::from_secs(1);

/// A ping of the example's, 54 bytes long, and its answer.
pub(crate) fn pings(peer: usize, question: u64) -> (Vec<u8>, Vec<u8>) {
    let body = format!("{peer:>20} asks: {question:>16}");
    let frame = |kind: u8| {
        let mut frame = vec![b'W', b'H', 1, kind, 0, u8::try_from(body.len()).expect("short")];
        frame.extend(body.as_bytes());
        let fold = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let sum = frame.iter().fold(0x811c_9dc5, fold);
        frame.extend(sum.to_be_bytes());
        frame
    };
    (frame(1), frame(0x81))
}

struct Sender {
    stream: TcpStream,
    /// What it has not sent yet.
    rest: Vec<u8>,
    drips: bool,
    began: Instant,
    next: Instant,
    gone: Option<Duration>,
}

/// A third of them drips, a third sends one byte, a third sends half a packet.
fn begin(server: SocketAddr, at: usize, poll: &Poll) -> Sender {
    let host = u8::try_from(at / 5_000 + 1).expect("fewer than a million");
    let stream = connect_from(Ipv4Addr::new(127, 20, 0, host), server);
    stream.set_nonblocking(true).expect("a socket option");
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(at), Interest::READABLE).expect("a poll");
    let (mut packet, _) = pings(at, 0);
    let first = if at % 3 == 2 { packet.len() / 2 } else { 1 };
    let rest = packet.split_off(first);
    let began = now();
    stream.write_all(&packet).expect("room in an empty socket");
    Sender { stream, rest, drips: at.is_multiple_of(3), began, next: began + PACE, gone: None }
}

/// Keeps the slow ones going until each is gone; how long each lived.
fn outlast(senders: &mut [Sender], poll: &mut Poll) {
    let mut events = Events::with_capacity(1024);
    let give_up = now() + PATIENCE + DEADLINE;
    let mut left = senders.len();
    while left > 0 {
        assert!(now() < give_up, "{left} are still there");
        let time = now();
        for sender in senders.iter_mut().filter(|sender| sender.drips && sender.next <= time) {
            sender.next += PACE;
            if sender.gone.is_none() && !sender.rest.is_empty() {
                // An error: it is being closed, as the read will tell.
                drop(sender.stream.write(&[sender.rest.remove(0)]));
            }
        }
        if let Err(error) = poll.poll(&mut events, Some(ms(50))) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}");
        }
        for event in &events {
            let sender = &mut senders[event.token().0];
            if sender.gone.is_none() && is_over(&mut sender.stream) {
                sender.gone = Some(sender.began.elapsed());
                left -= 1;
            }
        }
    }
}

/// Reads what there is; whether the end, or a reset, came with it.
fn is_over(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

#[test]
fn slow_senders_are_gone_at_their_deadline_and_hold_up_nobody() {
    let _alone = alone();
    let count = size(200, 2_000);
    let server = Program::start("custom_protocol", &["--addr", "127.0.0.1:0"]);
    let (address, process) = (server.address(), Process(server.pid()));
    let mut figures = Figures::of("slow senders");
    let dialect: Dialect = pings;
    let mut alone = Crowd::talk_for(size(ms(500), ms(5_000)), address, 10, ms(10), dialect);
    assert_eq!(alone.lost, <[&str; 0]>::default());
    figures.tell("healthy peers without them", alone.latencies.summary());

    let healthy = Crowd::start(address, 10, ms(10), dialect);
    let before = process.memory();
    let mut poll = Poll::new().expect("a poll");
    let mut senders: Vec<_> = (0..count).map(|at| begin(address, at, &poll)).collect();
    let each = process.memory().saturating_sub(before) / count as u64;
    outlast(&mut senders, &mut poll);
    let mut healthy = healthy.finish();
    assert_eq!(healthy.lost, <[&str; 0]>::default());

    let lived: Vec<_> = senders.iter().filter_map(|sender| sender.gone).collect();
    let (first, last) = (lived.iter().min().expect("some"), lived.iter().max().expect("some"));
    figures.tell(&format!("healthy peers beside {count}"), healthy.latencies.summary());
    figures.tell("memory for each", format_args!("{each} bytes"));
    assert!(*first >= DEADLINE, "one was gone after {first:?}, before its deadline");
    figures.at_most("the last was late by", millis(*last - DEADLINE), 100.0, "ms");
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
