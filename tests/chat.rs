//! The chat as people use it: peers that are bare sockets, as with `nc`, and the client, by pipes and in a terminal.
//!
//! Wants the examples built, as `cargo test` does; with `--test chat`, `cargo build --examples` first.

mod kit;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kit::programs::{Program, example};
use kit::{begin, narrow_peer, peer};

const WELCOME: &str = "Welcome! What is your name?";

fn server(options: &[&str]) -> (Program, SocketAddr) {
    let args: Vec<&str> = ["--addr", "127.0.0.1:0"].iter().chain(options).copied().collect();
    let server = Program::start("tcp_chat", &args);
    let address = server.address();
    (server, address)
}

/// Somebody with `nc`.
struct Talker {
    stream: BufReader<TcpStream>,
}

impl Talker {
    fn connect(to: SocketAddr) -> Self {
        Self { stream: BufReader::new(peer(to)) }
    }

    /// Connects, gives a name, and is told who is there.
    fn join(to: SocketAddr, name: &str, online: &str) -> Self {
        let mut talker = Self::connect(to);
        talker.hears(&[WELCOME]);
        talker.says(name);
        talker.hears(&[online]);
        talker
    }

    fn says(&mut self, line: &str) {
        writeln!(self.stream.get_mut(), "{line}").expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).expect("a line in time");
        assert!(read > 0, "the server ended the stream");
        line.trim_end_matches('\n').to_owned()
    }

    /// The next lines are these.
    fn hears(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.line(), *line);
        }
    }

    fn hears_the_end(mut self) {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).expect("the end in time");
        assert_eq!(rest, "");
    }
}

#[test]
fn three_people_meet_talk_and_leave() {
    let (server, address) = server(&[]);
    let mut ann = Talker::join(address, "ann", "Online: ann");
    let mut bob = Talker::connect(address);
    bob.hears(&[WELCOME]);
    bob.says("Ann");
    bob.hears(&["The name Ann is taken. Another, please?"]);
    for bad in ["", "two words", "/who", "a-name-of-twenty-five-char"] {
        bob.says(bad);
        assert!(bob.line().starts_with("A name is 1 to 24 letters"), "{bad:?} is no name");
    }
    bob.says("bob\r"); // as telnet ends its lines
    bob.hears(&["Online: ann, bob"]);
    let address = address.to_string();
    let mut cleo = Program::start("chat_client", &["--addr", &address, "--name", "cleo"]);
    assert_eq!([cleo.line(), cleo.line()], [WELCOME, "Online: ann, bob, cleo"]);
    ann.hears(&["bob has joined the chat.", "cleo has joined the chat."]);
    bob.hears(&["cleo has joined the chat."]);

    ann.says("hello, all");
    bob.hears(&["[ann]: hello, all"]);
    assert_eq!(cleo.line(), "[ann]: hello, all");
    cleo.say("hi, ann\n\n   \nпривіт\n"); // nothing is said by an empty line
    for listener in [&mut ann, &mut bob] {
        listener.hears(&["[cleo]: hi, ann", "[cleo]: привіт"]);
    }

    ann.says("/quit");
    ann.hears(&["Goodbye!"]);
    ann.hears_the_end();
    bob.hears(&["ann has left the chat."]);
    assert_eq!(cleo.line(), "ann has left the chat.");
    cleo.say("bye\n");
    cleo.end_input();
    let ended = cleo.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    bob.hears(&["[cleo]: bye", "cleo has left the chat."]);

    let mut nameless = Talker::connect(address.parse().expect("an address"));
    nameless.hears(&[WELCOME]);
    bob.says("anybody?");
    bob.says("/who");
    bob.hears(&["Online: bob"]);
    server.terminate();
    for mut talker in [bob, nameless] {
        talker.hears(&["The server is stopping. Goodbye!"]);
        talker.hears_the_end();
    }
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("2 connections closed, 0 forced"), "{ended:?}");
}

#[test]
fn commands_are_obeyed_and_others_answered_politely() {
    let (_server, address) = server(&[]);
    let mut ann = Talker::join(address, "ann", "Online: ann");
    let mut bob = Talker::join(address, "bob", "Online: ann, bob");
    ann.hears(&["bob has joined the chat."]);
    bob.says("/me waves");
    ann.hears(&["* bob waves"]);
    bob.says("/me");
    bob.hears(&["What are you doing? /me waves, for example."]);
    bob.says("/nick ANN");
    bob.hears(&["The name ANN is taken. Another, please?"]);
    bob.says("/nick Robert");
    for talker in [&mut ann, &mut bob] {
        talker.hears(&["bob is now Robert."]);
    }
    bob.says("/nick ROBERT"); // one's own name, written differently, is not taken
    bob.hears(&["Robert is now ROBERT."]);
    bob.says("/who");
    bob.hears(&["Online: ann, ROBERT"]);
    bob.says("/dance wildly");
    bob.hears(&["There is no command /dance, sorry; /help lists those there are."]);
    bob.says("/help");
    assert!(bob.line().starts_with("/who: who is here; /nick NAME"));
    bob.says("//etc/motd");
    bob.says("\x1b[31mred\x07");
    ann.hears(&["Robert is now ROBERT.", "[ROBERT]: /etc/motd", "[ROBERT]: [31mred"]);
    ann.says("/nick bob"); // free again
    bob.hears(&["ann is now bob."]);
}

