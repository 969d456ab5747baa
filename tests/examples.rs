//! The ladder of examples/README.md, command by command, and what all its programs have in common.
//!
//! Wants the examples built, as `cargo test` does; with `--test examples`, `cargo build --examples` first.

mod kit;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};

use kit::programs::{CHAT, Ended, Program};
use kit::{peer, read_to_end, say};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const LADDER: &str = include_str!("../examples/README.md");

/// Servers, and where each listens when it is not told.
const SERVERS: [(&str, &str); 8] = [
    ("echo", "127.0.0.1:8080"),
    ("custom_protocol", "127.0.0.1:8081"),
    ("tcp_chat", "127.0.0.1:8866"),
    ("threads", "127.0.0.1:8080"),
    ("game_tick", "127.0.0.1:7777"),
    ("proxy", "127.0.0.1:9090"),
    ("ws_echo", "127.0.0.1:8082"),
    (CHAT, "127.0.0.1:8080"),
];

/// One line of a `sh` block.
#[derive(Debug)]
struct Step {
    input: String,
    /// An example and its arguments, or an address for nc.
    call: Call,
    answers: Option<String>,
}

#[derive(Debug)]
enum Call {
    Example { name: String, args: Vec<String> },
    Nc { address: String },
}

/// The `sh` blocks of a page, line by line.
fn blocks(page: &str) -> Vec<Vec<Step>> {
    let fenced = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    fenced.map(|block| block.lines().map(step).collect()).collect()
}

fn step(line: &str) -> Step {
    let (line, comment) = line.split_once(" # ").unwrap_or((line, ""));
    let answers = comment.trim().strip_prefix("answers ").map(str::to_owned);
    let (input, command) = match line.split_once(" | ") {
        Some((left, command)) => (typed(left), command.trim()),
        None => (String::new(), line.trim()),
    };
    let words: Vec<&str> = command.split_whitespace().collect();
    let call = match words.as_slice() {
        ["cargo", "run", "--release", "--example" | "-p", name, args @ ..] => {
            let args = args.iter().skip(1).map(|arg| (*arg).to_owned()).collect();
            Call::Example { name: (*name).to_owned(), args }
        }
        ["nc", "-w", "1", host, port] => Call::Nc { address: format!("{host}:{port}") },
        _ => {
            panic!("what is {line:?}? This test runs `cargo run --release` and `nc -w 1`")
        }
    };
    Step { input, call, answers }
}

/// What `echo` or `printf` would type.
fn typed(command: &str) -> String {
    let (program, text) = command.split_once(' ').expect("something to type");
    let text = text.trim_matches('\'');
    match program {
        "echo" => format!("{text}\n"),
        "printf" => text.replace("\\r", "\r").replace("\\n", "\n"),
        _ => panic!("what does {command:?} type?"),
    }
}

/// The servers of one block, and where those addresses are that the page names.
#[derive(Default)]
struct Session {
    servers: Vec<(String, Program)>,
    moved: HashMap<String, SocketAddr>,
}

impl Session {
    fn run(&mut self, step: Step) {
        let Step { input, call, answers } = step;
        let said = match call {
            Call::Nc { address } => self.nc(&address, &input),
            Call::Example { name, args } => {
                let documented = SERVERS.iter().find(|server| server.0 == name);
                let asks = args.iter().any(|arg| arg == "--connect");
                match documented.filter(|_| !asks) {
                    Some((_, address)) => self.serve(&name, args, address, answers.is_some()),
                    None => Some(self.ask(&name, args, &input)),
                }
                .unwrap_or_default()
            }
        };
        let answers = answers.unwrap_or_default();
        assert!(said.contains(&answers), "{answers:?} is not in:\n{said}");
    }

    /// As `nc` does: says it, ends its side, and hears the rest.
    fn nc(&self, address: &str, input: &str) -> String {
        let address = self.moved.get(address).expect("a server that the block has started");
        let mut peer = peer(*address);
        say(&mut peer, input);
        peer.shutdown(Shutdown::Write).expect("a connection");
        read_to_end(&mut peer)
    }

