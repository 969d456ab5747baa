//! A server that is killed right after an acknowledgement: the message is there, and there once.
//!
//! The parent runs this very test program again as the server, reads its acknowledgements, kills it at one of them, and
//! looks into the file. The next server sends again what was not acknowledged, as clients do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command as Process, Stdio};

use super::*;

const ROUNDS: usize = 12;
/// Messages under way at once, so that the kill meets a commit of several.
const WINDOW: u64 = 8;

fn numbered(number: u64, id: u64) -> Message {
    with_nonce(id, &format!("text {number}"), &number.to_string())
}

fn spacious(path: impl Into<PathBuf>) -> Settings {
    Settings { per_room: 1_000_000, ..Settings::new(path) }
}

#[test]
#[ignore = "the server that the test below kills"]
fn the_server_that_is_killed() {
    let path = std::env::var_os("WHEELHOUSE_CHAT_TEST_DB").expect("the file");
    let first: u64 = std::env::var("WHEELHOUSE_CHAT_TEST_FROM").unwrap().parse().unwrap();
    let desk = Desk::open(spacious(path));
    let mut id = desk.opened.last_id;
    let mut say = |number: u64| {
        id += 1;
        desk.history.request(number, Request::Append(numbered(number, id))).unwrap();
    };
    (first..first + WINDOW).for_each(&mut say);
    loop {
        let answer = desk.answer();
        answer.result.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {}", answer.tag).unwrap();
        out.flush().unwrap();
        say(answer.tag + WINDOW);
    }
}

/// Runs a server from message `first` on, kills it at its `acks`-th acknowledgement, and tells the last one it wrote.
fn run_and_kill(path: &Path, first: u64, acks: usize) -> u64 {
    let mut server = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "history::tests::crash::the_server_that_is_killed"])
        .args(["--ignored", "--nocapture"])
        .env("WHEELHOUSE_CHAT_TEST_DB", path)
        .env("WHEELHOUSE_CHAT_TEST_FROM", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    let number = |line: String| line.strip_prefix("ack ").and_then(|rest| rest.parse::<u64>().ok());
    let mut acked = lines.by_ref().filter_map(number).take(acks).collect::<Vec<_>>();
    server.kill().unwrap(); // SIGKILL
    server.wait().unwrap();
    acked.extend(lines.filter_map(number)); // what was on its way out
    let expected: Vec<_> = (first..).take(acked.len()).collect();
    assert_eq!(acked, expected, "acknowledged in order");
    *acked.last().expect("an acknowledgement")
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_is_there_once() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.db");
    let mut acked = 0;
    for round in 0..ROUNDS {
        acked = run_and_kill(&path, acked + 1, random.usize(1..40));
        let desk = Desk::open(spacious(&path));
        let mut count = BTreeMap::<String, u32>::new();
        let mut before = None;
        loop {
            let request = Request::Before { room: "lobby".into(), before, limit: 500 };
            let Ok(Reply::Page { messages, more, .. }) = desk.ask(request) else { panic!() };
            for message in &messages {
                *count.entry(message.text.clone()).or_default() += 1;
            }
            before = messages.first().map(|message| message.id);
            if !more {
                break;
            }
        }
        for number in 1..=acked {
            assert_eq!(count.get(&format!("text {number}")), Some(&1), "round {round}: {number}");
        }
        assert!(count.values().all(|&times| times == 1), "round {round}: {count:?}");
    }
}
