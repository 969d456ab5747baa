//! Descriptors run out and come back: the server neither spins nor stalls, and drops nobody that it has accepted.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::common::{PATIENCE, connect, ms, now, read_exactly, send};
use crate::ground::{Figures, Process, alone, millis, seed, size, until};
use crate::holder::Holder;
use crate::kit::programs::{Program, example};

/// Peers in the backlog: each has said a line already, and is served, or shed.
struct Waiting {
    poll: Poll,
    peers: Vec<Option<TcpStream>>,
    served: VecDeque<Instant>,
    shed: usize,
}

impl Waiting {
    fn new() -> Self {
        let poll = Poll::new().expect("a poll");
        Self { poll, peers: Vec::new(), served: VecDeque::new(), shed: 0 }
    }

    fn knock(&mut self, server: SocketAddr) {
        let peer = connect(server);
        send(&peer, "let me in\n");
        peer.set_nonblocking(true).expect("a socket option");
        let mut peer = TcpStream::from_std(peer);
        let token = Token(self.peers.len());
        self.poll.registry().register(&mut peer, token, Interest::READABLE).expect("a poll");
        self.peers.push(Some(peer));
    }

    /// Those of whom nothing is known.
    fn left(&self) -> usize {
        self.peers.len() - self.served.len() - self.shed
    }

    /// Hears what becomes of them, for so long or until `enough`.
    fn hear(&mut self, span: Duration, enough: impl Fn(&Self) -> bool) -> bool {
        let mut events = Events::with_capacity(256);
        let give_up = now() + span;
        while !enough(self) {
            let left = give_up.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            match self.poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
                _ => {}
            }
            for event in &events {
                self.look(event.token().0);
            }
        }
        true
    }

    fn look(&mut self, at: usize) {
        let Some(peer) = self.peers[at].as_mut() else { return };
        match peer.read(&mut [0; 64]) {
            Ok(10) => self.served.push_back(now()),
            Ok(0) => {
                self.shed += 1;
                self.peers[at] = None;
            }
            Ok(some) => panic!("{some} bytes"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.shed += 1;
                self.peers[at] = None;
            }
        }
    }
}

/// An echo server with so many descriptors and no other limit.
fn server(descriptors: usize) -> (Program, SocketAddr, Process) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -S -n {descriptors}; exec \"$0\" \"$@\"")]);
    shell.arg(example("echo")).args(["--addr", "127.0.0.1:0", "--max-conn", "1000000"]);
    let program = Program::spawn("echo", &mut shell).expect("a shell");
    let address = program.address();
    let process = Process(program.pid());
    (program, address, process)
}

/// One more descriptor for the server, of which nothing tells it.
fn lift_limit(process: Process) {
    let pid = Pid::from_raw(i32::try_from(process.0).expect("a pid"));
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let read = std::fs::read_to_string(format!("/proc/{}/limits", process.0)).expect("its limits");
    let line = read.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let current: u64 =
        line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("it");
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(current + 1), maximum }).expect("it");
}

/// The attack, phase after phase.
struct Attack {
    figures: Figures,
    address: SocketAddr,
    process: Process,
    waiting: Waiting,
    holders: Vec<Holder>,
    held: usize,
    rng: fastrand::Rng,
}

impl Attack {
    /// Takes every descriptor that the server has left.
    fn exhaust(&mut self, descriptors: usize) {
        let free = descriptors - self.process.rested();
        let share = free / self.holders.len();
        self.holders.iter_mut().for_each(|holder| holder.hold(share));
        let rest = free - share * self.holders.len();
        self.holders[0].hold(rest);
        assert_eq!(self.ping(), free, "all are served");
        self.held = free;
        self.figures.tell("connections that are held", free);
    }

    fn ping(&mut self) -> usize {
        self.holders.iter_mut().for_each(Holder::begin_ping);
        self.holders.iter().map(Holder::answer).sum()
    }

