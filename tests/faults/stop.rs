//! SIGTERM at any moment under load: every reply that was taken for sending arrives, whole and in order, and the process is
//! gone by the deadline, whoever will not let go.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::chaos_scripts::{
    Playwright, bytes, chat, echoes, hello, messages, play, questions, text, upgrade, visit,
};
use crate::common::{connect, connect_with_buffer, ms, now};
use crate::ground::{Figures, alone, millis, pass, seed, size, until};
use crate::host::{self, Ending, endings};
use crate::kit::programs::{CHAT, Ended, Program};
use crate::slow::pings;

const GRACE: Duration = ms(300);
const PEERS: usize = 8;

/// Bytes of a question, and of its reply.
const LINE: usize = 32;

/// What one peer got.
struct Heard {
    port: u16,
    replies: u64,
    /// What was wrong with them.
    fault: Option<String>,
}

/// Asks up to 64 questions at a time and hears their replies, until the end of its stream.
fn talk(mut peer: TcpStream, mut rng: fastrand::Rng, heard_by_all: &AtomicU64) -> Heard {
    let port = peer.local_addr().expect("an address").port();
    let (mut asked, mut replies) = (0_u64, 0_u64);
    loop {
        let batch = rng.u64(1..=64);
        let questions: String = (asked..asked + batch).map(line).collect();
        asked += batch;
        // An error: the server has gone, and what it has sent before is still to be read.
        let wrote = peer.write_all(questions.as_bytes()).is_ok();
        while replies < asked {
            match hear(&mut peer, replies) {
                Ok(true) => replies += 1,
                Ok(false) => return Heard { port, replies, fault: None },
                Err(fault) => return Heard { port, replies, fault: Some(fault) },
            }
            heard_by_all.fetch_add(1, Ordering::Relaxed);
        }
        if !wrote {
            return Heard {
                port,
                replies,
                fault: Some("all was answered, and no end came".into()),
            };
        }
    }
}

fn line(number: u64) -> String {
    format!("question {number:>22}\n")
}

/// One reply; `false` is the end, between two of them.
fn hear(peer: &mut TcpStream, number: u64) -> Result<bool, String> {
    let mut reply = [0; LINE];
    let mut got = 0;
    while got < LINE {
        match peer.read(&mut reply[got..]) {
            Ok(0) if got == 0 => return Ok(false),
            Ok(0) => return Err(format!("reply {number} was cut off after {got} bytes")),
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("reply {number}, after {got} bytes: {error}")),
        }
    }
    if reply == line(number).as_bytes() {
        return Ok(true);
    }
    Err(format!("reply {number} is {:?}", String::from_utf8_lossy(&reply)))
}

/// A peer that never reads, and what is known of it.
#[derive(Clone, Default)]
struct Stuck {
    /// The server takes nothing more from it, since it takes nothing from the server.
    is_stuck: Arc<AtomicBool>,
    /// It may go.
    enough: Arc<AtomicBool>,
}

/// Says something once, then something else without end, and never reads, so that the server has to force it; until it is
/// told, or cut off.
fn stick(
    server: SocketAddr,
    (first, again): Sticker,
    Stuck { is_stuck, enough }: Stuck,
) -> thread::JoinHandle<()> {
    let mut peer = connect_with_buffer(server, 4096);
    peer.set_write_timeout(Some(ms(50))).expect("a socket option");
    thread::spawn(move || {
        peer.write_all(&first).expect("room in an empty socket");
        let mut sent = 0;
        while !enough.load(Ordering::Relaxed) {
            if again.is_empty() {
                pass(ms(20)); // it only stays
                continue;
            }
            // From where it stopped: half a packet is no packet.
            match peer.write(&again[sent..]) {
                Ok(some) => sent = (sent + some) % again.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_stuck.store(true, Ordering::Relaxed);
                }
                Err(_) => return,
            }
        }
    })
}

/// One stop, at a moment of chance.
struct Stop {
    heard: Vec<Heard>,
    took: Duration,
    ended: Ended,
}

