//! Servers and loads as child processes. Each ends when its stdin is closed, so none outlives this process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::load::Round;
use crate::peers::Peer;
use crate::plan::{Cell, Work};

/// A child that lives on for so long after its stdin was closed is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, perhaps under a tool that counts.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// Who serves, which is not the child where the child is a tool.
    pub(crate) pid: u32,
}

impl Server {
    /// Starts it on a core, or on any.
    pub(crate) fn start(peer: Peer, work: Work, core: Option<usize>) -> Outcome<Self> {
        Self::start_under(Command::new(std::env::current_exe()?), peer, work, core)
    }

    /// As the last arguments of `tool`.
    pub(crate) fn start_as_its_last_arguments(
        mut tool: Command,
        peer: Peer,
        work: Work,
    ) -> Outcome<Self> {
        tool.arg(std::env::current_exe()?);
        Self::start_under(tool, peer, work, None)
    }

    fn start_under(
        mut command: Command,
        peer: Peer,
        work: Work,
        core: Option<usize>,
    ) -> Outcome<Self> {
        command.args(["serve", peer.name(), work.name()]);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("the server's output is not piped")?;
        BufReader::new(out).read_line(&mut line)?;
        let said = line.trim().split_once(' ');
        match said.and_then(|(port, pid)| Some((port.parse().ok()?, pid.parse().ok()?))) {
            Some((port, pid)) => Ok(Self { child, port, pid }),
            None => Err(last_words(child).into()),
        }
    }

    /// Ends it, and returns what it or its tool has said on stderr.
    pub(crate) fn stop(mut self) -> Outcome<String> {
        end(&mut self.child)?;
        let output = self.child.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// After a failure: what it died of, where it did.
    pub(crate) fn post_mortem(self, error: &dyn std::fmt::Display) -> String {
        match self.stop() {
            Ok(said) if !said.trim().is_empty() => format!("{error}; {}", said.trim()),
            _ => error.to_string(),
        }
    }
}

/// A load, which drives one server.
pub(crate) struct Driver {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    /// Returns when all its connections are served.
    pub(crate) fn start(cell: &Cell, server: &Server, core: Option<usize>) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("drive").arg(serde_json::to_string(cell)?);
        command.args([server.port.to_string(), server.pid.to_string()]);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let orders = child.stdin.take().ok_or("the load's input is not piped")?;
        let answers = child.stdout.take().ok_or("the load's output is not piped")?;
        let mut driver = Self { child, orders, answers: BufReader::new(answers) };
        match driver.answer() {
            Some(answer) if answer.trim() == "ready" => Ok(driver),
            _ => Err(driver.last_words().into()),
        }
    }

    pub(crate) fn round(&mut self, length_ms: u64) -> Outcome<Round> {
        writeln!(self.orders, "round {length_ms}")?;
        let answer = self.answer().ok_or("the load said no more")?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Ends it, and returns what it said on stderr.
    pub(crate) fn last_words(self) -> String {
        let Self { child, orders, answers } = self;
        drop((orders, answers));
        last_words(child)
    }

    /// One line; `None` at the end.
    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.answers.read_line(&mut line).ok()?;
        (count > 0).then_some(line)
    }
}

/// Closes its stdin, which ends it; by force where it does not.
fn end(child: &mut Child) -> Outcome<()> {
    drop(child.stdin.take());
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            return Ok(child.kill()?);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn last_words(mut child: Child) -> String {
    if let Err(error) = end(&mut child) {
        return format!("it cannot be ended: {error}");
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        drop(stderr.read_to_string(&mut said));
    }
    drop(child.wait());
    let said = said.trim();
    if said.is_empty() { "it ended without a word".into() } else { said.to_owned() }
}