    /// What it costs to be full, with many at the door.
    fn stay_full(&mut self, knocks: usize, span: Duration) {
        let (address, process) = (self.address, self.process);
        (0..knocks).for_each(|_| self.waiting.knock(address));
        self.waiting.hear(ms(300), |_| false); // the first are shed
        let (before, served) = (self.waiting.shed, self.waiting.served.len());
        let (cost, ()) = process.cost_of(|| {
            self.waiting.hear(span, |_| false);
        });
        let rate = (self.waiting.shed - before) as f64 / span.as_secs_f64();
        assert_eq!(self.waiting.served.len(), served, "there is no room for anybody");
        assert!(self.waiting.shed > 0, "somebody was told that there is no room");
        self.figures.at_most("accepted and shed while full", rate, 20.0, "a second");
        self.figures.at_most("wakes while full", cost.sleeps, 20.0, "a second");
        self.figures.at_most("processor while full", cost.percent, 5.0, "%");
    }

    /// How long after a descriptor's return a waiting peer is served.
    fn give_back(&mut self, rounds: usize, how: &str, mut give: impl FnMut(&mut Self)) {
        let mut longest = Duration::ZERO;
        let (mut measured, mut void) = (0, 0);
        while measured < rounds {
            let address = self.address;
            while self.waiting.left() < 10 {
                self.waiting.knock(address);
            }
            // Once one is shed, the server rests; others wait, and nobody knocks.
            let shed = self.waiting.shed;
            assert!(self.waiting.hear(PATIENCE, |all| all.shed > shed), "it sheds");
            let phase = self.rng.u64(..100);
            self.waiting.hear(ms(phase), |_| false);
            let served = self.waiting.served.len();
            let given = now();
            give(self);
            self.waiting.hear(PATIENCE, |all| all.served.len() > served || all.left() == 0);
            if let Some(came) = self.waiting.served.get(served) {
                longest = longest.max(*came - given);
                measured += 1;
                continue;
            }
            // It takes the server a second to shed them all: this process has been stopped in the midst of it.
            void += 1;
            assert!(void < 5, "nobody was served, and {} are left", self.waiting.left());
            self.waiting.knock(address);
            let came = self.waiting.hear(PATIENCE, |all| all.served.len() > served);
            assert!(came, "nobody is served, though a descriptor is free");
        }
        self.figures.tell("rounds in which all were shed before, made again", void);
        self.figures.at_most(&format!("served after {how}"), millis(longest), 150.0, "ms");
    }

    /// How soon newcomers are served once there is room again.
    fn resume(&mut self, room: usize) {
        let share = room / self.holders.len();
        let began = now();
        self.holders.iter_mut().for_each(|holder| holder.drop(share));
        self.held -= share * self.holders.len();
        let peers: Vec<_> = (0..share / 2).map(|_| connect(self.address)).collect();
        peers.iter().for_each(|peer| send(peer, "me too\n"));
        peers.iter().for_each(|peer| assert_eq!(read_exactly(peer, 7), b"me too\n"));
        let what = format!("{room} descriptors come back: {} newcomers served after", peers.len());
        self.figures.at_most(&what, millis(began.elapsed()), 1_000.0, "ms");
    }
}

#[test]
fn descriptors_run_out_and_come_back() {
    let _alone = alone();
    let descriptors = size(256, 19_900);
    let (server, address, process) = server(descriptors);
    let rested = process.rested();
    let holders = (0..2).map(|at| Holder::start(address, 10 + at)).collect();
    let figures = Figures::of("descriptors");
    let waiting = Waiting::new();
    let rng = fastrand::Rng::with_seed(seed());
    let mut attack = Attack { figures, address, process, waiting, holders, held: 0, rng };
    attack.exhaust(descriptors);
    attack.stay_full(size(40, 200), size(ms(1_000), ms(5_000)));
    let mut given = 0;
    attack.give_back(size(3, 30), "a connection's end", |attack| {
        attack.holders[0].drop(1);
        given += 1;
    });
    attack.held -= given;
    attack.give_back(size(3, 30), "a return that nothing tells of", |attack| {
        lift_limit(attack.process);
    });
    assert_eq!(attack.ping(), attack.held, "nobody that was connected is dropped");
    attack.stay_full(size(40, 200), ms(1_000)); // no more costly for all that came and went
    attack.resume(size(100, 1_000));
    assert_eq!(attack.ping(), attack.held, "nobody that was connected is dropped");
    attack.figures.tell("connected and dropped", 0);
    drop((attack.holders, attack.waiting));
    until("all have ended", || process.descriptors() == rested);
    server.terminate();
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    attack.figures.finish();
}