    /// Starts a server on a free port. One that ends by itself is waited for.
    fn serve(
        &mut self,
        name: &str,
        mut args: Vec<String>,
        documented: &str,
        ends: bool,
    ) -> Option<String> {
        self.redirect(&mut args);
        let mut documented = documented.to_owned();
        if let Some(at) = args.iter().position(|arg| arg == "--addr") {
            documented = std::mem::replace(&mut args[at + 1], "127.0.0.1:0".to_owned());
        } else {
            args.extend(["--addr".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        if documented.starts_with(':') {
            documented.insert_str(0, "127.0.0.1");
        }
        let program = Program::start(name, &args);
        self.moved.insert(documented, program.address());
        if ends {
            return Some(succeeded(name, program.end()));
        }
        self.servers.push((name.to_owned(), program));
        None
    }

    /// Runs a client to its end.
    fn ask(&self, name: &str, mut args: Vec<String>, input: &str) -> String {
        self.redirect(&mut args);
        if name == "chat_client" && !args.iter().any(|arg| arg == "--addr") {
            args.extend(["--addr".to_owned(), self.moved["127.0.0.1:8866"].to_string()]);
        }
        let mut program = Program::start(name, &args);
        program.say(input);
        program.end_input();
        succeeded(name, program.end())
    }

    fn redirect(&self, args: &mut [String]) {
        for arg in args {
            if let Some(address) = self.moved.get(arg.as_str()) {
                *arg = address.to_string();
            }
        }
    }

    /// SIGTERM for all: each prints its report.
    fn stop(self) {
        for (name, server) in self.servers.into_iter().rev() {
            server.terminate();
            let said = succeeded(&name, server.end());
            assert!(said.contains("stopped in "), "{name} reports nothing: {said}");
        }
    }
}

fn succeeded(name: &str, ended: Ended) -> String {
    assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
    ended.stdout
}

/// Runs the blocks of the page that start this example first.
fn climb(first: &str) {
    let mut climbed = 0;
    for block in blocks(LADDER) {
        let begins = matches!(&block[0].call, Call::Example { name, .. } if name == first);
        if begins {
            climbed += 1;
            let mut session = Session::default();
            block.into_iter().for_each(|step| session.run(step));
            session.stop();
        }
    }
    assert!(climbed > 0, "the ladder has no commands for {first}");
}

#[test]
fn rung_1_echo_and_rung_6_proxy() {
    climb("echo"); // the proxy's block starts one to stand before
}

#[test]
fn rung_2_custom_protocol() {
    climb("custom_protocol");
}

#[test]
fn rung_3_tcp_chat_and_chat_client() {
    climb("tcp_chat");
}

#[test]
fn rung_4_threads() {
    climb("threads");
}

#[test]
fn rung_5_game_tick() {
    climb("game_tick");
}

#[test]
fn rung_7_ws_echo() {
    climb("ws_echo");
}

#[test]
fn rung_8_chat() {
    climb(CHAT);
}

#[test]
fn the_ladder_has_every_example_and_begins_only_with_servers() {
    let known = SERVERS.map(|(name, _)| name);
    for block in blocks(LADDER) {
        let first = &block[0].call;
        assert!(
            matches!(first, Call::Example { name, .. } if known.contains(&name.as_str())),
            "{first:?} begins a block and is no server that this test knows"
        );
    }
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).expect("it") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        let name = name.trim_end_matches(".rs");
        let rung = LADDER.lines().any(|line| line.starts_with("## ") && line.contains(name));
        let is_example = name != "README.md" && name != "shared"; // what several of them use
        assert!(rung || !is_example, "examples/README.md has no rung for {name}");
    }
}

#[test]
fn a_bad_argument_is_exit_code_2_and_says_which() {
    for (name, _) in SERVERS {
        for (args, culprit) in
            [(&["--no-such-thing"][..], "--no-such-thing"), (&["--addr", "nonsense"], "nonsense")]
        {
            let ended = Program::start(name, args).end();
            assert_eq!(ended.code, Some(2), "{name}: {ended:?}");
            let first = ended.stderr.lines().next().unwrap_or_default();
            let who = if name == CHAT { "wheelhouse-chat: " } else { "error: " };
            assert!(first.starts_with(who) && first.contains(culprit), "{ended:?}");
            assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        }
    }
    let bad = [
        ("tcp_chat", ["--max-line", "9"]),
        ("chat_client", ["--name", ""]),
        ("custom_protocol", ["--connect", "127.0.0.1:1"]),
    ];
    for (name, args) in bad {
        let ended = Program::start(name, &args).end();
        assert_eq!(ended.code, Some(2), "{name} {args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
}

#[test]
fn an_address_that_cannot_be_had_is_exit_code_1_and_one_line() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("an address").to_string();
    for (name, _) in SERVERS {
        let mut args = vec!["--addr", &taken];
        if name == "proxy" {
            args.extend(["--to", "127.0.0.1:1"]);
        }
        one_line_of_failure(name, &taken, Program::start(name, &args).end());
    }
    drop(holder); // and now nobody listens there
    for address in [&*taken, "nonsense"] {
        for (client, args) in [
            ("chat_client", &["--addr", address][..]),
            ("custom_protocol", &["--connect", address, "ping"]),
        ] {
            one_line_of_failure(client, address, Program::start(client, args).end());
        }
    }
}

fn one_line_of_failure(name: &str, address: &str, ended: Ended) {
    assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{name}: {ended:?}");
    assert!(ended.stderr.starts_with(&format!("{name}: ")), "{ended:?}");
    assert!(ended.stderr.contains(address), "it names the address: {ended:?}");
}

#[test]
fn echo_answers_five_thousand_at_once() {
    const PEERS: usize = 5_000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = PEERS as u64 + 500;
    assert!(maximum.is_none_or(|maximum| maximum >= enough), "{maximum:?} descriptors at most");
    if current.is_some_and(|current| current < enough) {
        // The server inherits it.
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the hard limit");
    }
    let server = Program::start("echo", &["--addr", "127.0.0.1:0"]);
    let address = server.address();
    let mut peers = Vec::with_capacity(PEERS);
    for at in 0..PEERS {
        let mut peer = peer(address);
        writeln!(peer, "line {at}").expect("the server reads");
        peers.push(peer);
    }
    for (at, peer) in peers.iter_mut().enumerate() {
        let line = format!("line {at}\n");
        let mut answer = vec![0; line.len()];
        peer.read_exact(&mut answer).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), line);
    }
    server.terminate();
    for peer in &mut peers {
        assert_eq!(read_to_end(peer), "", "nothing comes after the answer but the end");
    }
    drop(peers);
    let said = succeeded("echo", server.end());
    assert!(said.contains("5000 connections closed, 0 forced"), "{said}");
}

