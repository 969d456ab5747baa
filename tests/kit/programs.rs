//! The examples as programs: started beside the test, spoken to, stopped by SIGTERM. No wait without an end.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// The example that is a package of its own.
pub(crate) const CHAT: &str = "wheelhouse-chat";

/// Where cargo puts an example: beside the directory of the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let folder = if name == CHAT { "" } else { "examples" };
    let path = profile.join(folder).join(name);
    let build = "`cargo build --workspace --bins --examples` first";
    assert!(path.exists(), "{} is not built: {build}", path.display());
    path
}

/// An example under way. Dropped, it is killed.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it printed and nobody took.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start<A: AsRef<str>>(name: &str, args: &[A]) -> Self {
        let mut command = Command::new(example(name));
        command
            .args(args.iter().map(AsRef::as_ref))
            .env_remove("RUST_LOG")
            .env("RUST_BACKTRACE", "full"); // so that a panic shows as one
        Self::spawn(name, &mut command).expect("a program that starts")
    }

    /// Starts any program, with its three streams in the test's hands.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> std::io::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = lines_of(child.stdout.take().expect("a pipe"));
        let stderr = lines_of(child.stderr.take().expect("a pipe"));
        Ok(Self { name: name.to_owned(), child, stdin, stdout, stderr })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address that a server says it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        loop {
            let told = if self.name == CHAT { &self.stdout } else { &self.stderr };
            let line = self.next(told, "its address");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split(',').next().unwrap_or(rest);
                let address = address.trim_start_matches("http://");
                return address.parse().expect("an address");
            }
        }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.next(&self.stdout, "a line")
    }

    /// The next line that it prints; `None` is the end of what it prints.
    pub(crate) fn line_or_end(&self) -> Option<String> {
        match self.stdout.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} prints nothing", self.name),
        }
    }

    fn next(&self, from: &Receiver<String>, what: &str) -> String {
        from.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let stderr: Vec<String> = self.stderr.try_iter().collect();
            panic!("{} has not printed {what}: {error}\n{}", self.name, stderr.join("\n"))
        })
    }

    /// Types at it.
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(text.as_bytes()).expect("it reads");
    }

    /// Ends its input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.stdin = None;
        let (stdout, stderr) = (self.rest(&self.stdout), self.rest(&self.stderr));
        let code = self.child.wait().expect("a child").code();
        Ended { code, stdout, stderr }
    }

    /// All of a stream until its end, which is the program's.
    fn rest(&self, from: &Receiver<String>) -> String {
        let mut text = String::new();
        loop {
            match from.recv_timeout(PATIENCE) {
                Ok(line) => text.extend([&line, "\n"]),
                Err(RecvTimeoutError::Disconnected) => return text,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} does not end; so far:\n{text}", self.name)
                }
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Errors: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read as they come so that the program never waits for the test.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            if tell.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}