fn stop_at_random(server: Program, rng: &mut fastrand::Rng, stuck: bool) -> Stop {
    let address = server.address();
    let heard_by_all = Arc::new(AtomicU64::new(0));
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let (peer, rng, all) = (connect(address), rng.fork(), Arc::clone(&heard_by_all));
            thread::spawn(move || talk(peer, rng, &all))
        })
        .collect();
    let peer = Stuck::default();
    let again = line(0).repeat(512).into_bytes();
    let sticking = stuck.then(|| stick(address, (Vec::new(), again), peer.clone()));
    until("the load begins", || heard_by_all.load(Ordering::Relaxed) > 0);
    until("it is stuck", || !stuck || peer.is_stuck.load(Ordering::Relaxed));
    pass(Duration::from_micros(rng.u64(..150_000)));
    let told = now();
    server.terminate();
    let ended = server.end();
    let took = told.elapsed();
    peer.enough.store(true, Ordering::Relaxed);
    sticking.into_iter().for_each(|thread| thread.join().expect("a peer that does not panic"));
    let heard = peers.into_iter().map(|peer| peer.join().expect("a peer that does not panic"));
    Stop { heard: heard.collect(), took, ended }
}

/// What was taken for sending and what arrived, peer by peer; returns the sum.
fn compare(heard: &[Heard], endings: &[Ending]) -> u64 {
    let endings: HashMap<u16, &Ending> = endings.iter().map(|end| (end.port, end)).collect();
    for heard in heard {
        assert_eq!(heard.fault, None, "{}", heard.port);
        let Some(end) = endings.get(&heard.port) else { panic!("{} has no end", heard.port) };
        assert_eq!(heard.replies, end.replies, "taken for sending, and arrived: {end:?}");
    }
    heard.iter().map(|heard| heard.replies).sum()
}

#[test]
fn sigterm_under_load_cuts_no_reply_short() {
    let _alone = alone();
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut figures = Figures::of("sigterm");
    let (mut replies, mut forced) = (0, 0);
    let mut latest = Duration::ZERO;
    let mut soonest = Duration::MAX;
    let stops = size(6, 200);
    for _ in 0..stops {
        let stuck = rng.bool();
        let server = host::start(&format!("grace={}", GRACE.as_millis()));
        let Stop { heard, took, ended } = stop_at_random(server, &mut rng, stuck);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
        let endings = endings(&ended.stdout);
        replies += compare(&heard, &endings);
        forced += endings.iter().filter(|end| end.reason == "Forced").count();
        latest = latest.max(took);
        soonest = soonest.min(took);
        let over = millis(took.saturating_sub(GRACE));
        assert!(took < GRACE * 10, "{over} ms over the deadline");
    }
    figures.tell("stops, replies compared, peers forced", format!("{stops}, {replies}, {forced}"));
    figures.tell("replies cut short or lost", 0);
    figures.tell("the soonest exit, of the whole process", format!("{soonest:.1?}"));
    let over = millis(latest.saturating_sub(GRACE));
    figures.at_most("the latest exit, after the deadline", over, 50.0, "ms");
    figures.finish();
}

#[test]
fn sigterm_under_load_lets_the_echo_example_finish_its_lines() {
    let _alone = alone();
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut figures = Figures::of("sigterm, echo");
    let mut latest = Duration::ZERO;
    let stops = size(4, 50);
    for _ in 0..stops {
        let args = ["--addr", "127.0.0.1:0", "--codec", "lines", "--grace", "0.3"];
        let Stop { heard, took, ended } =
            stop_at_random(Program::start("echo", &args), &mut rng, true);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let faults: Vec<_> = heard.iter().filter_map(|heard| heard.fault.as_ref()).collect();
        assert!(faults.is_empty(), "{faults:?}");
        latest = latest.max(took);
    }
    figures.tell("stops", stops);
    let over = millis(latest.saturating_sub(GRACE));
    figures.at_most("the latest exit, after the deadline", over, 50.0, "ms");
    figures.finish();
}

/// A peer that will not let go: what it says first, and then without end, and never reads.
type Sticker = (Vec<u8>, Vec<u8>);

