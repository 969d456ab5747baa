//! Senders who never finish: a byte a second, a first byte and no more, half a packet. Each is gone at its deadline, which
//! runs from a packet's first byte, and nobody else waits for them.

use std::collections::VecDeque;
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

/// A ping of the example's, 53 bytes long, and its answer.
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

/// Somebody who says what it has to say piece by piece, one every now and then.
pub(crate) struct Sender {
    stream: TcpStream,
    /// What it has not sent yet.
    rest: VecDeque<Vec<u8>>,
    began: Instant,
    next: Instant,
    gone: Option<Duration>,
    /// What it was told before the end.
    pub(crate) told: Vec<u8>,
}

/// Senders without end, and the poll that tells of theirs.
pub(crate) struct Slow {
    pub(crate) senders: Vec<Sender>,
    poll: Poll,
    pace: Duration,
}

impl Slow {
    /// So many of them connect, from 127.`network`.0.0, and send the first of the pieces that `speak` has for each; another
    /// piece follows every `pace`.
    pub(crate) fn begin(
        (server, network): (SocketAddr, u8),
        count: usize,
        pace: Duration,
        speak: impl Fn(usize) -> VecDeque<Vec<u8>>,
    ) -> Self {
        let poll = Poll::new().expect("a poll");
        let sender = |at| {
            let host = u8::try_from(at / 5_000 + 1).expect("fewer than a million");
            let stream = connect_from(Ipv4Addr::new(127, network, 0, host), server);
            stream.set_nonblocking(true).expect("a socket option");
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(at), Interest::READABLE).expect("a poll");
            let mut rest = speak(at);
            let first = rest.pop_front().expect("something to say");
            let began = now();
            stream.write_all(&first).expect("room in an empty socket");
            Sender { stream, rest, began, next: began + pace, gone: None, told: Vec::new() }
        };
        let senders = (0..count).map(sender).collect();
        Self { senders, poll, pace }
    }

    /// Keeps them going until each is gone.
    pub(crate) fn outlast(&mut self, deadline: Duration) {
        let mut events = Events::with_capacity(1024);
        let give_up = now() + PATIENCE + deadline;
        let mut left = self.senders.len();
        while left > 0 {
            assert!(now() < give_up, "{left} are still there");
            let time = now();
            for sender in self.senders.iter_mut().filter(|sender| sender.next <= time) {
                sender.next += self.pace;
                if let (None, Some(piece)) = (sender.gone, sender.rest.pop_front()) {
                    // An error: it is being closed, as the read will tell.
                    drop(sender.stream.write(&piece));
                }
            }
            if let Err(error) = self.poll.poll(&mut events, Some(ms(50))) {
                assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}");
            }
            for event in &events {
                let sender = &mut self.senders[event.token().0];
                if sender.gone.is_none() && sender.is_over() {
                    sender.gone = Some(sender.began.elapsed());
                    left -= 1;
                }
            }
        }
    }

    /// How long the first and the last to go were there.
    pub(crate) fn lived(&self) -> (Duration, Duration) {
        let mut spans: Vec<_> = self.senders.iter().filter_map(|sender| sender.gone).collect();
        spans.sort_unstable();
        (*spans.first().expect("some"), *spans.last().expect("some"))
    }
}

impl Sender {
    /// Reads what there is; whether the end, or a reset, came with it.
    fn is_over(&mut self) -> bool {
        let mut buf = [0; 1024];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) => return true,
                Ok(got) => self.told.extend(&buf[..got]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

/// A byte, then another every time.
pub(crate) fn bytewise(text: &[u8]) -> VecDeque<Vec<u8>> {
    text.iter().map(|byte| vec![*byte]).collect()
}

/// Of six, four drip, one sends one byte, one sends half a packet.
fn packets(at: usize) -> VecDeque<Vec<u8>> {
    let (packet, _) = pings(at, 0);
    match at % 6 {
        4 => bytewise(&packet[..1]),
        5 => VecDeque::from([packet[..packet.len() / 2].to_vec()]),
        _ => bytewise(&packet),
    }
}

#[test]
fn slow_senders_are_gone_at_their_deadline_and_hold_up_nobody() {
    let _alone = alone();
    let count = size(300, 3_000);
    let server = Program::start("custom_protocol", &["--addr", "127.0.0.1:0"]);
    let (address, process) = (server.address(), Process(server.pid()));
    let mut figures = Figures::of("slow senders");
    let dialect: Dialect = pings;
    let mut alone = Crowd::talk_for(size(ms(500), ms(5_000)), address, 10, ms(10), dialect);
    assert_eq!(alone.lost, <[&str; 0]>::default());
    figures.tell("healthy peers without them", alone.latencies.summary());

    let healthy = Crowd::start(address, 10, ms(10), dialect);
    let before = process.memory();
    let mut slow = Slow::begin((address, 20), count, PACE, packets);
    let each = process.memory().saturating_sub(before) / count as u64;
    slow.outlast(DEADLINE);
    let mut healthy = healthy.finish();
    assert_eq!(healthy.lost, <[&str; 0]>::default());

    // Who drips has said a byte at once, and one each second.
    let packet = pings(0, 0).0.len();
    let said = slow.senders.iter().map(|sender| packet - sender.rest.len());
    let said: Vec<_> = said.filter(|said| *said < packet).collect();
    assert!(said.iter().all(|said| (4..=6).contains(said)), "{said:?}");
    let (first, last) = slow.lived();
    let what = format!("{count} senders, of whom so many sent a byte a second");
    figures.tell(&what, said.len());
    assert_eq!(said.len(), size(200, 2_000));
    figures.tell(&format!("healthy peers beside {count}"), healthy.latencies.summary());
    figures.tell("memory for each", format_args!("{each} bytes"));
    assert!(first >= DEADLINE, "one was gone after {first:?}, before its deadline");
    figures.at_most("the last was late by", millis(last - DEADLINE), 100.0, "ms");
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
