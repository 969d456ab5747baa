//! The simulated network: a driver with a kernel's manners and, where asked for, a kernel's moods.
//!
//! Readiness is told as edge-triggered epoll tells it: once for each arrival of bytes, of an end or of a reset, and once
//! for room that came after a write had found none; each time with all that holds at the moment. What a test adds (short
//! reads, would-blocks out of the blue) is followed by a new edge, as if the rest had come a moment later: a real kernel
//! does no less, so a loop that hangs here has lost an edge that it was told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use slab::Slab;

use super::pipe::{Pipe, Route, ServerSide};
use super::{Dial, Faults, Sleep};
use crate::io::{LISTENER, Readiness};

/// Tokens that a stale event may carry.
const REMEMBERED_TOKENS: usize = 16;

/// The network, shared by the driver, the streams and the peers of one simulation.
#[derive(Clone)]
pub(super) struct Network(pub(super) Rc<RefCell<Net>>);

pub(super) struct Net {
    pub(super) rng: fastrand::Rng,
    pub(super) faults: Faults,
    pub(super) pipes: Slab<Pipe>,
    pub(super) listener: Option<Listener>,
    /// Plans for outbound connections, the next one first.
    pub(super) dials: VecDeque<Dial>,
    /// The far ends of outbound connections that nobody has asked for yet.
    pub(super) dialled: VecDeque<usize>,
    pub(super) register_failures: usize,
    pub(super) local_addr: SocketAddr,
    /// What the loop asked for in its last turn, and whether it was told anything, or woken.
    pub(super) sleep: Sleep,
    pub(super) has_told: bool,
    pub(super) woken: Arc<AtomicBool>,
    /// The simulation's clock, which looking moves on, and how often the loop has looked.
    pub(super) nanos: Arc<AtomicU64>,
    pub(super) looks: u64,
    /// Taken from the backlog or begun, and not registered yet: the loop registers a socket before it takes the next.
    pub(super) unregistered: Option<usize>,
    past_tokens: VecDeque<usize>,
}

pub(super) struct Listener {
    pub(super) backlog: VecDeque<usize>,
    pub(super) failures: VecDeque<i32>,
    edge: bool,
}

impl Network {
    pub(super) fn new(
        seed: u64,
        faults: Faults,
        local_addr: SocketAddr,
        nanos: Arc<AtomicU64>,
    ) -> Self {
        let listener =
            Listener { backlog: VecDeque::new(), failures: VecDeque::new(), edge: false };
        Self(Rc::new(RefCell::new(Net {
            rng: fastrand::Rng::with_seed(seed),
            faults,
            pipes: Slab::new(),
            listener: Some(listener),
            dials: VecDeque::new(),
            dialled: VecDeque::new(),
            register_failures: 0,
            local_addr,
            sleep: Sleep::Unlimited,
            has_told: false,
            woken: Arc::new(AtomicBool::new(false)),
            nanos,
            looks: 0,
            unregistered: None,
            past_tokens: VecDeque::new(),
        })))
    }
}

impl Net {
    pub(super) fn roll(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.f64() < chance
    }

    /// A peer stands in the backlog, or is refused where nobody listens.
    pub(super) fn arrive(&mut self, address: SocketAddr) -> usize {
        let mut pipe = Pipe::new(address, self.local_addr, Route::Open);
        pipe.reset_at = self.fate();
        if self.listener.is_none() {
            pipe.server = ServerSide::Reset;
        }
        let at = self.pipes.insert(pipe);
        if let Some(listener) = &mut self.listener {
            listener.backlog.push_back(at);
            listener.edge = true;
        }
        at
    }

    /// After how many bytes this connection is to be reset, if it is.
    pub(super) fn fate(&mut self) -> Option<u64> {
        let chance = self.faults.resets;
        self.roll(chance).then(|| self.rng.u64(1..2_000))
    }

    /// Whether the loop would be told something if it asked now.
    pub(super) fn has_news(&self) -> bool {
        self.woken.load(Ordering::Acquire)
            || self.listener.as_ref().is_some_and(|listener| listener.edge)
            || self.pipes.iter().any(|(_, pipe)| pipe.has_news())
    }

    pub(super) fn tell(&mut self, news: &mut Vec<Readiness>) {
        for (_, pipe) in &mut self.pipes {
            pipe.settle_dial();
        }
        let mut due: Vec<usize> =
            self.pipes.iter().filter(|(_, pipe)| pipe.has_news()).map(|(at, _)| at).collect();
        if self.faults != Faults::none() {
            self.rng.shuffle(&mut due);
            if self.roll(self.faults.batches) {
                due.truncate(self.rng.usize(0..=due.len()));
            }
        }
        for at in due {
            if self.roll(self.faults.delays) {
                continue;
            }
            let Some(readiness) = self.pipes[at].take_news() else { continue };
            news.push(readiness);
            if self.roll(self.faults.duplicates) {
                news.push(readiness);
            }
        }
        if self.listener.as_ref().is_some_and(|listener| listener.edge)
            && !self.roll(self.faults.delays)
        {
            self.note_listener(news);
        }
        self.tell_lies(news);
    }

