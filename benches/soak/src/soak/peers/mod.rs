//! The peers: good ones that verify every byte, and those that a server must get rid of. Each is a thread that mostly waits.
//!
//! A script plays one life of a peer: it connects, does its part, and goes. It is played again until the run is over. What
//! it returns as an error fails the run: a wrong reply to a good peer, and likewise a bad one that is still there after its
//! deadline.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use socket2::{Domain, SockAddr, Socket, Type};

use super::field::{Field, PATIENCE};
use crate::Outcome;
use crate::serve::Service;

mod chat;
mod churn;
mod echo;
mod flood;
mod hostile;
mod raw;
mod slow;
mod unread;

pub(super) type Life = Result<(), String>;

/// One peer's view: where it goes, and what it shares.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) field: Arc<Field>,
    pub(super) service: Service,
    pub(super) server: SocketAddr,
    pub(super) random: Rng,
    /// Among those of its kind.
    pub(super) number: usize,
}

/// The addresses of the servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Servers {
    pub(super) lines: SocketAddr,
    pub(super) length: SocketAddr,
    pub(super) chat: SocketAddr,
}

/// Steady peers of each echo server.
const STEADY: usize = 32;

/// Peers that come and go, at each echo server.
const COMERS: usize = 4;

type Script = fn(&mut Peer) -> Life;

/// Who takes part: a name, how many, what they do. `Lines` stands for both echo servers.
const CAST: [(&str, Service, usize, Script); 13] = [
    ("steady", Service::Lines, STEADY, echo::steady),
    ("comer", Service::Lines, COMERS, churn::come_and_go),
    ("visitor", Service::Chat, 1, chat::visit),
    ("dripping", Service::Lines, 2, slow::drip),
    ("half packet", Service::Lines, 2, slow::half),
    ("half frame", Service::Chat, 2, slow::half),
    ("half request", Service::Chat, 1, slow::drip),
    ("not reading", Service::Lines, 2, unread::echo),
    ("not reading", Service::Chat, 2, unread::chat),
    ("hostile", Service::Lines, 1, hostile::echo),
    ("hostile", Service::Chat, 1, hostile::chat),
    ("flood", Service::Lines, 1, flood::flood),
    ("flood", Service::Chat, 1, flood::flood),
];

/// Starts them all, each with chances of its own from the seed.
pub(super) fn start(
    field: &Arc<Field>,
    servers: Servers,
    seed: u64,
) -> Outcome<Vec<JoinHandle<()>>> {
    let mut seeds = Rng::with_seed(seed);
    let mut threads = Vec::new();
    let mut play =
        |name: String, service, number, script: Box<dyn FnMut(&mut Peer) -> Life + Send>| {
            let server = match service {
                Service::Lines => servers.lines,
                Service::Length => servers.length,
                _ => servers.chat,
            };
            let field = Arc::clone(field);
            let random = Rng::with_seed(seeds.u64(..));
            let peer = Peer { field, service, server, random, number };
            let thread = thread::Builder::new().name(name).stack_size(512 * 1024);
            threads.push(thread.spawn(move || live(peer, script))?);
            Ok::<(), io::Error>(())
        };
    for (name, service, count, script) in CAST {
        let both = [Service::Lines, Service::Length];
        let services = if service == Service::Lines { &both[..] } else { &[Service::Chat][..] };
        for service in services {
            for number in 0..count {
                let name = format!("{name} {number} at {}", service.name());
                play(name, *service, number, Box::new(script))?;
            }
        }
    }
    for (number, mut member) in chat::members().into_iter().enumerate() {
        let name = format!("member {number} at chat");
        play(name, Service::Chat, number, Box::new(move |peer| member.live(peer)))?;
    }
    Ok(threads)
}

/// Plays the script until the run is over.
fn live(mut peer: Peer, mut script: Box<dyn FnMut(&mut Peer) -> Life + Send>) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    // Not all at once.
    let first = Duration::from_micros(peer.random.u64(..500_000));
    let mut goes_on = peer.field.pause(first);
    while goes_on {
        if let Err(error) = script(&mut peer) {
            peer.field.error(&name, error);
            goes_on = peer.field.pause(Duration::from_secs(1)); // a server that is gone is no reason to spin
        } else {
            goes_on = !peer.field.is_over();
        }
    }
}

impl Peer {
    /// From this machine's usual address.
    pub(super) fn connect(&self) -> Result<TcpStream, String> {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    /// From one of many addresses, so that no limit of an address is met.
    pub(super) fn connect_from_anywhere(&mut self) -> Result<TcpStream, String> {
        let [b, c, d] = [(); 3].map(|()| self.random.u8(1..250));
        self.connect_from(Ipv4Addr::new(127, b, c, d))
    }

    pub(super) fn connect_from(&self, from: Ipv4Addr) -> Result<TcpStream, String> {
        let connected = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
            self.set_up(&socket)?;
            Ok(TcpStream::from(socket))
        };
        connected().map_err(|error: io::Error| format!("cannot connect from {from}: {error}"))
    }

    /// With little room for what it does not read.
    pub(super) fn connect_with_little_room(&self) -> Result<TcpStream, String> {
        let connected = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_recv_buffer_size(4 * 1024)?;
            socket.set_send_buffer_size(16 * 1024)?;
            self.set_up(&socket)?;
            Ok(TcpStream::from(socket))
        };
        connected().map_err(|error: io::Error| format!("cannot connect: {error}"))
    }

    fn set_up(&self, socket: &Socket) -> io::Result<()> {
        socket.connect(&SockAddr::from(self.server))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))
    }

    /// A time between, on an even chance.
    pub(super) fn pause_between(&mut self, least_ms: u64, most_ms: u64) -> bool {
        let span = Duration::from_millis(self.random.u64(least_ms..=most_ms));
        self.field.pause(span)
    }

    /// Reads and throws away until the server has closed. `Ok(false)` where the run was over first.
    pub(super) fn wait_for_the_end(&self, mut stream: &TcpStream) -> Result<bool, String> {
        let begun = Instant::now();
        let mut buffer = [0; 4 * 1024];
        stream.set_read_timeout(Some(Duration::from_millis(100))).map_err(said)?;
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Ok(true), // it was reset
            }
            if self.field.is_over() {
                return Ok(false);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("still connected {:.1?} later", begun.elapsed()));
            }
        }
    }
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
