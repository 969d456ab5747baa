//! A world at 60 Hz: it takes moves from its players as they come and sends everyone one snapshot a tick.
//!
//! ```sh
//! cargo run --release --example game_tick                                      # listens on 127.0.0.1:7777
//! cargo run --release --example game_tick -- --bots 500 --rate 20 --seconds 20 # plays with itself, and reports
//! ```
//!
//! The world is a plain struct that handlers and the tick get as `&mut`; the tick is a timer of the server. How late each
//! tick comes is measured against its own grid and printed every five seconds and at the end. A player who is too slow for
//! the snapshots misses some, and holds up nobody. Bots live on a second loop, in a thread of their own, each on an outbound
//! connection; where the machine has two cores, each of the two loops keeps to one, as if the players were elsewhere.
//!
//! The wire format is in `protocol.rs`, the bots are in `bots.rs`.

#[path = "../shared/address.rs"]
mod address;
mod bots;
mod protocol;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use clap::Parser;
use hdrhistogram::Histogram;
use wheelhouse::{Config, ConnectionId, HandlerError, Server, SlowConsumers};

use self::address::address;
use self::bots::Bots;
use self::protocol::{Game, Move, Snapshot};

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// How long players may take to end their side, once the world has ended.
const GRACE: Duration = Duration::from_secs(2);
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// A 60 Hz world of players.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:7777` is port 7777 on every interface
    #[arg(long, default_value = "127.0.0.1:7777", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// Bots that play along
    #[arg(long, default_value = "0", value_name = "N", value_parser = clap::value_parser!(u32).range(..=9_000))]
    bots: u32,

    /// Moves a second of each bot
    #[arg(long, default_value = "20", value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,

    /// Stop after so long [default: never]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse(); // a bad argument ends here, with exit code 2
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("game_tick: {error}");
            ExitCode::FAILURE
        }
    }
}

// The world.

#[derive(Default)]
struct World {
    players: HashMap<ConnectionId, Player>,
    joined: u32,
    tick: u32,
    moves: u64,
    missed: u64,
    lateness: Lateness,
}

struct Player {
    number: u32,
    at: (i16, i16),
}

impl World {
    fn join(&mut self, id: ConnectionId) {
        self.joined += 1;
        self.players.insert(id, Player { number: self.joined, at: (0, 0) });
    }

    fn leave(&mut self, id: ConnectionId) {
        self.players.remove(&id);
    }

    fn apply(&mut self, id: ConnectionId, Move { dx, dy }: Move) -> Result<(), HandlerError> {
        let player =
            self.players.get_mut(&id).ok_or_else(|| HandlerError::msg("no such player"))?;
        let (x, y) = player.at;
        player.at = (x.wrapping_add(dx.into()), y.wrapping_add(dy.into())); // the world is a torus
        self.moves += 1;
        Ok(())
    }

    /// One step of the world, and what everyone is to see of it.
    fn step(&mut self) -> Snapshot {
        self.tick = self.tick.wrapping_add(1);
        let mut seen = BytesMut::with_capacity(4 + 8 * self.players.len());
        seen.put_u32(self.tick);
        for Player { number, at: (x, y) } in self.players.values() {
            seen.put_u32(*number);
            seen.put_i16(*x);
            seen.put_i16(*y);
        }
        Snapshot(seen.freeze())
    }

    fn report(&self) {
        let Self { players, tick, moves, missed, lateness, .. } = self;
        let players = players.len();
        println!(
            "tick {tick}, {players} players, {moves} moves, {missed} snapshots missed: {lateness}"
        );
    }
}

/// How late the ticks came, in microseconds.
struct Lateness {
    next_due: Option<Instant>,
    micros: Histogram<u64>,
}

impl Default for Lateness {
    fn default() -> Self {
        let micros = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds in order");
        Self { next_due: None, micros }
    }
}

impl Lateness {
    /// The tick happens now. Its timer keeps to a grid, and leaves out what it missed.
    fn note(&mut self, now: Instant) {
        let Some(mut due) = self.next_due else { return };
        let late = now.saturating_duration_since(due).as_micros();
        self.micros.saturating_record(u64::try_from(late).unwrap_or(u64::MAX));
        while due <= now {
            due += TICK;
        }
        self.next_due = Some(due);
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let [p50, p99] = [0.50, 0.99].map(|q| ms(self.micros.value_at_quantile(q)));
        write!(f, "late by p50 {p50:.2} ms, p99 {p99:.2} ms, max {:.2} ms", ms(self.micros.max()))
    }
}

fn serve(args: &Args) -> io::Result<()> {
    let server = Server::bind(&args.addr, Game)?
        .config(Config::default().stop_on_signals(GRACE))
        .state(World::default());
    let listening = server.local_addr();
    log::info!("listening on {listening}");
    let mut reactor = server.into_reactor(|world, conn| {
        world.join(conn.id());
        conn.handlers()
            .on_read(|world, conn, step| world.apply(conn.id(), step))
            .on_closed(|world, conn, _why| world.leave(conn.id()))
    })?;

    let (world, mut server) = reactor.parts();
    world.lateness.next_due = Some(server.now() + TICK);
    server.every(TICK, |world: &mut World, server| {
        world.lateness.note(now());
        let report = server.broadcast(world.step(), SlowConsumers::Skip);
        world.missed += report.skipped as u64;
    });
    server.every(REPORT_EVERY, |world: &mut World, _| world.report());
    if let Some(seconds) = args.seconds {
        server.after(Duration::from_secs(seconds), |world: &mut World, server| {
            println!("at the end:");
            world.report();
            server.stop(GRACE);
        });
    }
    let bots = Bots::start(args.bots, args.rate, listening)?;
    let report = reactor.run()?;
    println!("{report}");
    bots.finish()
}

/// The moment that a tick really begins, later than the turn that it belongs to.
#[expect(clippy::disallowed_methods, reason = "the loop's own lateness is measured here")]
fn now() -> Instant {
    Instant::now()
}
