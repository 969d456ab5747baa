//! Players for a world that plays with itself: a second loop, in a thread of its own, with an outbound connection for each.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use wheelhouse::{ConnectError, Handlers, Server, ServerRef};

use crate::protocol::{Move, Play};

pub(crate) struct Bots {
    thread: Option<thread::JoinHandle<io::Result<Seen>>>,
}

/// What the bots saw; the state of their loop.
#[derive(Default)]
struct Seen {
    snapshots: u64,
    left: u32,
}

impl Bots {
    /// Starts a loop for them, if there are to be any, and lets it connect them one after another.
    ///
    /// A game's players are not on its server's machine. So that these do not keep the world from its core either, they get
    /// the machine's last one, and the thread that calls this the first.
    pub(crate) fn start(bots: u32, rate: u32, to: SocketAddr) -> io::Result<Self> {
        if bots == 0 {
            return Ok(Self { thread: None });
        }
        let cores = Cores::of_this_thread();
        cores.keep_to_first();
        let thread = thread::Builder::new().name("bots".into()).spawn(move || {
            cores.keep_to_last();
            play(to, bots, Duration::from_secs(1) / rate)
        })?;
        Ok(Self { thread: Some(thread) })
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        let Some(thread) = self.thread else { return Ok(()) };
        let seen = thread.join().map_err(|_| io::Error::other("the bots' thread panicked"))??;
        println!("the bots saw {} snapshots", seen.snapshots);
        Ok(())
    }
}

/// A loop of players: it ends when the last of them has lost its connection.
fn play(to: SocketAddr, bots: u32, period: Duration) -> io::Result<Seen> {
    // Its own listener is there because every server has one; nobody connects to it.
    let mut reactor = Server::bind("127.0.0.1:0", Play)?
        .state(Seen { snapshots: 0, left: bots })
        .into_reactor(|_, conn| conn.handlers())?;
    for bot in 0..bots {
        // All spread over one period, so that their moves do not come in one burst.
        let delay = period * bot / bots;
        reactor.server().after(delay, move |seen: &mut Seen, server| {
            if let Err(error) = join(server, to, period) {
                log::error!("bot {bot}: {error}");
                seen.left -= 1;
            }
        });
    }
    while reactor.state().left > 0 {
        let _ = reactor.turn(None)?;
    }
    Ok(std::mem::take(reactor.state_mut()))
}

/// One bot: it moves in a circle, once in a period.
fn join(
    server: &mut ServerRef<'_, Play, Seen>,
    to: SocketAddr,
    period: Duration,
) -> Result<(), ConnectError> {
    let handlers = Handlers::new()
        .on_connect(move |_, conn| {
            let mut step = 0_usize;
            conn.every(period, move |_, conn| {
                let (dx, dy) = [(1, 0), (0, 1), (-1, 0), (0, -1)][step % 4];
                step += 1;
                if let Err(error) = conn.write(Move { dx, dy }) {
                    log::debug!("{}: a move was not sent: {error}", conn.id());
                }
            });
        })
        .on_read(|seen: &mut Seen, _, _tick| {
            seen.snapshots += 1;
            Ok(())
        })
        .on_closed(|seen, _, _| seen.left -= 1);
    server.connect(to, Duration::from_secs(5), handlers).map(drop)
}

/// The cores that this program may use.
#[cfg(target_os = "linux")]
struct Cores(Vec<usize>);

#[cfg(target_os = "linux")]
impl Cores {
    fn of_this_thread() -> Self {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_default();
        Self((0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
    }

    fn keep_to_first(&self) {
        self.keep_to(self.0.first());
    }

    fn keep_to_last(&self) {
        self.keep_to(self.0.last());
    }

    /// Keeps the thread that calls this to one core. With one core in all there is nothing to choose, and a thread that
    /// may not choose does as well as it can.
    fn keep_to(&self, core: Option<&usize>) {
        let Some(core) = core.filter(|_| self.0.len() > 1) else { return };
        let mut only = rustix::thread::CpuSet::new();
        only.set(*core);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &only) {
            log::debug!("not kept to core {core}: {error}");
        }
    }
}

/// Elsewhere, the system places the threads.
#[cfg(not(target_os = "linux"))]
struct Cores;

#[cfg(not(target_os = "linux"))]
impl Cores {
    fn of_this_thread() -> Self {
        Self
    }

    fn keep_to_first(&self) {}

    fn keep_to_last(&self) {}
}