/// An example, its arguments, its grace, a script for its peers, and the words of one that will not let go.
struct Stage(&'static str, Vec<String>, Duration, Playwright, Sticker);

fn stages(behind: SocketAddr) -> [Stage; 8] {
    let five = Duration::from_secs(5);
    let args = |more: &[&str]| {
        ["--addr", "127.0.0.1:0"].iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    };
    let to = behind.to_string();
    let plain = || (Vec::new(), line(0).repeat(512).into_bytes());
    let who = (b"stuck\n".to_vec(), b"/who\n".repeat(1000));
    let asks = (Vec::new(), pings(0, 0).0.repeat(512));
    let hello = [upgrade("/ws"), hello("stuck")].concat();
    let of_chat = ["--db", ":memory:", "--address-rate", "100000"];
    [
        Stage("echo", args(&["--codec", "lines"]), five, text, plain()),
        Stage("custom_protocol", args(&[]), five, questions, asks),
        Stage("tcp_chat", args(&["--rate", "100000"]), five, chat, who),
        Stage("threads", args(&[]), five, bytes, plain()),
        Stage("game_tick", args(&[]), Duration::from_secs(2), play, (vec![1, 255], vec![1, 255])),
        Stage("proxy", args(&["--to", &to]), five, bytes, plain()),
        Stage("ws_echo", args(&[]), five, messages, (upgrade("/"), echoes().repeat(512))),
        Stage(CHAT, args(&of_chat), five, visit, (hello, Vec::new())),
    ]
}

/// Plays one script after another until the server is gone; whoever is cut off has heard a true beginning.
fn play_on(
    server: SocketAddr,
    write: Playwright,
    (at, mut rng): (usize, fastrand::Rng),
    played_by_all: &AtomicU64,
) {
    while let Ok(peer) = TcpStream::connect(server) {
        let whole = write(at, &mut rng).perform(peer).is_ok();
        played_by_all.fetch_add(u64::from(whole), Ordering::Relaxed);
    }
}

/// The scripts that were played to their end, and how long the stop took beyond the grace, if that long.
fn stop_example(stage: Stage, rng: &mut fastrand::Rng) -> (u64, Option<Duration>) {
    let Stage(name, args, grace, write, words) = stage;
    let server = Program::start(name, &args);
    let address = server.address();
    let stuck = Stuck::default();
    let sticking = stick(address, words, stuck.clone());
    let played = Arc::new(AtomicU64::new(0));
    let players: Vec<_> = (0..4)
        .map(|at| {
            let (player, all) = ((at, rng.fork()), Arc::clone(&played));
            thread::spawn(move || play_on(address, write, player, &all))
        })
        .collect();
    until("the load begins", || played.load(Ordering::Relaxed) > 0);
    pass(Duration::from_micros(rng.u64(..300_000)));
    let told = now();
    server.terminate();
    let ended = server.end();
    let took = told.elapsed();
    assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{name}: {ended:?}");
    assert!(took < grace + GRACE * 10, "{name} took {took:?} to stop");
    stuck.enough.store(true, Ordering::Relaxed);
    sticking.join().expect("a peer that does not panic");
    players.into_iter().for_each(|player| player.join().expect("what was heard fits"));
    (played.load(Ordering::Relaxed), took.checked_sub(grace))
}

/// All at once, since each takes its whole grace.
#[test]
fn sigterm_under_load_ends_every_example_in_time() {
    let _alone = alone();
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut figures = Figures::of("sigterm, every example");
    let behind = Program::start("echo", &["--addr", "127.0.0.1:0"]);
    let behind_at = behind.address();
    let rounds = size(1, 10);
    let mut latest = Duration::ZERO;
    let (mut played, mut forced, mut stopped) = (0, 0, 0);
    for _ in 0..rounds {
        let stops = stages(behind_at).map(|stage| {
            let mut rng = rng.fork();
            thread::spawn(move || stop_example(stage, &mut rng))
        });
        for stop in stops {
            let (whole, late) = stop.join().expect("a stop in time");
            (played, stopped) = (played + whole, stopped + 1);
            forced += usize::from(late.is_some());
            latest = latest.max(late.unwrap_or_default());
        }
    }
    figures.tell("stops", format_args!("{stopped}, {forced} of them took all of their grace"));
    figures.tell("conversations before them", played);
    figures.at_most("the latest exit, after the deadline", millis(latest), 50.0, "ms");
    figures.finish();
}
