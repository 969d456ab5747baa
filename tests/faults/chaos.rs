//! Each example behind the chaos proxy: who is cut off has got a beginning of what was due, everybody else has got all of
//! it, and the server is as before.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use crate::chaos_proxy::ChaosProxy;
use crate::common::{PATIENCE, connect, ms};
use crate::ground::{Figures, Process, alone, pass, seed, size, until};
use crate::kit::programs::Program;
use crate::slow::pings;

/// Whether this may be the beginning of what is due, or, where so told, all of it.
type Fits = Box<dyn Fn(&[u8], bool) -> bool + Send>;

/// What a peer says, and what it makes of all that it hears.
struct Script {
    says: Vec<u8>,
    fits: Fits,
    /// How long it stays after its last word, where the server speaks by itself.
    stays: u64,
}

type Playwright = fn(usize, &mut fastrand::Rng) -> Script;

/// What is said comes back.
fn comes_back(says: Vec<u8>) -> Script {
    let due = says.clone();
    let fits = move |heard: &[u8], whole: bool| {
        if whole { heard == due } else { due.starts_with(heard) }
    };
    Script { says, fits: Box::new(fits), stays: 0 }
}

fn bytes(_: usize, rng: &mut fastrand::Rng) -> Script {
    let length = rng.usize(..16_000);
    comes_back((0..length).map(|_| rng.u8(..)).collect())
}

fn text(_: usize, rng: &mut fastrand::Rng) -> Script {
    let lines = rng.usize(1..200);
    let line = |at| format!("{at} {}\n", "x".repeat(at * 7 % 60));
    comes_back((0..lines).map(line).collect::<String>().into_bytes())
}

fn frames(_: usize, rng: &mut fastrand::Rng) -> Script {
    let frame =
        |at: u32| [(at * 13 % 300).to_be_bytes().to_vec(), vec![7; (at * 13 % 300) as usize]];
    comes_back((0..rng.u32(1..60)).flat_map(frame).flatten().collect())
}

fn questions(peer: usize, rng: &mut fastrand::Rng) -> Script {
    let (ask, due): (Vec<_>, Vec<_>) = (0..rng.u64(1..100)).map(|at| pings(peer, at)).unzip();
    let due = due.concat();
    let fits = move |heard: &[u8], whole: bool| {
        if whole { heard == due } else { due.starts_with(heard) }
    };
    Script { says: ask.concat(), fits: Box::new(fits), stays: 0 }
}

/// Joins a chat, talks and leaves; hears the others in between.
fn chat(peer: usize, _: &mut fastrand::Rng) -> Script {
    let talk = "what weather today\n".repeat(20);
    let says = format!("peer-{peer}\n{talk}/me leaves\n/quit\n").into_bytes();
    let fits = |heard: &[u8], whole: bool| {
        let heard = String::from_utf8_lossy(heard);
        let greeting = "Welcome! What is your name?\nOnline: ";
        let begins = if heard.len() < greeting.len() {
            greeting.starts_with(&*heard)
        } else {
            heard.starts_with(greeting)
        };
        begins && (!whole || heard.ends_with("Goodbye!\n"))
    };
    Script { says, fits: Box::new(fits), stays: 0 }
}

/// Plays for a moment; the snapshots come one after another, each tick once.
fn play(_: usize, rng: &mut fastrand::Rng) -> Script {
    let says = (0..rng.usize(1..200)).flat_map(|_| [1, 255]).collect();
    let fits = |mut heard: &[u8], whole: bool| {
        let (mut last, mut shots) = (None, 0);
        while let Some((length, rest)) = heard.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((shot, rest)) = rest.split_at_checked(length) else { break };
            let tick = shot.first_chunk::<4>().map(|tick| u32::from_be_bytes(*tick));
            if tick <= last {
                return false;
            }
            (last, heard, shots) = (tick, rest, shots + 1);
        }
        !whole || shots > 0
    };
    Script { says, fits: Box::new(fits), stays: 100 }
}

/// Plays a script to its end, whatever that is; whether it was cut off.
fn perform(server: SocketAddr, script: &Script) -> bool {
    let mut peer = connect(server);
    let mut saying = peer.try_clone().expect("a descriptor");
    let says = script.says.clone();
    let stays = script.stays;
    let speaker = thread::spawn(move || {
        let said = saying.write_all(&says);
        pass(ms(stays));
        said.and_then(|()| saying.shutdown(Shutdown::Write)).is_ok()
    });
    let (heard, whole) = listen(&mut peer);
    let said = speaker.join().expect("a speaker that does not panic");
    // An orderly end may be that of a cut: only who has got all can tell.
    let all = said && whole && (script.fits)(&heard, true);
    assert!(all || (script.fits)(&heard, false), "{:?}", String::from_utf8_lossy(&heard));
    !all
}

fn listen(peer: &mut TcpStream) -> (Vec<u8>, bool) {
    peer.set_read_timeout(Some(PATIENCE * 2)).expect("a socket option");
    let (mut heard, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match peer.read(&mut buf) {
            Ok(0) => return (heard, true),
            Ok(got) => heard.extend_from_slice(&buf[..got]),
            Err(error) => {
                let late = error.kind() == std::io::ErrorKind::WouldBlock;
                assert!(!late, "no end came; so far {} bytes", heard.len());
                return (heard, false);
            }
        }
    }
}

/// Plays many scripts through the proxy, ten at a time, and then one without it.
fn attack(name: &str, program: &Program, write: Playwright, rng: &mut fastrand::Rng) -> usize {
    let (address, process) = (program.address(), Process(program.pid()));
    let rested = process.rested();
    let proxy = ChaosProxy::start(address, rng.u64(..));
    let mut cut = 0;
    for _ in 0..size(1, 30) {
        let scripts: Vec<_> = (0..10).map(|at| write(at, rng)).collect();
        let through = proxy.address;
        let players =
            scripts.into_iter().map(|script| thread::spawn(move || perform(through, &script)));
        for player in players.collect::<Vec<_>>() {
            cut += usize::from(player.join().expect("what was heard fits"));
        }
    }
    drop(proxy);
    until(&format!("{name} is rid of them"), || process.descriptors() <= rested);
    assert!(!perform(address, &write(99, rng)), "{name} serves as before");
    cut
}

#[test]
fn every_example_survives_a_network_that_spoils_everything() {
    let _alone = alone();
    let figures = Figures::of("chaos");
    let mut rng = fastrand::Rng::with_seed(seed());
    let any = ["--addr", "127.0.0.1:0"];
    let behind = Program::start("echo", &any);
    let behind_at = behind.address().to_string();
    let stages: [(&str, &[&str], Playwright); 8] = [
        ("echo", &[], bytes),
        ("echo", &["--codec", "lines"], text),
        ("echo", &["--codec", "length"], frames),
        ("custom_protocol", &[], questions),
        ("tcp_chat", &["--rate", "10000"], chat),
        ("threads", &[], bytes),
        ("game_tick", &[], play),
        ("proxy", &["--to", &behind_at], bytes),
    ];
    for (name, args, write) in stages {
        let program = Program::start(name, &[&any, args].concat());
        let cut = attack(name, &program, write, &mut rng);
        let all = 10 * size(1, 30);
        figures.tell(
            &format!("{name} {}", args.join(" ")),
            format!("{all} conversations, {cut} cut off, none spoilt"),
        );
        program.terminate();
        let ended = program.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    figures.finish();
}
