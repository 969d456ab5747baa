//! Connections at a fixed rate, to a server with room for few: each asks, stays for a while, asks again and goes. Who finds
//! no room is closed at once, and the time until it knows is measured.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{DEADLINE, STAY, Step};
use crate::Outcome;
use crate::latency::Latencies;
use crate::serve::{PACKET, SERVED, VERDICT};

/// Visits under way at a time, refused ones among them. The descriptors would allow more; nothing here should need it.
const MOST: usize = 8_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Its connect is on the way.
    Connecting,
    /// Its first request is.
    Coming,
    Staying,
    Going,
}

struct Visit {
    stream: TcpStream,
    due: Instant,
    stage: Stage,
}

struct House {
    server: SocketAddr,
    epoll: OwnedFd,
    /// By number; `None` when it is over.
    visits: Vec<Option<Visit>>,
    /// Those who stay, in the order of their leave.
    leaves: VecDeque<(Instant, usize)>,
    open: usize,
    step: Step,
    latency: Latencies,
    refusal: Latencies,
}

impl House {
    /// Begins a visit that was due then.
    fn come(&mut self, due: Instant) -> Outcome<()> {
        let number = self.visits.len();
        if self.open >= MOST {
            return Err(format!("{MOST} visits are under way: the load cannot do this").into());
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Many addresses, so that there are ports enough.
        let from = Ipv4Addr::new(127, 1 + (number % 64) as u8, 0, 1);
        socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(self.server)) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(format!("visit {number} cannot connect: {error}").into());
            }
            _ => {}
        }
        let stream = TcpStream::from(socket);
        let data = epoll::EventData::new_u64(number as u64);
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &stream, data, both)?;
        self.visits.push(Some(Visit { stream, due, stage: Stage::Connecting }));
        self.open += 1;
        self.look(number) // on loopback it is connected by now, as a rule
    }

    /// Looks at a visit that something has become of.
    fn look(&mut self, number: usize) -> Outcome<()> {
        let Some(visit) = self.visits.get_mut(number).and_then(Option::as_mut) else {
            return Ok(()); // news of the past
        };
        if visit.stage == Stage::Connecting {
            match visit.ask(number) {
                Ok(()) => visit.stage = Stage::Coming,
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return self.refused_by(number, &error),
            }
        }
        let mut reply = [0; PACKET];
        match visit.stream.read(&mut reply) {
            Ok(PACKET) => self.answered(number, reply),
            Ok(0) => self.refused_by(number, &ErrorKind::UnexpectedEof.into()),
            Ok(count) => Err(format!("visit {number}: {count} bytes of a reply").into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => self.refused_by(number, &error),
        }
    }

    fn answered(&mut self, number: usize, reply: [u8; PACKET]) -> Outcome<()> {
        let Some(visit) = self.visits[number].as_mut() else { return Ok(()) };
        if reply[..VERDICT] != (number as u64).to_be_bytes() || reply[VERDICT] != SERVED {
            return Err(format!("visit {number} has a wrong reply: {reply:?}").into());
        }
        let now = Instant::now();
        if visit.stage == Stage::Coming {
            visit.stage = Stage::Staying;
            let took = now.duration_since(visit.due);
            self.latency.note(took);
            if took <= DEADLINE {
                self.step.served += 1;
            } else {
                self.step.late += 1;
            }
            self.leaves.push_back((now + STAY, number));
        } else {
            self.over(number);
        }
        Ok(())
    }

    fn refused_by(&mut self, number: usize, error: &io::Error) -> Outcome<()> {
        let Some(visit) = self.visits[number].as_ref() else { return Ok(()) };
        if !matches!(visit.stage, Stage::Connecting | Stage::Coming) {
            return Err(format!("visit {number} was let in, and then cut off: {error}").into());
        }
        self.step.refused += 1;
        self.refusal.note(visit.due.elapsed());
        self.over(number);
        Ok(())
    }

    fn over(&mut self, number: usize) {
        self.visits[number] = None;
        self.open -= 1;
    }

    /// Those whose time is over ask once more, and then go.
    fn let_leave(&mut self, now: Instant) -> Outcome<()> {
        while let Some((_, number)) = self.leaves.pop_front_if(|(at, _)| *at <= now) {
            if let Some(visit) = self.visits[number].as_mut() {
                visit.stage = Stage::Going;
                if let Err(error) = visit.ask(number) {
                    self.refused_by(number, &error)?;
                }
            }
        }
        Ok(())
    }
}

impl Visit {
    fn ask(&mut self, number: usize) -> io::Result<()> {
        let mut request = [0; PACKET];
        request[..VERDICT].copy_from_slice(&(number as u64).to_be_bytes());
        self.stream.write_all(&request)
    }
}

/// Whether it is not connected yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// So many visits a second, for so long.
pub(super) fn offer(server: SocketAddr, rate: f64, span: Duration) -> Outcome<Step> {
    let total = (rate * span.as_secs_f64()) as u64;
    let mut house = House {
        server,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        visits: Vec::with_capacity(usize::try_from(total)?),
        leaves: VecDeque::new(),
        open: 0,
        step: Step::default(),
        latency: Latencies::new()?,
        refusal: Latencies::new()?,
    };
    let mut lag = Latencies::new()?;
    let mut events = Vec::with_capacity(256);
    let begun = Instant::now();
    let mut come = 0;
    // All stay for a while, and then for as long as an answer may take.
    while (come < total || house.open > 0) && begun.elapsed() < span + STAY + DEADLINE * 2 {
        let now = Instant::now();
        let due = begun + Duration::from_secs_f64(come as f64 / rate);
        if come < total && due <= now {
            lag.note(now - due);
            house.come(due)?;
            come += 1;
        }
        house.let_leave(now)?;
        events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&house.epoll, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
        for event in &events {
            let event: &epoll::Event = event;
            house.look(event.data.u64() as usize)?;
        }
    }
    let House { step, latency, refusal, .. } = house;
    Ok(step.told(total, span, [&latency, &refusal, &lag]))
}
