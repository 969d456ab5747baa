//! Healthy peers: many connections on one thread, each of which asks, waits for the whole answer, and asks again. What
//! they are not answered, or answered wrongly, is a loss.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::{PATIENCE, connect, now};
use crate::ground::Latencies;

/// What a peer asks, by its number and that of the question, and what it is to be answered.
pub(crate) type Dialect = fn(usize, u64) -> (Vec<u8>, Vec<u8>);

/// A line of 64 bytes, which comes back.
pub(crate) fn lines(peer: usize, question: u64) -> (Vec<u8>, Vec<u8>) {
    let line = format!("{peer:>20} asks for the {question:>20}th time: back\n").into_bytes();
    (line.clone(), line)
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latencies: Latencies,
    /// Peers that were dropped, or not answered as they should have been.
    pub(crate) lost: Vec<String>,
}

struct Peer {
    stream: TcpStream,
    questions: u64,
    asked: Option<Instant>,
    wanted: Vec<u8>,
    got: usize,
    lost: bool,
}

/// Peers that ask until they are told to stop.
pub(crate) struct Crowd {
    thread: JoinHandle<Tally>,
    enough: Arc<AtomicBool>,
}

impl Crowd {
    /// Connects, and begins: each peer asks anew `pace` after its last question, and not before it was answered.
    pub(crate) fn start(server: SocketAddr, peers: usize, pace: Duration, speak: Dialect) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let streams: Vec<_> = (0..peers).map(|_| connect(server)).collect();
        let told = Arc::clone(&enough);
        let thread = thread::spawn(move || {
            let mut party = Party::gather(streams, pace, speak);
            party.talk(&told);
            party.tally
        });
        Self { thread, enough }
    }

    /// Lets every question be answered, and ends.
    pub(crate) fn finish(self) -> Tally {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("a crowd that does not panic")
    }

    /// A crowd that talks for so long.
    pub(crate) fn talk_for(
        span: Duration,
        server: SocketAddr,
        peers: usize,
        pace: Duration,
        speak: Dialect,
    ) -> Tally {
        let crowd = Self::start(server, peers, pace, speak);
        crate::ground::pass(span);
        crowd.finish()
    }
}

struct Party {
    poll: Poll,
    peers: Vec<Peer>,
    /// Who asks next, and when.
    due: BTreeSet<(Instant, usize)>,
    pace: Duration,
    speak: Dialect,
    tally: Tally,
}

impl Party {
    fn gather(streams: Vec<std::net::TcpStream>, pace: Duration, speak: Dialect) -> Self {
        let poll = Poll::new().expect("a poll");
        let began = now();
        let mut due = BTreeSet::new();
        let each = pace / u32::try_from(streams.len().max(1)).expect("fewer");
        let peers = streams.into_iter().enumerate().map(|(at, stream)| {
            stream.set_nonblocking(true).expect("a socket option");
            let mut stream = TcpStream::from_std(stream);
            let registry = poll.registry();
            registry.register(&mut stream, Token(at), Interest::READABLE).expect("a poll");
            due.insert((began + each * u32::try_from(at).expect("fewer"), at));
            Peer { stream, questions: 0, asked: None, wanted: Vec::new(), got: 0, lost: false }
        });
        let peers = peers.collect();
        Self { poll, peers, due, pace, speak, tally: Tally::default() }
    }

    fn talk(&mut self, enough: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        let mut asking = self.peers.len();
        let mut give_up = None;
        loop {
            let time = now();
            if enough.load(Ordering::Relaxed) {
                asking = 0;
                self.due.clear();
                let give_up = *give_up.get_or_insert(time + PATIENCE);
                let waiting = self.peers.iter().filter(|peer| peer.asked.is_some()).count();
                if waiting == 0 {
                    return;
                }
                if time > give_up {
                    self.tally.lost.push(format!("{waiting} are still waiting"));
                    return;
                }
            }
            while let Some((_, at)) = self.due.first().copied().filter(|due| due.0 <= time) {
                self.due.pop_first();
                self.ask(at);
            }
            let nap = if asking == 0 { Duration::from_millis(20) } else { self.nap(time) };
            self.poll.poll(&mut events, Some(nap)).or_else(interrupted).expect("a poll");
            for event in &events {
                self.hear(event.token().0);
            }
        }
    }

    /// Until somebody is due, but never so long that the end goes unnoticed.
    fn nap(&self, time: Instant) -> Duration {
        let next = self.due.first().map(|due| due.0.saturating_duration_since(time));
        next.unwrap_or(PATIENCE).min(Duration::from_millis(20))
    }

    fn ask(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let (question, answer) = (self.speak)(at, peer.questions);
        peer.questions += 1;
        peer.wanted = answer;
        peer.got = 0;
        peer.asked = Some(now());
        // It is small, and all that went before it was answered: it fits.
        match peer.stream.write(&question) {
            Ok(wrote) if wrote == question.len() => {}
            wrote => self.lose(at, format!("wrote {wrote:?} of {} bytes", question.len())),
        }
    }

    fn hear(&mut self, at: usize) {
        let mut heard = [0; 4096];
        loop {
            let peer = &mut self.peers[at];
            match peer.stream.read(&mut heard) {
                Ok(0) => return self.lose(at, "was dropped".to_owned()),
                Ok(got) => {
                    let wanted = peer.wanted.get(peer.got..peer.got + got);
                    if peer.asked.is_none() || wanted != Some(&heard[..got]) {
                        return self.lose(at, "was answered with something else".to_owned());
                    }
                    peer.got += got;
                    if peer.got == peer.wanted.len() {
                        let asked = peer.asked.take().expect("it has asked");
                        let time = now();
                        self.tally.latencies.note(time - asked);
                        self.due.insert(((asked + self.pace).max(time), at));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lose(at, error.to_string()),
            }
        }
    }

    fn lose(&mut self, at: usize, why: String) {
        let peer = &mut self.peers[at];
        peer.asked = None;
        if std::mem::replace(&mut peer.lost, true) {
            return;
        }
        self.due.retain(|due| due.1 != at);
        self.tally.lost.push(format!("peer {at}, question {}: {why}", peer.questions));
        drop(self.poll.registry().deregister(&mut peer.stream));
    }
}

fn interrupted(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