    fn note_listener(&mut self, news: &mut Vec<Readiness>) {
        if let Some(listener) = &mut self.listener {
            listener.edge = false;
            let listener =
                Readiness { token: LISTENER, readable: true, writable: false, ending: false };
            news.push(listener);
        }
    }

    /// News of nothing, and news of connections that have gone.
    fn tell_lies(&mut self, news: &mut Vec<Readiness>) {
        if self.roll(self.faults.spurious) {
            let tokens: Vec<usize> = self.pipes.iter().filter_map(|(_, pipe)| pipe.token).collect();
            match self.rng.choice(&tokens) {
                Some(&token) => self.lie(token, news),
                None => self.note_listener(news),
            }
        }
        if self.roll(self.faults.stale)
            && let Some(token) = self.rng.choice(self.past_tokens.make_contiguous()).copied()
        {
            self.lie(token, news);
        }
        if self.faults != Faults::none() {
            self.rng.shuffle(news);
        }
    }

    fn lie(&mut self, token: usize, news: &mut Vec<Readiness>) {
        let (readable, writable, ending) = (self.rng.bool(), self.rng.bool(), self.rng.bool());
        news.push(Readiness { token, readable, writable, ending });
    }

    pub(super) fn accept(&mut self) -> io::Result<(usize, SocketAddr)> {
        let chance = self.faults.accept_errors;
        if self.roll(chance) {
            let errors =
                [Errno::CONNABORTED, Errno::INTR, Errno::MFILE, Errno::NOBUFS, Errno::PERM];
            let error = errors[self.rng.usize(0..errors.len())];
            return Err(error.into());
        }
        let Some(listener) = &mut self.listener else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if let Some(errno) = listener.failures.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let Some(at) = listener.backlog.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.unregistered = Some(at);
        Ok((at, self.pipes[at].peer_addr))
    }

    /// A fault that comes before a read or a write has even begun.
    fn mishap(&mut self) -> io::Result<()> {
        if self.roll(self.faults.interrupts) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    pub(super) fn read(&mut self, at: usize, buf: &mut [u8]) -> io::Result<usize> {
        self.mishap()?;
        if self.roll(self.faults.would_blocks) {
            let pipe = &mut self.pipes[at];
            pipe.edge_in |= pipe.is_readable();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let there = self.pipes[at].arriving.len().min(buf.len());
        let takes = if there > 1 && self.roll(self.faults.short_reads) {
            self.shorter(there)
        } else {
            there
        };
        let cuts_loose = self.rng.bool();
        self.pipes[at].read(&mut buf[..takes], there > takes, cuts_loose)
    }

    pub(super) fn write(&mut self, at: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.mishap()?;
        self.pipes[at].check_writable()?;
        let asked: usize = slices.iter().map(|slice| slice.len()).sum();
        let fits = asked.min(self.pipes[at].window);
        if fits == 0 && asked > 0 {
            self.pipes[at].starved = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.roll(self.faults.would_blocks) {
            // Room is news at once, or, should the peer take it away until then, when it comes again.
            self.pipes[at].edge_out = true;
            self.pipes[at].starved = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let takes =
            if fits > 1 && self.roll(self.faults.short_writes) { self.shorter(fits) } else { fits };
        let cuts_loose = self.rng.bool();
        let pipe = &mut self.pipes[at];
        pipe.write(slices, takes, cuts_loose);
        pipe.starved = takes == fits && fits < asked;
        pipe.edge_out |= takes < fits;
        Ok(takes)
    }

    /// Fewer than `there`, and one alone in half of the cases.
    fn shorter(&mut self, there: usize) -> usize {
        if self.rng.bool() { 1 } else { self.rng.usize(1..there) }
    }

    /// The server has let go of its end.
    pub(super) fn release(&mut self, at: usize) {
        let pipe = &mut self.pipes[at];
        if let Some(token) = pipe.token.take() {
            self.past_tokens.push_back(token);
            if self.past_tokens.len() > REMEMBERED_TOKENS {
                self.past_tokens.pop_front();
            }
        }
        // A close with input unread resets, whatever was meant.
        let resets = pipe.resets_on_close || !pipe.arriving.is_empty();
        pipe.server = if resets { ServerSide::Reset } else { ServerSide::Closed };
        pipe.arriving.clear();
        self.forget_if_done(at);
    }

    /// Gives the place back once neither end is held any more.
    pub(super) fn forget_if_done(&mut self, at: usize) {
        let pipe = &self.pipes[at];
        let waits_for_somebody = self.dialled.contains(&at)
            || !matches!(pipe.server, ServerSide::Closed | ServerSide::Reset);
        if pipe.peer_dropped && !waits_for_somebody {
            self.pipes.remove(at);
        }
    }
}
