//! Peers in a process of their own, since one process cannot have 20,000 connections and a test; and so that peers can be
//! frozen. It is this test binary once more, which takes its orders from its input.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use crate::common::{child, connect_from};
use crate::ground::{Process, raise_descriptors};
use crate::kit::programs::Program;

const TARGET: &str = "WHEELHOUSE_TEST_TARGET";

/// Connections from one address of the holder's: fewer than there are ports.
const PER_ADDRESS: usize = 5_000;

/// A process that holds connections.
pub(crate) struct Holder(Program);

impl Holder {
    /// `network` tells the holders' addresses apart: 127.`network`.0.0.
    pub(crate) fn start(server: SocketAddr, network: u8) -> Self {
        let mut command = child("holder::hold");
        command.arg("--ignored").env(TARGET, format!("{server} {network}"));
        Self(Program::spawn("holder", &mut command).expect("a process"))
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.0.pid())
    }

    /// Connects so many more.
    pub(crate) fn hold(&mut self, more: usize) {
        self.order(&format!("hold {more}"));
        assert_eq!(self.answer(), more);
    }

    /// Has each say a line and wait for its echo; how many got it.
    pub(crate) fn ping(&mut self) -> usize {
        self.order("ping");
        self.answer()
    }

    /// As `ping`, without waiting for the answer.
    pub(crate) fn begin_ping(&mut self) {
        self.order("ping");
    }

    /// Closes the latest.
    pub(crate) fn drop(&mut self, fewer: usize) {
        self.order(&format!("drop {fewer}"));
        assert_eq!(self.answer(), fewer);
    }

    fn order(&mut self, order: &str) {
        self.0.say(&format!("{order}\n"));
    }

    /// The number that answers an order.
    pub(crate) fn answer(&self) -> usize {
        loop {
            // Before the first stands what a test binary says of itself.
            if let Some((_, number)) = self.0.line().split_once("done ") {
                return number.parse().expect("a number");
            }
        }
    }
}

#[test]
#[ignore = "it is the peers that other tests attack with"]
fn hold() {
    raise_descriptors();
    let target = std::env::var(TARGET).expect("a target");
    let (server, network) = target.split_once(' ').expect("an address and a network");
    let server = server.parse().expect("an address");
    let network = network.parse().expect("a number");
    let mut peers = Vec::new();
    for order in io::stdin().lock().lines() {
        let order = order.expect("text");
        let (what, count) = order.split_once(' ').unwrap_or((&order, "0"));
        let count: usize = count.parse().expect("a number");
        let done = match what {
            "hold" => {
                (0..count).for_each(|_| peers.push(connect_as(network, peers.len(), server)));
                count
            }
            "ping" => ping(&mut peers),
            "drop" => peers.drain(peers.len() - count..).count(),
            other => panic!("what is {other:?}?"),
        };
        println!("done {done}");
    }
}

fn connect_as(network: u8, at: usize, server: SocketAddr) -> TcpStream {
    let host = u8::try_from(at / PER_ADDRESS + 1).expect("fewer than a million");
    connect_from(Ipv4Addr::new(127, network, 0, host), server)
}

/// All ask before the first is heard.
fn ping(peers: &mut [TcpStream]) -> usize {
    let line = b"still here?\n";
    let asked = peers.iter_mut().map(|peer| peer.write_all(line).is_ok()).collect::<Vec<_>>();
    let answered = |peer: &mut TcpStream| {
        let mut echo = [0; 12];
        peer.read_exact(&mut echo).is_ok() && echo == *line
    };
    peers
        .iter_mut()
        .zip(asked)
        .filter_map(|(peer, asked)| asked.then(|| answered(peer)))
        .filter(|ok| *ok)
        .count()
}