#[test]
fn a_peer_that_does_not_read_is_dropped_and_the_rest_miss_nothing() {
    let (server, address) = server(&["--rate", "100000", "--max-line", "4096"]);
    let mut stuck = narrow_peer(address);
    stuck.write_all(b"stuck\n").expect("a name");
    let mut online = BufReader::new(&stuck).lines(); // reads this much, and no more
    assert_eq!(online.nth(1).expect("a line").expect("a line in time"), "Online: stuck");
    let mut ann = Talker::join(address, "ann", "Online: ann, stuck");
    let mut bob = Talker::join(address, "bob", "Online: ann, bob, stuck");
    ann.hears(&["bob has joined the chat."]);

    let filling = "x".repeat(4_000);
    let mut dropped = false;
    for number in 0..50_000 {
        ann.says(&format!("{number} {filling}"));
        let mut heard = bob.line();
        if heard == "stuck has left the chat." {
            dropped = true;
            heard = bob.line();
        }
        assert!(heard.starts_with(&format!("[ann]: {number} x")), "line {number} is next");
        if dropped {
            break;
        }
    }
    assert!(dropped, "200 MB wait for a peer that does not read");
    ann.hears(&["stuck has left the chat."]);
    ann.says("/who");
    ann.hears(&["Online: ann, bob"]);
    drop((ann, bob));
    server.terminate();
    let log = server.end().stderr;
    // By its full outbox, not by the deadline for stuck output, 30 s later.
    assert!(log.contains("the peer reads too slowly: "), "{log}");
}

#[test]
fn a_fast_talker_is_slowed_and_not_cut_off() {
    let (_server, address) = server(&["--rate", "50"]);
    let mut ann = Talker::join(address, "ann", "Online: ann");
    let mut bob = Talker::join(address, "bob", "Online: ann, bob");
    ann.hears(&["bob has joined the chat."]);
    let burst: String = (0..130).map(|number| format!("{number}\n")).collect();
    ann.stream.get_mut().write_all(burst.as_bytes()).expect("the server reads");
    for number in 0..130 {
        bob.hears(&[&format!("[ann]: {number}")]);
    }
    ann.hears(&["Not so fast, please: your lines are read one after another."]);
    ann.says("/who"); // told once, however often it was slowed
    ann.hears(&["Online: ann, bob"]);
}

#[test]
fn a_message_over_the_limit_ends_its_connection_alone() {
    let (_server, address) = server(&["--max-line", "100"]);
    let mut ann = Talker::join(address, "ann", "Online: ann");
    let mut bob = Talker::join(address, "bob", "Online: ann, bob");
    ann.hears(&["bob has joined the chat."]);
    bob.says(&"x".repeat(101));
    bob.hears(&["A message is at most 100 bytes. Goodbye!"]);
    bob.hears_the_end();
    ann.hears(&["bob has left the chat."]);
}

#[test]
fn it_speaks_russian_and_ukrainian() {
    let lines = [
        ("ru", "К нам присоединился: Оля", "Клиент Оля покинул чат.", "Онлайн: Ян"),
        ("uk", "До нас приєднався: Оля", "Клієнт Оля покинув чат.", "Онлайн: Ян"),
    ];
    for (lang, joined, left, online) in lines {
        let (_server, address) = server(&["--lang", lang]);
        let mut yan = Talker::connect(address);
        let _ = yan.line();
        yan.says("Ян");
        yan.hears(&[online]);
        let mut olya = Talker::connect(address);
        olya.says("Оля");
        yan.hears(&[joined]);
        olya.says("Вітання!");
        yan.hears(&["[Оля]: Вітання!"]);
        drop(olya);
        yan.hears(&[left]);
    }
}

#[test]
fn the_client_comes_back_when_the_server_does() {
    let (first, address) = server(&[]);
    let to = address.to_string();
    let mut cleo = Program::start("chat_client", &["--addr", &to, "--name", "cleo"]);
    assert_eq!([cleo.line(), cleo.line()], [WELCOME, "Online: cleo"]);
    first.terminate();
    assert_eq!(first.end().code, Some(0));
    assert_eq!(cleo.line(), "The server is stopping. Goodbye!");
    assert_eq!(cleo.line(), "* the server ended the connection; connecting again");
    cleo.say("said while nobody was there\n"); // it waits for the next connection

    let second = Program::start("tcp_chat", &["--addr", &to]);
    assert_eq!(second.address(), address);
    assert_eq!([cleo.line(), cleo.line()], [WELCOME, "Online: cleo"]);
    cleo.say("/quit\n");
    let ended = cleo.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "Goodbye!\n"), "{ended:?}");
}

