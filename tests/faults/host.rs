//! A server for what no example does: handlers that panic, limits of each kind, an account of every reply. It is this test
//! binary once more, in a process of its own.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wheelhouse::codec::http::{Http, Response, StatusCode};
use wheelhouse::codec::{LinesCodec, Protocol};
use wheelhouse::{CloseReason, Config, ConnectionId, Reactor, Server, Turn};

use crate::common::child;
use crate::kit::programs::Program;

const SETTINGS: &str = "WHEELHOUSE_TEST_HOST";

/// What the host is told, as `name=value` words: `grace`, `packet` and `idle` in milliseconds, `per_address` in connections,
/// `panics=10` for a handler that panics on each tenth connection, `http=1` for requests rather than lines. The line
/// `what time is it?` is answered with the time of day, in seconds since 1970.
pub(crate) fn start(settings: &str) -> Program {
    spawn(&mut command(settings))
}

/// The line that asks what the host takes for the time of day.
pub(crate) const ASKS_TIME: &str = "what time is it?";

/// The time of day, as this process sees it.
#[expect(
    clippy::disallowed_methods,
    reason = "what the time of day does to a server is being tested"
)]
pub(crate) fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_secs()).expect("a time in this age")
}

/// The host's command, to be run under another program.
pub(crate) fn command(settings: &str) -> std::process::Command {
    let mut command = child("host::serve");
    command.arg("--ignored").env(SETTINGS, settings);
    command
}

pub(crate) fn spawn(command: &mut std::process::Command) -> Program {
    Program::spawn("host", command).expect("a process")
}

/// What became of one connection, as the host told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The peer's.
    pub(crate) port: u16,
    /// Replies that `write` took.
    pub(crate) replies: u64,
    /// By the name of its variant.
    pub(crate) reason: String,
}

/// The endings in what the host printed.
pub(crate) fn endings(said: &str) -> Vec<Ending> {
    let words = said.lines().filter_map(|line| line.split_once("closed ")).map(|line| line.1);
    words.map(|rest| ending(rest).expect("port, replies, reason")).collect()
}

fn ending(text: &str) -> Option<Ending> {
    let mut words = text.split(' ');
    let port = words.next()?.parse().ok()?;
    let replies = words.next()?.parse().ok()?;
    Some(Ending { port, replies, reason: words.next()?.to_owned() })
}

#[derive(Default)]
struct Account {
    accepted: u64,
    replies: HashMap<ConnectionId, u64>,
}

fn config(settings: &HashMap<&str, u64>) -> Config {
    let span = |name| settings.get(name).copied().map(Duration::from_millis);
    let per_address = settings.get("per_address").and_then(|limit| usize::try_from(*limit).ok());
    let config = Config::default()
        .idle_timeout(span("idle"))
        .max_connections_per_address(per_address)
        .stop_on_signals(span("grace").unwrap_or(Duration::from_secs(5)));
    match span("packet") {
        Some(limit) => config.packet_timeout(limit),
        None => config,
    }
}

#[test]
#[ignore = "it is the server that other tests attack"]
fn serve() {
    let told = std::env::var(SETTINGS).expect("settings");
    let pairs = told.split_whitespace().filter_map(|word| word.split_once('='));
    let settings: HashMap<&str, u64> =
        pairs.map(|(name, value)| (name, value.parse().expect("a number"))).collect();
    if settings.contains_key("http") {
        serve_requests(config(&settings));
    } else {
        serve_lines(config(&settings), settings.get("panics").copied());
    }
}

/// An echo of lines.
fn serve_lines(config: Config, panics: Option<u64>) {
    let server = Server::bind("127.0.0.1:0", LinesCodec::new(64 * 1024)).expect("a port");
    eprintln!("listening on {}", server.local_addr());
    let server = server.config(config).state(Account::default());
    let reactor = server
        .into_reactor(move |account: &mut Account, conn| {
            account.accepted += 1;
            let panics = panics.is_some_and(|each| account.accepted.is_multiple_of(each));
            conn.handlers()
                .on_read(move |account, conn, line| {
                    assert!(!panics, "a handler that panics, as told");
                    let asks = line == ASKS_TIME;
                    conn.write(if asks { seconds_since_1970().to_string() } else { line })?;
                    *account.replies.entry(conn.id()).or_default() += 1;
                    Ok(())
                })
                .on_error(|_, _, _| {})
                .on_closed(|account, conn, reason: CloseReason| {
                    let replies = account.replies.remove(&conn.id()).unwrap_or_default();
                    println!("closed {} {replies} {reason:?}", conn.peer_addr().port());
                })
        })
        .expect("settings that agree");
    turn_to_the_end(reactor);
}

/// A health check.
fn serve_requests(config: Config) {
    let server = Server::bind("127.0.0.1:0", Http::new()).expect("a port").config(config);
    eprintln!("listening on {}", server.local_addr());
    let reactor = server
        .into_reactor(|(), conn| {
            conn.handlers()
                .on_read(|(), conn, _| Ok(conn.write(Response::text(StatusCode::OK, "ok\n"))?))
                .on_error(|(), _, _| {})
        })
        .expect("settings that agree");
    turn_to_the_end(reactor);
}

fn turn_to_the_end<P: Protocol, S: 'static>(mut reactor: Reactor<P, S>) {
    while reactor.turn(None).expect("a working poll") != Turn::Stopped {}
    let stats = reactor.server().stats();
    assert_eq!(stats.accepted, stats.closed, "each has its end: {stats:?}");
    assert_eq!((stats.open, stats.queued_bytes), (0, 0), "nothing is left: {stats:?}");
    println!("{}", reactor.report().expect("it has stopped"));
}
