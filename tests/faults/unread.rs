//! Members of a chat who never read: the others hear each line as soon as before, and the memory that the silent ones cost
//! stays within their caps.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::common::{PATIENCE, connect_from, connect_with_buffer, ms, now, read_line};
use crate::ground::{Figures, Latencies, Process, alone, size, until};
use crate::kit::programs::Program;

/// The outbox's hard cap, by default.
const CAP: u64 = 1024 * 1024;

/// Bytes of a line that is told to all.
const LINE: usize = 4_000;

/// Somebody who hears.
struct Member {
    stream: mio::net::TcpStream,
    partial: Vec<u8>,
    /// The number that the next line has.
    next: u64,
}

struct Room {
    poll: Poll,
    members: Vec<Member>,
    talker: TcpStream,
    said: u64,
    began: Instant,
    latencies: Latencies,
}

fn join(peer: &TcpStream, name: &str) {
    let mut peer = peer;
    assert!(read_line(peer).starts_with("Welcome"), "a greeting");
    peer.write_all(format!("{name}\n").as_bytes()).expect("the server reads");
    assert!(read_line(peer).starts_with("Online"), "the room");
}

impl Room {
    fn open(server: SocketAddr, members: usize) -> Self {
        let poll = Poll::new().expect("a poll");
        let talker = connect_from(std::net::Ipv4Addr::LOCALHOST, server);
        join(&talker, "talker");
        let mut room = Self {
            poll,
            members: Vec::new(),
            talker,
            said: 0,
            began: now(),
            latencies: Latencies::default(),
        };
        for at in 0..members {
            let stream = connect_from(std::net::Ipv4Addr::LOCALHOST, server);
            join(&stream, &format!("member-{at}"));
            stream.set_nonblocking(true).expect("a socket option");
            let mut stream = mio::net::TcpStream::from_std(stream);
            let registry = room.poll.registry();
            registry.register(&mut stream, Token(at), Interest::READABLE).expect("a poll");
            room.members.push(Member { stream, partial: Vec::new(), next: 0 });
            if at % 50 == 49 {
                room.hear(ms(0)); // who has joined since
            }
        }
        room
    }

    /// Says a line every so often, until it is `over`; all members hear each, in order. Returns the largest memory of the
    /// server.
    fn talk(
        &mut self,
        pace: Duration,
        server: Process,
        mut over: impl FnMut() -> bool,
    ) -> (Latencies, u64) {
        let give_up = now() + PATIENCE * 6;
        let (mut next, mut largest) = (now(), 0);
        loop {
            if now() >= next {
                if over() {
                    break;
                }
                assert!(now() < give_up, "it is never over");
                next += pace;
                self.say();
                largest = largest.max(server.memory());
            }
            self.hear(next.saturating_duration_since(now()).min(pace));
        }
        let give_up = now() + PATIENCE;
        while self.members.iter().any(|member| member.next < self.said) {
            assert!(now() < give_up, "somebody has missed a line");
            self.hear(ms(20));
        }
        (std::mem::take(&mut self.latencies), largest.max(server.memory()))
    }

    /// As [`talk`](Self::talk), for so long.
    fn talk_for(&mut self, span: Duration, pace: Duration, server: Process) -> Latencies {
        let until = now() + span;
        self.talk(pace, server, || now() >= until).0
    }

    fn say(&mut self) {
        let mut line = format!("line {} {} ", self.said, self.began.elapsed().as_nanos());
        line.push_str(&".".repeat(LINE - line.len()));
        line.push('\n');
        self.said += 1;
        self.talker.write_all(line.as_bytes()).expect("the server reads");
    }

    fn hear(&mut self, nap: Duration) {
        let mut events = Events::with_capacity(1024);
        if let Err(error) = self.poll.poll(&mut events, Some(nap)) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}");
        }
        let mut buf = vec![0; 64 * 1024];
        for event in &events {
            let member = &mut self.members[event.token().0];
            loop {
                match member.stream.read(&mut buf) {
                    Ok(0) => panic!("a member who reads is dropped"),
                    Ok(got) => member.partial.extend_from_slice(&buf[..got]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("a member who reads is dropped: {error}"),
                }
            }
            member.count(self.began, &mut self.latencies);
        }
    }
}

