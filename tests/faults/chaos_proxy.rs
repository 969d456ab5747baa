//! A proxy that spoils what it carries, from a seed: one byte at a time, late, in stalls, cut off by a reset. Connections
//! overtake each other, since each has its own delays; the bytes of one stay in order, as TCP keeps them.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::common::{connect, ms, reset};
use crate::ground::pass;

/// What one direction of a connection suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plague {
    None,
    /// Each byte by itself.
    OneByte,
    /// Each piece up to so many milliseconds late.
    Delay(u64),
    /// A long silence now and then.
    Stalls,
    /// A reset to both sides after so many bytes.
    Reset(usize),
}

impl Plague {
    fn of(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..10) {
            0 => Self::None,
            1..=3 => Self::OneByte,
            4..=5 => Self::Delay(rng.u64(1..20)),
            6..=7 => Self::Stalls,
            _ => {
                let most = 1 << rng.u8(4..13);
                Self::Reset(rng.usize(..most))
            }
        }
    }

    /// How many bytes go in the next piece, and how late it is.
    fn next(self, rng: &mut fastrand::Rng) -> (usize, u64) {
        match self {
            Self::None | Self::Reset(_) => (4096, 0),
            Self::OneByte => (1, 0),
            Self::Delay(most) => (rng.usize(1..2048), rng.u64(..most)),
            Self::Stalls => (rng.usize(1..512), if rng.u8(..8) == 0 { 150 } else { 0 }),
        }
    }
}

/// Which connections have been cut off, noted before their peers can see it.
#[derive(Clone, Default)]
struct Resets(Arc<Mutex<Ports>>);

#[derive(Default)]
struct Ports {
    /// Of peers whose latest connection was cut off.
    cut: HashSet<u16>,
    all: usize,
}

impl Resets {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, port: u16) {
        let mut ports = self.ports();
        ports.all += usize::from(ports.cut.insert(port)); // once, though both directions may be cut
    }
}

/// A proxy under way. Dropped, it takes no more connections.
pub(crate) struct ChaosProxy {
    pub(crate) address: SocketAddr,
    resets: Resets,
    over: Arc<AtomicBool>,
    doorman: Option<JoinHandle<()>>,
}

impl ChaosProxy {
    pub(crate) fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let resets = Resets::default();
        let noted = resets.clone();
        let doorman = thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut carried = Vec::new();
            for inside in listener.incoming() {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                let inside = inside.expect("a peer");
                let port = inside.peer_addr().map_or(0, |peer| peer.port()); // 0: it has gone
                noted.ports().cut.remove(&port); // that was its last tenant
                let note = noted.clone();
                carried.extend(carry(inside, connect(to), &mut rng, move || note.note(port)));
            }
            carried.into_iter().for_each(|pump| pump.join().expect("a pump that does not panic"));
        });
        Self { address, resets, over, doorman: Some(doorman) }
    }

    /// Whether it has cut off the connection of the peer at this port.
    pub(crate) fn has_reset(&self, port: u16) -> bool {
        self.resets.ports().cut.contains(&port)
    }

    /// How many connections it has cut off.
    pub(crate) fn resets(&self) -> usize {
        self.resets.ports().all
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address)); // so that it looks
        let ended = self.doorman.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the proxy has panicked");
    }
}

/// A pump for each direction. One that cuts the connection off says so first.
fn carry(
    inside: TcpStream,
    outside: TcpStream,
    rng: &mut fastrand::Rng,
    note: impl Fn() + Clone + Send + 'static,
) -> [JoinHandle<()>; 2] {
    inside.set_nodelay(true).expect("a socket option");
    [(&inside, &outside), (&outside, &inside)].map(|(from, to)| {
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let (from, to, mut rng, note) = (clone(from), clone(to), rng.fork(), note.clone());
        thread::spawn(move || {
            let plague = Plague::of(&mut rng);
            // An error: one of the ends has gone, or this pump's other half has cut it off.
            if pump(&from, &to, plague, &mut rng, note).is_err() {
                drop(from.shutdown(Shutdown::Both));
                drop(to.shutdown(Shutdown::Both));
            }
        })
    })
}

fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    plague: Plague,
    rng: &mut fastrand::Rng,
    note: impl Fn(),
) -> io::Result<()> {
    let mut left = if let Plague::Reset(after) = plague { after } else { usize::MAX };
    let mut buf = [0; 4096];
    loop {
        let got = from.read(&mut buf)?;
        if got == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut bytes = &buf[..got];
        while !bytes.is_empty() {
            let (most, late) = plague.next(rng);
            let (piece, rest) = bytes.split_at(most.min(bytes.len()).min(left));
            if late > 0 {
                pass(ms(late));
            }
            to.write_all(piece)?;
            bytes = rest;
            left -= piece.len();
            if left == 0 {
                note();
                // The linger of zero is the socket's, of which these are clones.
                [from, to]
                    .into_iter()
                    .for_each(|end| reset(end.try_clone().expect("a descriptor")));
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }
}