#[test]
fn custom_protocol_tells_what_was_wrong_before_it_closes() {
    let server = Program::start("custom_protocol", &["--addr", "127.0.0.1:0"]);
    let address = server.address();
    let faults: [(&[u8], u8, &str); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", 1, "not with b\"GET / HT\""),
        (b"WH\x02", 2, "version 2"),
        (b"WH\x01\x01\xff\xff", 4, "65535 bytes"),
        (b"WH\x01\x02\x00\x00\x00\x00\x00\x00", 5, "checksum 0x00000000"),
        (b"WH\x01\x02", 7, "4 bytes into an unfinished packet"),
    ];
    for (bytes, code, text) in faults {
        let mut peer = peer(address);
        peer.write_all(bytes).expect("the server reads");
        peer.shutdown(Shutdown::Write).expect("a connection");
        let mut reply = Vec::new();
        peer.read_to_end(&mut reply).expect("an error frame, then the end");
        assert_eq!(reply[..4], *b"WH\x01\xff", "{bytes:?}");
        assert_eq!(reply[6], code, "{bytes:?}");
        let body = String::from_utf8_lossy(&reply[7..reply.len() - 4]);
        assert!(body.contains(text), "{body:?} does not say {text:?}");
    }
    server.terminate();
    succeeded("custom_protocol", server.end());
}
