//! Each example behind the chaos proxy: who is cut off by it has got a beginning of what was due, everybody else has got
//! all of it, and the server is as before.

use std::thread;

use crate::chaos_proxy::ChaosProxy;
use crate::chaos_scripts::{
    Playwright, bytes, chat, frames, messages, play, questions, text, visit,
};
use crate::common::connect;
use crate::ground::{Figures, Process, alone, seed, size, until};
use crate::kit::programs::{CHAT, Program};

/// Plays many scripts through the proxy, ten at a time, and then one without it.
fn attack(name: &str, program: &Program, write: Playwright, rng: &mut fastrand::Rng) -> usize {
    let (address, process) = (program.address(), Process(program.pid()));
    let rested = process.rested();
    let proxy = ChaosProxy::start(address, rng.u64(..));
    let mut cut = 0;
    for _ in 0..size(1, 30) {
        let scripts: Vec<_> = (0..10).map(|at| write(at, rng)).collect();
        let players = scripts.into_iter().map(|script| {
            let peer = connect(proxy.address);
            let port = peer.local_addr().expect("an address").port();
            (port, thread::spawn(move || script.perform(peer)))
        });
        for (port, player) in players.collect::<Vec<_>>() {
            let Err(end) = player.join().expect("what was heard fits") else { continue };
            assert!(proxy.has_reset(port), "{name} ended what the proxy has not: {end}");
            cut += 1;
        }
    }
    drop(proxy);
    until(&format!("{name} is rid of them"), || process.descriptors() <= rested);
    assert_eq!(write(99, rng).perform(connect(address)), Ok(()), "{name} serves as before");
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
    let stages: [(&str, &[&str], Playwright); 10] = [
        ("echo", &[], bytes),
        ("echo", &["--codec", "lines"], text),
        ("echo", &["--codec", "length"], frames),
        ("custom_protocol", &[], questions),
        ("tcp_chat", &["--rate", "10000"], chat),
        ("threads", &[], bytes),
        ("game_tick", &[], play),
        ("proxy", &["--to", &behind_at], bytes),
        ("ws_echo", &[], messages),
        (CHAT, &["--db", ":memory:", "--address-rate", "100000"], visit),
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

/// What the client of `tcp_chat` prints, until it has heard the answer to its last line; or, where it was cut off, until it
/// is back.
fn hear(client: &Program) -> String {
    let (mut heard, mut answers) = (String::new(), 0);
    while let Some(line) = client.line_or_end() {
        heard.extend([&line, "\n"]);
        answers += usize::from(line.starts_with("Online: "));
        let is_back = heard.contains(AGAIN) && line.starts_with("Welcome!");
        if answers == 2 || is_back {
            break;
        }
    }
    heard
}

/// What it prints when it has lost its connection.
const AGAIN: &str = "; connecting again\n";

/// The client of `tcp_chat` behind a proxy of its own: it connects again where that has cut it off, and only there.
#[test]
fn the_chat_client_comes_back_through_a_network_that_spoils_everything() {
    let _alone = alone();
    let figures = Figures::of("chaos, the client");
    let mut rng = fastrand::Rng::with_seed(seed());
    let program = Program::start("tcp_chat", &["--addr", "127.0.0.1:0", "--rate", "100000"]);
    let (address, process) = (program.address(), Process(program.pid()));
    let rested = process.rested();
    let (mut cut, mut back, mut whole) = (0, 0, 0);
    let waves = size(1, 10);
    for wave in 0..waves {
        let start = |at| {
            let proxy = ChaosProxy::start(address, rng.u64(..));
            let (to, name) = (proxy.address.to_string(), format!("peer-{wave}-{at}"));
            let mut client = Program::start("chat_client", &["--addr", &to, "--name", &name]);
            client.say(&format!("{}/who\n", "what weather today\n".repeat(20)));
            (proxy, client)
        };
        for (proxy, mut client) in (0..10).map(start).collect::<Vec<_>>() {
            let mut heard = hear(&client);
            client.end_input();
            let ended = client.end();
            heard.push_str(&ended.stdout);
            let (resets, comebacks) = (proxy.resets(), heard.matches(AGAIN).count());
            assert!(comebacks <= resets, "{resets} resets, and {heard}");
            assert!(!ended.stderr.contains("panicked"), "{ended:?}");
            // A line that could not be sent is an error.
            let fine =
                if resets == 0 { ended.code == Some(0) } else { matches!(ended.code, Some(0 | 1)) };
            assert!(fine, "{resets} resets, and {ended:?}");
            if resets == 0 {
                let answers = heard.lines().filter(|line| line.starts_with("Online: ")).count();
                assert_eq!(answers, 2, "{heard}");
            }
            (cut, back) = (cut + resets, back + comebacks);
            whole += usize::from(resets == 0);
        }
    }
    until("the server is rid of them", || process.descriptors() <= rested);
    let all = 10 * waves;
    figures.tell("clients", format!("{all}, {whole} never cut off: those have heard all"));
    figures.tell("cut off, and went to connect again", format!("{cut} times, {back} times"));
    program.terminate();
    assert_eq!(program.end().code, Some(0));
    figures.finish();
}