/// A terminal of 80 by 20, which tmux keeps; it goes with this.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// `None` where tmux is not installed.
    fn open(command: &str) -> Option<Self> {
        Command::new("tmux").arg("-V").output().ok()?;
        static NEXT: AtomicUsize = AtomicUsize::new(0); // tests run side by side
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wheelhouse-chat-{}-{number}", process::id());
        let socket = env::temp_dir().join(name);
        let terminal = Self { socket };
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "20", command];
        terminal.tmux(&new);
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let output = tmux.arg("-S").arg(&self.socket).args(args).output().expect("tmux runs");
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Looks at the screen until it is as wanted. (A screen tells nobody when it changes.)
    fn shows(&self, what: &str, wanted: impl Fn(&[&str]) -> bool) {
        for _ in 0..5_000 {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if wanted(&screen.lines().collect::<Vec<_>>()) {
                return;
            }
            thread::yield_now();
        }
        panic!("no {what} on the screen:\n{}", self.tmux(&["capture-pane", "-p"]));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Errors: it has ended with its program, and its socket with it.
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
        let _ = fs::remove_file(&self.socket);
    }
}

#[test]
fn at_a_terminal_what_comes_in_leaves_the_line_being_typed_alone() {
    let (_server, address) = server(&[]);
    let mut ann = Talker::join(address, "ann", "Online: ann");
    let client = example("chat_client");
    let command = format!("LC_ALL=C.UTF-8 {} --addr {address} --name cleo", client.display());
    let Some(terminal) = Terminal::open(&command) else {
        eprintln!("left out: tmux, which brings the terminal, is not installed");
        return;
    };
    ann.hears(&["cleo has joined the chat."]);
    terminal.shows("prompt", |screen| screen.last() == Some(&">"));
    terminal.tmux(&["send-keys", "-l", "half a li"]);
    terminal.shows("typing", |screen| screen.last() == Some(&"> half a li"));
    ann.says("how are you?");
    terminal.shows("message above the whole line being typed", |screen| {
        matches!(screen, [.., "[ann]: how are you?", "> half a li"])
    });
    terminal.tmux(&["send-keys", "-l", "ne, sent whole"]);
    terminal.tmux(&["send-keys", "Enter"]);
    ann.hears(&["[cleo]: half a line, sent whole"]);
    terminal.tmux(&["send-keys", "C-d"]);
    ann.hears(&["cleo has left the chat."]);
}

/// `nc`, as a person would start it; `None` where it is not installed.
fn nc(to: SocketAddr, name: &str) -> Option<Program> {
    let mut command = Command::new("nc");
    command.args([to.ip().to_string(), to.port().to_string()]);
    let mut talker = Program::spawn("nc", &mut command).ok()?;
    assert_eq!(talker.line(), WELCOME);
    talker.say(&format!("{name}\n"));
    Some(talker)
}

#[test]
fn two_with_nc_and_one_at_a_terminal() {
    let (server, address) = server(&[]);
    let Some(mut ann) = nc(address, "ann") else {
        eprintln!("left out: nc is not installed");
        return;
    };
    assert_eq!(ann.line(), "Online: ann");
    let mut bob = nc(address, "bob").expect("a second nc");
    assert_eq!(bob.line(), "Online: ann, bob");
    let client = example("chat_client");
    let command = format!("LC_ALL=C.UTF-8 {} --addr {address} --name cleo", client.display());
    let Some(terminal) = Terminal::open(&command) else {
        eprintln!("left out: tmux, which brings the terminal, is not installed");
        return;
    };
    terminal.shows("prompt", |screen| screen.last() == Some(&">"));
    terminal.tmux(&["send-keys", "-l", "/me waves"]);
    terminal.tmux(&["send-keys", "Enter"]);
    assert_eq!(ann.line(), "bob has joined the chat.");
    for talker in [&ann, &bob] {
        assert_eq!(talker.line(), "cleo has joined the chat.");
        assert_eq!(talker.line(), "* cleo waves");
    }
    bob.say("hello, both\n");
    assert_eq!(ann.line(), "[bob]: hello, both");
    ann.say("/nick anna\nand hello to you\n");
    terminal.shows("transcript in order", |screen| {
        let heard = ["[bob]: hello, both", "[anna]: and hello to you"];
        let places = heard.map(|line| screen.iter().position(|shown| *shown == line));
        matches!(places, [Some(first), Some(second)] if first < second)
    });
    terminal.tmux(&["send-keys", "C-d"]);
    bob.say("/quit\n");
    assert_eq!(bob.end().code, Some(0), "nc ends with the connection");
    server.terminate();
    let last = ann.end().stdout;
    assert!(last.ends_with("bob has left the chat.\nThe server is stopping. Goodbye!\n"), "{last}");
    assert!(last.contains("cleo has left the chat.\n"), "{last}");
}

#[test]
fn a_client_by_itself_ends_with_its_input_however_silent_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut client = Program::start("chat_client", &["--addr", &address, "--name", "cleo"]);
    let silent = begin(move || {
        let (mut peer, _) = listener.accept().expect("the client");
        let mut heard = String::new();
        peer.read_to_string(&mut heard).expect("the client's end"); // and says nothing itself
        heard
    });
    client.say("is anybody there?\n");
    client.end_input();
    assert_eq!(silent.wait("a server that only listens"), "cleo\nis anybody there?\n");
    assert_eq!(client.end().code, Some(0));
}
