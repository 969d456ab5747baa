//! A Redis of a test's own: on a free port, with its data in a directory that goes with it, ended by its own id.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct Redis {
    port: u16,
    process: Option<Child>,
    dir: tempfile::TempDir,
}

impl Redis {
    /// A running server; `None` where none is installed, which is loudly told, and in CI is a failure.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
            let skipped = "SKIPPED: redis-server is not installed, the nodes were not tested";
            // Not by `eprintln!`, which a passing test keeps to itself.
            std::io::stderr().write_all(format!("\n*** {skipped} ***\n").as_bytes()).unwrap();
            return None;
        }
        // Somebody else may take the port in between; then the server does not start, and another is tried.
        let dir = tempfile::tempdir().unwrap();
        let mut redis = Self { port: 0, process: None, dir };
        for _ in 0..10 {
            redis.port = free_port();
            if redis.run() {
                return Some(redis);
            }
        }
        panic!("redis-server does not start on any of ten ports");
    }

    /// A server that is not there yet, on the port where it will be.
    #[allow(dead_code, reason = "not every test wants it")]
    pub(crate) fn later() -> Option<Self> {
        let mut redis = Self::start()?;
        redis.kill();
        Some(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs it on its port, and waits until it says that it is ready; `false` if it ends instead.
    fn run(&mut self) -> bool {
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Ready to accept")));
        // What it says later is of no interest, but must not fill its pipe up.
        std::thread::spawn(move || lines.for_each(drop));
        self.process = Some(process);
        if !ready {
            self.kill();
        }
        ready
    }

    /// Ends it without a warning: what it held is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Runs it again, empty, where it was.
    #[allow(dead_code, reason = "not every test wants it")]
    pub(crate) fn run_again(&mut self) {
        assert!(self.process.is_none() && self.run(), "it runs again");
    }

    #[allow(dead_code, reason = "not every test wants it")]
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    #[allow(dead_code, reason = "not every test wants it")]
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running server");
        kill_process(Pid::from_child(process), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
