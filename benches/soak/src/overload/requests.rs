//! Requests at a fixed rate, whatever becomes of those before: request `k` is due at `k / rate`, on connection `k` modulo
//! their number, and its latency counts from there.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::{DEADLINE, Step};
use crate::Outcome;
use crate::latency::Latencies;
use crate::serve::{BUSY, PACKET, SERVED, VERDICT};

const CONNECTIONS: usize = 32;

/// Requests under way on each connection while the capacity is measured: 51 ms of work in all, so that the server has some
/// even when the load is late.
const PIPELINE: u64 = 16;

/// One connection: what it has yet to send, and the part of a reply that has come.
struct Lane {
    stream: TcpStream,
    unsent: Vec<u8>,
    sent: usize,
    held: Vec<u8>,
}

impl Lane {
    fn ask(&mut self, number: u64) {
        let mut request = [0; PACKET];
        request[..VERDICT].copy_from_slice(&number.to_be_bytes());
        self.unsent.extend(request);
    }

    /// As much as the socket takes.
    fn send(&mut self) -> Outcome<()> {
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("a request cannot be sent: {error}").into()),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// Every reply that has come, by the number of its request and its verdict.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        mut on_reply: impl FnMut(u64, u8) -> Outcome<()>,
    ) -> Outcome<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err("the server has closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("no reply can be read: {error}").into()),
            };
            self.held.extend(&buffer[..count]);
            let whole = self.held.len() / PACKET * PACKET;
            for reply in self.held[..whole].chunks_exact(PACKET) {
                let (number, rest) = reply.split_first_chunk().ok_or("a reply without a number")?;
                on_reply(u64::from_be_bytes(*number), rest[0])?;
            }
            self.held.drain(..whole);
            if count < buffer.len() {
                return Ok(());
            }
        }
    }
}

struct Lanes {
    lanes: Vec<Lane>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
}

impl Lanes {
    fn open(server: SocketAddr) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lanes = Vec::new();
        for at in 0..CONNECTIONS {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            lanes.push(Lane { stream, unsent: Vec::new(), sent: 0, held: Vec::new() });
        }
        let events = Vec::with_capacity(CONNECTIONS);
        Ok(Self { lanes, epoll, events, buffer: vec![0; 64 * 1024] })
    }

    /// Reads what has come, without waiting: this loop has a core to itself.
    fn look(&mut self, mut on_reply: impl FnMut(u64, u8) -> Outcome<()>) -> Outcome<()> {
        self.events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        epoll::wait(&self.epoll, spare, Some(&at_once))?;
        for event in &self.events {
            let at = event.data.u64() as usize;
            self.lanes[at].receive(&mut self.buffer, &mut on_reply)?;
        }
        Ok(())
    }
}

/// The capacity is known from so many at least, however long they take on a machine that is busy.
const ENOUGH: u64 = 200;

/// A server that has not done those by then does nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Served a second, with some under way all the time.
pub(super) fn closed_loop(server: SocketAddr, span: Duration) -> Outcome<f64> {
    let mut lanes = Lanes::open(server)?;
    let count = CONNECTIONS as u64;
    let mut asked = 0;
    while asked < PIPELINE * count {
        lanes.lanes[(asked % count) as usize].ask(asked);
        asked += 1;
    }
    lanes.lanes.iter_mut().try_for_each(Lane::send)?;
    // The first part warms up and does not count.
    let begun = Instant::now();
    let (mut served, mut counted_from) = (0_u64, None);
    while begun.elapsed() < span || (served < ENOUGH && begun.elapsed() < PATIENCE) {
        if counted_from.is_none() && begun.elapsed() > span / 4 {
            (served, counted_from) = (0, Some(Instant::now()));
        }
        let mut answered = Vec::new();
        lanes.look(|number, verdict| {
            served += u64::from(verdict == SERVED);
            answered.push(number);
            Ok(())
        })?;
        for number in answered {
            let lane = &mut lanes.lanes[(number % count) as usize];
            lane.ask(number + PIPELINE * count);
            lane.send()?;
        }
    }
    let seconds = counted_from.ok_or("the step was too short")?.elapsed().as_secs_f64();
    if served == 0 {
        return Err("nothing was served while the capacity was measured".into());
    }
    Ok(served as f64 / seconds)
}

