//! The server as a program, and clients of it: started beside the test, spoken to over real sockets, stopped or killed. No
//! wait here without an end.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wheelhouse::codec::websocket::{
    CloseFrame, Incoming, Offer, WebSocket, WebSocketCodec, connect_with,
};
use wheelhouse::{Client, ClientError};

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server under way. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheelhouse-chat"));
    let others = std::env::vars_os().filter(|(name, _)| {
        !name.to_string_lossy().starts_with("WHEELHOUSE_CHAT_") // the tests' settings are these
    });
    command.env_clear().envs(others).env("RUST_LOG", "debug").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    let output = command(args).output().expect("a program that starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Server {
    /// A server on a port of its own, without a file.
    pub(crate) fn start(args: &[&str]) -> Self {
        let with_db = args.contains(&"--db");
        let mut all = vec!["--addr", "127.0.0.1:0"];
        all.extend(if with_db { &[][..] } else { &["--db", ":memory:"] });
        all.extend(args);
        let mut child = command(&all).spawn().expect("a program that starts");
        let stdout = lines_of(child.stdout.take().expect("a pipe"));
        let stderr = lines_of(child.stderr.take().expect("a pipe"));
        let line = stdout.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let said: Vec<String> = stderr.iter().collect();
            panic!("the server does not start: {}", said.join("\n"))
        });
        let addr = line.strip_prefix("listening on http://").expect("its address");
        let addr = addr.parse().expect("an address");
        Self { child, addr, stdout, stderr }
    }

    /// On a file of this directory.
    pub(crate) fn on(file: &Path, args: &[&str]) -> Self {
        let file = file.to_str().expect("a path in UTF-8");
        let mut all = vec!["--db", file];
        all.extend(args);
        Self::start(&all)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let rest = |from: &Receiver<String>| {
            let mut lines = Vec::new();
            loop {
                match from.recv_timeout(PATIENCE) {
                    Ok(line) => lines.push(line),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return lines.join("\n"),
                    Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server does not end"),
                }
            }
        };
        let (stdout, stderr) = (rest(&self.stdout), rest(&self.stderr));
        let code = self.child.wait().expect("a child").code();
        Ended { code, stdout, stderr }
    }

    /// Waits for a line in its log.
    pub(crate) fn logs(&self, what: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no {what:?} in the log: {error}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    // Clients.

    pub(crate) fn connect(&self) -> Peer {
        self.connect_to("/ws").expect("a WebSocket")
    }

    pub(crate) fn connect_to(&self, target: &str) -> Result<Peer, ClientError> {
        let offer = Offer::random(&self.addr.to_string(), target).expect("an offer");
        self.connect_by(offer)
    }

    pub(crate) fn connect_by(&self, offer: Offer) -> Result<Peer, ClientError> {
        let (mut client, _) = connect_with(self.addr, &WebSocket::new(), offer, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE));
        Ok(Peer { client })
    }

    /// A rich client that has said hello; its welcome is read.
    pub(crate) fn hello(&self, name: &str, rooms: &Value) -> Peer {
        let mut peer = self.connect();
        let session = format!("session-of-{name}");
        peer.say(&json!({"type": "hello", "user": name, "session": session, "rooms": rooms}));
        let welcome = peer.next();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        peer
    }

    /// One request by hand, and all of the answer.
    pub(crate) fn http(&self, request: &str) -> String {
        let mut stream = self.tcp();
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer and an end");
        String::from_utf8(answer).expect("text")
    }

    /// `GET`, with these headers more.
    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.addr))
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("a connection on loopback");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for line in self.stderr.iter() {
                eprintln!("server: {line}");
            }
        }
    }
}

/// The lines of a pipe, read as they come so that the program never waits for the test.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A WebSocket client that speaks JSON.
pub(crate) struct Peer {
    pub(crate) client: Client<WebSocketCodec>,
}

impl Peer {
    pub(crate) fn say(&mut self, frame: &Value) {
        self.client.write(frame.to_string().into()).expect("the server reads");
    }

    /// A message in the seed's form.
    pub(crate) fn plain(&mut self, user: &str, text: &str) {
        self.say(&json!({"user": user, "text": text}));
    }

    pub(crate) fn message(&mut self, text: &str, nonce: &str) {
        self.say(&json!({"type": "message", "text": text, "nonce": nonce}));
    }

    /// The next frame; fails where there is none in time.
    pub(crate) fn next(&mut self) -> Value {
        match self.client.read().expect("a frame in time") {
            Some(Incoming::Message(message)) => {
                let text = message.as_text().expect("text");
                serde_json::from_str(text).expect("JSON")
            }
            other => panic!("no frame but {other:?}"),
        }
    }

    /// The next frame of this type; others are passed over.
    pub(crate) fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next();
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Reads on to the end, and returns what the close frame said.
    pub(crate) fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.client.read() {
                Ok(Some(Incoming::Closed(frame))) => return frame,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a close frame"),
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }
}
