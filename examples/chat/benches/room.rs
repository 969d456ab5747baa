//! One room full of people: does everyone hear every message, how soon, and what does that cost the server?
//!
//! ```sh
//! cargo bench -p wheelhouse-chat --bench room                                  # 5,000 clients, 20 messages a second, 60 s
//! cargo bench -p wheelhouse-chat --bench room -- --clients 100 --seconds 2
//! ```
//!
//! The server is `wheelhouse-chat` in a process of its own, with its history in a file, limits and deadlines as by default
//! but for those on one address and one client. The clients are this library's own, on one loop in this process. Where
//! there are two cores, each of the two keeps to one. A message carries its number and when it was sent; each client
//! checks that the numbers come one after another. The delay is from the moment that the sender queued the message, not from
//! when it went out, so a stall on either side counts.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use wheelhouse::codec::websocket::{Incoming, Message, Offer, WebSocket};
use wheelhouse::{
    Config, Connection, ConnectionId, HandlerError, Handlers, Reactor, Server, ServerRef,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Clients that are on their way into the room at a time.
const ENTERING: usize = 64;

/// How long the last messages may take, and each step before the first.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is in front of a message's text, in the server's own notation.
const TEXT: &str = "\"text\":\"";

#[derive(Parser)]
struct Args {
    /// People in the room
    #[arg(long, default_value_t = 5_000)]
    clients: usize,

    /// Messages a second, from all of them in turn
    #[arg(long, default_value_t = 20)]
    rate: u32,

    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u32,

    /// cargo passes it
    #[arg(long, hide = true)]
    bench: bool,
}

/// All clients together; the state of their loop.
struct Crowd {
    server: SocketAddr,
    clients: Vec<Client>,
    wanted: usize,
    inside: usize,
    /// Messages that have been sent, and that are to be.
    sent: u32,
    to_send: u32,
    heard: u64,
    micros: Histogram<u64>,
    begun: Instant,
    wrong: Option<String>,
}

struct Client {
    id: ConnectionId,
    next: u32,
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let (server, address) = Chat::start(&folder.path().join("room.db"), args.clients)?;
    pin(None, true);
    let mut reactor = crowd(address, &args)?;

    let empty = server.resident_kib()?;
    let entering = now();
    run_until(&mut reactor, PATIENCE, |crowd| crowd.inside == crowd.wanted)?;
    println!("{} clients entered in {:.1} s", args.clients, entering.elapsed().as_secs_f64());
    let full = server.resident_kib()?;

    let busy = server.cpu()?;
    talk(&mut reactor, args.rate);
    let span = Duration::from_secs(args.seconds.into());
    let everything = u64::from(reactor.state().to_send) * args.clients as u64;
    let mut most = full;
    let whole = run_until(&mut reactor, span + PATIENCE, |crowd| {
        if crowd.sent % 20 == 0 {
            most = most.max(server.resident_kib().unwrap_or_default());
        }
        crowd.heard == everything
    });
    let cpu = server.cpu()?.saturating_sub(busy);
    whole?;

    let crowd = reactor.state();
    let per_client = (full - empty) as f64 * 1024.0 / args.clients as f64;
    println!("{} messages, {} deliveries, none missing, none twice", crowd.sent, crowd.heard);
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| ms(crowd.micros.value_at_quantile(q)));
    let max = ms(crowd.micros.max());
    println!(
        "delivered after p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, max {max:.1} ms"
    );
    println!(
        "server resident: {empty} KiB empty, {full} KiB full ({per_client:.0} B a client), {most} KiB at most"
    );
    let each = cpu.as_secs_f64() * 1e6 / crowd.heard as f64;
    println!("server CPU: {:.1} s, {each:.2} µs a delivery", cpu.as_secs_f64());
    Ok(())
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// Turns until it is so.
fn run_until(
    reactor: &mut Reactor<WebSocket, Crowd>,
    limit: Duration,
    mut done: impl FnMut(&Crowd) -> bool,
) -> Outcome<()> {
    let begun = now();
    while !done(reactor.state()) {
        if let Some(wrong) = &reactor.state().wrong {
            return Err(wrong.clone().into());
        }
        if begun.elapsed() > limit {
            let Crowd { inside, sent, heard, .. } = reactor.state();
            return Err(
                format!("after {limit:?}: {inside} inside, {sent} sent, {heard} heard").into()
            );
        }
        let _ = reactor.turn(Some(Duration::from_millis(10)))?;
    }
    Ok(())
}

// The clients.

fn crowd(server: SocketAddr, args: &Args) -> Outcome<Reactor<WebSocket, Crowd>> {
    let crowd = Crowd {
        server,
        clients: Vec::new(),
        wanted: args.clients,
        inside: 0,
        sent: 0,
        to_send: args.rate * args.seconds,
        heard: 0,
        micros: Histogram::new_with_bounds(1, 600_000_000, 3)?,
        begun: now(),
        wrong: None,
    };
    // Its own listener is there because every server has one; nobody connects to it.
    let mut reactor = Server::bind("127.0.0.1:0", WebSocket::new())?
        .config(Config::default().max_connections(args.clients + 1))
        .state(crowd)
        .into_reactor(|_, conn| conn.handlers())?;
    let (crowd, mut loop_) = reactor.parts();
    for _ in 0..ENTERING.min(args.clients) {
        enter(crowd, &mut loop_)?;
    }
    Ok(reactor)
}

/// One more client connects.
fn enter(crowd: &mut Crowd, server: &mut ServerRef<'_, WebSocket, Crowd>) -> Outcome<()> {
    let at = crowd.clients.len();
    let handlers = Handlers::new()
        .on_connect(|crowd: &mut Crowd, conn| {
            let offer =
                Offer::random(&crowd.server.to_string(), "/ws").map_err(|error| error.to_string());
            let written =
                offer.and_then(|offer| conn.write(offer.into()).map_err(|error| error.to_string()));
            if let Err(error) = written {
                crowd.wrong.get_or_insert(error);
            }
        })
        .on_read(move |crowd, conn, incoming| hear(crowd, conn, at, &incoming))
        .on_closed(move |crowd, _, reason| {
            crowd.wrong.get_or_insert(format!("client {at} was closed: {reason}"));
        });
    let id = server.connect(crowd.server, PATIENCE, handlers)?;
    crowd.clients.push(Client { id, next: 0 });
    Ok(())
}

fn hear(
    crowd: &mut Crowd,
    conn: &mut Connection<'_, WebSocket, Crowd>,
    at: usize,
    incoming: &Incoming,
) -> Result<(), HandlerError> {
    match incoming {
        Incoming::Accepted(_) => {
            let hello = format!(
                r#"{{"type":"hello","user":"client-{at}","session":"session-{at}","rooms":{{"lobby":0}}}}"#
            );
            conn.write(Message::text(hello).into())?;
        }
        Incoming::Message(message) => {
            let frame = message.as_text().unwrap_or_default();
            if frame.starts_with(r#"{"type":"message""#) {
                crowd.count(at, frame)?;
            } else if frame.starts_with(r#"{"type":"joined""#) {
                crowd.inside += 1;
                if crowd.clients.len() < crowd.wanted {
                    enter(crowd, &mut conn.server()).map_err(HandlerError::msg)?;
                }
            } else if frame.starts_with(r#"{"type":"error""#) {
                crowd.wrong.get_or_insert(format!("client {at} was told {frame}"));
            }
        }
        other => return Err(HandlerError::msg(format!("client {at} was told {other:?}"))),
    }
    Ok(())
}

impl Crowd {
    /// A message has come to client `at`: it must be its next one.
    fn count(&mut self, at: usize, frame: &str) -> Result<(), HandlerError> {
        let begin = frame.find(TEXT).ok_or_else(|| HandlerError::msg("a message without text"))?;
        let mut words = frame[begin + TEXT.len()..].split(['"', ' ']);
        let mut number = || words.next().unwrap_or_default().parse::<u64>();
        let (sequence, sent) = (number()?, number()?);
        let client = &mut self.clients[at];
        if u64::from(client.next) != sequence {
            let wrong = format!("client {at} was told {sequence}, and {} is next", client.next);
            self.wrong.get_or_insert(wrong);
        }
        client.next += 1;
        self.heard += 1;
        let late = u64::try_from(self.begun.elapsed().as_micros())?.saturating_sub(sent);
        self.micros.saturating_record(late);
        Ok(())
    }
}

/// They begin to talk, one after another.
fn talk(reactor: &mut Reactor<WebSocket, Crowd>, rate: u32) {
    reactor.server().every(Duration::from_secs(1) / rate, |crowd: &mut Crowd, server| {
        if crowd.sent == crowd.to_send {
            return;
        }
        let speaker = crowd.clients[crowd.sent as usize % crowd.clients.len()].id;
        let Some(mut conn) = server.connection(speaker) else { return };
        let sent = crowd.begun.elapsed().as_micros();
        let message =
            format!(r#"{{"type":"message","room":"lobby","text":"{} {sent}"}}"#, crowd.sent);
        match conn.write(Message::text(message).into()) {
            Ok(()) => crowd.sent += 1,
            Err(error) => {
                crowd.wrong.get_or_insert(error.to_string());
            }
        }
    });
}

// The server.

struct Chat(Child);

impl Chat {
    fn start(db: &std::path::Path, clients: usize) -> Outcome<(Self, SocketAddr)> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wheelhouse-chat"))
            .args(["--addr", "127.0.0.1:0", "--rate", "1000", "--burst", "1000"])
            .args(["--address-rate", "10000", "--address-clients", &clients.to_string()])
            .arg("--db")
            .arg(db)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        pin(Some(&child), false);
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no output")?;
        let server = Self(child);
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().rsplit("//").next().unwrap_or_default();
        Ok((server, address.parse().map_err(|_| format!("the server said {line:?}"))?))
    }

    fn resident_kib(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
    }

    /// Processor time of all its threads, by the kernel's account.
    fn cpu(&self) -> Outcome<Duration> {
        let mut nanos = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Keeps a process, or this one, to the machine's first or last core, where there are two.
fn pin(process: Option<&Child>, last: bool) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let pid = process.and_then(|child| rustix::process::Pid::from_raw(child.id().cast_signed()));
    let Ok(allowed) = sched_getaffinity(pid) else { return };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let core = if last { cores.next_back() } else { cores.next() };
    if let Some(core) = core.filter(|_| allowed.count() > 1) {
        let mut only = CpuSet::new();
        only.set(core);
        if let Err(error) = sched_setaffinity(pid, &only) {
            eprintln!("not pinned: {error}");
        }
    }
}

/// What the loop calls now is the beginning of its turn, and delays are measured to the moment.
#[expect(clippy::disallowed_methods, reason = "delays are measured here")]
fn now() -> Instant {
    Instant::now()
}