impl Member {
    /// Takes whole lines off what has come; notes how old each is.
    fn count(&mut self, began: Instant, latencies: &mut Latencies) {
        let mut from = 0;
        while let Some(end) = memchr::memchr(b'\n', &self.partial[from..]) {
            let line = &self.partial[from..from + end];
            from += end + 1;
            let Some(words) = line.strip_prefix(b"[talker]: line ") else { continue };
            let head = String::from_utf8_lossy(&words[..words.len().min(60)]).into_owned();
            let mut words = head.split(' ').map(|word| word.parse::<u64>().expect("a number"));
            assert_eq!(words.next(), Some(self.next), "each line once, in order");
            self.next += 1;
            let said = Duration::from_nanos(words.next().expect("a time"));
            latencies.note(began.elapsed() - said);
        }
        self.partial.drain(..from);
    }
}

/// Peers that join, and read nothing from then on.
fn silent(server: SocketAddr, count: usize) -> Vec<TcpStream> {
    let peers: Vec<_> = (0..count).map(|_| connect_with_buffer(server, 4096)).collect();
    peers.iter().enumerate().for_each(|(at, peer)| join(peer, &format!("silent-{at}")));
    peers
}

#[test]
fn members_who_never_read_cost_the_others_nothing() {
    let _alone = alone();
    let mut figures = Figures::of("readers that never read");
    let (members, mute) = size((90, 10), (900, 100));
    let pace = size(ms(5), ms(40));
    let args = ["--addr", "127.0.0.1:0", "--rate", "100000", "--max-conn", "2000"];
    let program = Program::start("tcp_chat", &[&args[..], &["--max-line", "8192"]].concat());
    let (address, process) = (program.address(), Process(program.pid()));
    let mut room = Room::open(address, members + mute);
    let alone = process.descriptors();
    let mut calm = room.talk_for(size(ms(1_500), ms(8_000)), pace, process);
    let what = format!("{} members, all of whom read", members + mute);
    figures.tell(&what, calm.summary());

    // As many as before, of whom some do not read.
    room.members.truncate(members);
    until("those who left are gone", || process.descriptors() == alone - mute);
    let mutes = silent(address, mute);
    room.hear(ms(50));
    assert_eq!(process.descriptors(), alone, "as many as before");
    let before = process.memory();
    // Their sockets fill first, which takes some 2.5 MB each, then their outboxes; the time that is measured ends when the
    // last of them is dropped.
    let began = now();
    let mut lines = 0;
    let all_dropped = || {
        lines += 1;
        lines % 25 == 0 && process.descriptors() == alone - mute // a thousand entries to read: not for each line
    };
    let (mut beside, largest) = room.talk(pace, process, all_dropped);
    let what = format!("{members} members beside {mute} who do not read");
    figures.tell(&what, beside.summary());
    figures.tell("until the last of those was dropped", format_args!("{:.1?}", began.elapsed()));
    let ratio = beside.quantile(0.99).div_duration_f64(calm.quantile(0.99));
    figures.at_most("p99 of a line's way", ratio, 2.0, "times");
    let grown = largest.saturating_sub(before) as f64 / f64::from(1 << 20);
    let caps = (CAP * mute as u64) as f64 / f64::from(1 << 20);
    figures.at_most("memory grown by", grown, caps * 1.2, "MiB");
    drop(mutes);
    program.terminate();
    let ended = program.end();
    assert_eq!(ended.code, Some(0));
    let dropped = ended.stderr.lines().filter(|line| line.ends_with(": slow consumer")).count();
    figures.tell("of those who do not read, dropped at their caps", dropped);
    assert_eq!(dropped, mute, "each of them, and nobody else");
    figures.finish();
}