/// What has become of each request, and when.
struct Ledger {
    begun: Instant,
    rate: f64,
    answered: Vec<bool>,
    step: Step,
    latency: Latencies,
    refusal: Latencies,
}

impl Ledger {
    fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate)
    }

    fn reply(&mut self, number: u64, verdict: u8) -> Outcome<()> {
        let answered = self.answered.get_mut(number as usize);
        let answered = answered.ok_or_else(|| format!("a reply to {number}: no such request"))?;
        if std::mem::replace(answered, true) {
            return Err(format!("request {number} was answered twice").into());
        }
        let took = self.begun.elapsed().saturating_sub(self.due(number));
        match verdict {
            SERVED => {
                self.latency.note(took);
                if took <= DEADLINE { self.step.served += 1 } else { self.step.late += 1 }
            }
            BUSY => {
                self.refusal.note(took);
                self.step.refused += 1;
            }
            other => return Err(format!("request {number} has the verdict {other}").into()),
        }
        Ok(())
    }
}

/// So many requests a second, for so long. What has not been answered a deadline after the last is not waited for.
pub(super) fn offer(server: SocketAddr, rate: f64, span: Duration) -> Outcome<Step> {
    let mut lanes = Lanes::open(server)?;
    let total = (rate * span.as_secs_f64()) as u64;
    let mut lag = Latencies::new()?;
    let mut ledger = Ledger {
        begun: Instant::now(),
        rate,
        answered: vec![false; usize::try_from(total)?],
        step: Step::default(),
        latency: Latencies::new()?,
        refusal: Latencies::new()?,
    };
    let mut sent = 0;
    loop {
        let elapsed = ledger.begun.elapsed();
        while sent < total && ledger.due(sent) <= elapsed {
            lag.note(elapsed - ledger.due(sent));
            lanes.lanes[(sent % CONNECTIONS as u64) as usize].ask(sent);
            sent += 1;
        }
        lanes.lanes.iter_mut().try_for_each(Lane::send)?;
        lanes.look(|number, verdict| ledger.reply(number, verdict))?;
        let Step { served, late, refused, .. } = ledger.step;
        if sent == total && (served + late + refused == total || elapsed > span + DEADLINE) {
            break;
        }
    }
    let Ledger { step, latency, refusal, .. } = ledger;
    Ok(step.told(total, span, [&latency, &refusal, &lag]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger {
            begun: Instant::now(),
            rate: 1_000.0,
            answered: vec![false; 2],
            step: Step::default(),
            latency: Latencies::new().expect("a histogram"),
            refusal: Latencies::new().expect("a histogram"),
        }
    }

    #[test]
    fn each_request_has_one_answer() {
        let mut ledger = ledger();
        ledger.reply(0, SERVED).expect("an answer");
        ledger.reply(1, BUSY).expect("an answer");
        assert_eq!((ledger.step.served, ledger.step.refused), (1, 1));
        let twice = ledger.reply(0, SERVED).expect_err("it must be noticed");
        assert_eq!(twice.to_string(), "request 0 was answered twice");
        let unknown = ledger.reply(2, SERVED).expect_err("it must be noticed");
        assert_eq!(unknown.to_string(), "a reply to 2: no such request");
    }

    #[test]
    fn what_comes_after_the_deadline_is_no_goodput() {
        let mut ledger = ledger();
        ledger.begun -= DEADLINE * 2;
        ledger.reply(0, SERVED).expect("an answer");
        assert_eq!((ledger.step.served, ledger.step.late), (0, 1));
    }
}
