//! The client of a chat of lines: it hears while you type, and comes back when the connection is lost.
//!
//! ```sh
//! cargo run --release --example chat_client -- --name ann                     # joins 127.0.0.1:8866
//! echo 'hello, all' | cargo run --release --example chat_client -- --name bob # says one line, and leaves
//! ```
//!
//! Two threads have a half of the connection each: the main one sends what is typed, the other prints what comes, so that
//! neither waits for the other. At a terminal, rustyline keeps the line that is being typed below what comes in; where
//! input is a pipe or a file, lines are sent as they are read. Ctrl-D, the input's end or `/quit` ends it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Parser;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use wheelhouse::codec::LinesCodec;
use wheelhouse::{Client, ClientError, ClientReader, ClientWriter};

const LONGEST_LINE: usize = 64 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// After a lost connection: the first wait, which doubles up to the longest, and how often a pipe tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const TRIES_OF_A_PIPE: u32 = 8;
/// How long to hear what the server still says once this side has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Joins a chat.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address of the server
    #[arg(long, default_value = "127.0.0.1:8866", value_name = "HOST:PORT")]
    addr: String,

    /// Your name [default: the server asks]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    let bad = text.trim().is_empty() || text.contains(char::is_control);
    if bad { Err("a name is one line, and not empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn main() -> ExitCode {
    let args = Args::parse(); // a bad argument ends here, with exit code 2
    match chat(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat_client: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;
type Printer = Box<dyn FnMut(String) + Send>;

fn chat(args: Args) -> Result<(), Failure> {
    let mut editor = if io::stdin().is_terminal() && io::stdout().is_terminal() {
        Some(DefaultEditor::new()?)
    } else {
        None
    };
    let printer: Printer = match &mut editor {
        Some(editor) => {
            let mut printer = editor.create_external_printer()?;
            // An error: the terminal is gone, and reading from it will say so.
            Box::new(move |line| drop(printer.print(format!("{line}\n"))))
        }
        None => Box::new(print_plainly),
    };
    // Nobody there at the start is an error, not a wait.
    let (reader, writer) = connect(&args).map_err(|error| format!("{}: {error}", args.addr))?;
    let line = Arc::new(Line::new(writer));
    let (tell_end, ended) = mpsc::channel();
    let hearer = Hearer {
        line: Arc::clone(&line),
        printer,
        tries: editor.is_none().then_some(TRIES_OF_A_PIPE),
        tell_end,
        args,
    };
    thread::Builder::new().name("hearer".into()).spawn(move || hearer.hear(reader))?;
    match editor {
        Some(editor) => type_lines(editor, &line),
        None => pipe_lines(&line),
    }?;
    part(&line, &ended);
    Ok(())
}

fn connect(
    args: &Args,
) -> Result<(ClientReader<LinesCodec>, ClientWriter<LinesCodec>), ClientError> {
    let codec = LinesCodec::new(LONGEST_LINE).lossy();
    let mut client = Client::connect_timeout(args.addr.as_str(), CONNECT_WITHIN, codec)?;
    if let Some(name) = &args.name {
        client.write(name.as_str())?;
    }
    Ok(client.split())
}

/// Ends this side, and waits for the server to end its own: it has something to say to what came last.
fn part(line: &Line, ended: &Receiver<()>) {
    if let State::Up { mut writer, .. } = line.set(State::Leaving) {
        // An error: the server has closed already.
        if writer.finish().is_err() || ended.recv_timeout(LAST_WORDS).is_err() {
            writer.hang_up();
        }
    }
}

// The connection, as both threads see it.

struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Up {
        writer: ClientWriter<LinesCodec>,
        /// `/quit` was sent: the end that comes now is no loss.
        quitting: bool,
    },
    /// Lost; the hearer is at work on another.
    Down,
    /// Lost for good.
    Lost(String),
    /// This side wants no more.
    Leaving,
}

impl State {
    fn up(writer: ClientWriter<LinesCodec>) -> Self {
        Self::Up { writer, quitting: false }
    }

    fn is_left(&self) -> bool {
        matches!(self, Self::Leaving | Self::Up { quitting: true, .. })
    }
}

impl Line {
    fn new(writer: ClientWriter<LinesCodec>) -> Self {
        Self { state: Mutex::new(State::up(writer)), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) -> State {
        let old = std::mem::replace(&mut *self.state(), state);
        self.changed.notify_all();
        old
    }

    /// Moves on, unless this side is leaving. Says whether it is.
    fn is_left_or_set(&self, state: State) -> bool {
        let mut now = self.state();
        let left = now.is_left();
        if !left {
            *now = state;
            self.changed.notify_all();
        }
        left
    }

    /// Sends a line, or says why not.
    fn send(&self, text: &str) -> Result<(), String> {
        match &mut *self.state() {
            State::Up { writer, quitting } => {
                *quitting = is_quit(text);
                writer.write(text).map_err(|error| error.to_string())
            }
            State::Lost(why) => Err(why.clone()),
            State::Down | State::Leaving => Err("not connected".to_owned()),
        }
    }

    /// Waits until there is a connection, or will be none.
    fn wait_up(&self) -> Result<(), String> {
        let waiting = |state: &mut State| matches!(state, State::Down);
        let state = self.changed.wait_while(self.state(), waiting);
        match &*state.unwrap_or_else(PoisonError::into_inner) {
            State::Lost(why) => Err(why.clone()),
            _ => Ok(()),
        }
    }
}

// The thread that sends.

fn type_lines(mut editor: DefaultEditor, line: &Line) -> Result<(), Failure> {
    loop {
        match editor.readline("> ") {
            Ok(text) => {
                if let Err(why) = line.send(&text) {
                    println!("* not sent: {why}");
                }
                if is_quit(&text) {
                    return Ok(());
                }
                let _ = editor.add_history_entry(text); // without it, the arrow up finds less
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn pipe_lines(line: &Line) -> Result<(), Failure> {
    for text in io::stdin().lock().lines() {
        let text = text?;
        line.wait_up()?;
        line.send(&text)?;
        if is_quit(&text) {
            break;
        }
    }
    Ok(())
}

fn is_quit(text: &str) -> bool {
    text.trim() == "/quit"
}

// The thread that hears.

struct Hearer {
    line: Arc<Line>,
    printer: Printer,
    /// Attempts at a new connection; `None`: for as long as somebody sits there.
    tries: Option<u32>,
    tell_end: Sender<()>,
    args: Args,
}

impl Hearer {
    /// Prints what comes, over one connection after another, until this side leaves or there is none.
    fn hear(mut self, mut reader: ClientReader<LinesCodec>) {
        loop {
            let why = self.print_all(&mut reader);
            if self.line.is_left_or_set(State::Down) {
                break;
            }
            (self.printer)(format!("* {why}; connecting again"));
            match self.reconnect() {
                Some(next) => reader = next,
                None => break,
            }
        }
        let _ = self.tell_end.send(()); // an error: the main thread is gone already
    }

    fn print_all(&mut self, reader: &mut ClientReader<LinesCodec>) -> String {
        loop {
            match reader.read() {
                Ok(Some(text)) => (self.printer)(printable(&text)),
                Ok(None) => return "the server ended the connection".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn reconnect(&mut self) -> Option<ClientReader<LinesCodec>> {
        let mut wait = FIRST_WAIT;
        for attempt in 1_u64.. {
            if self.left_within(wait) {
                return None;
            }
            let why = match connect(&self.args) {
                Ok((reader, writer)) => {
                    return (!self.line.is_left_or_set(State::up(writer))).then_some(reader);
                }
                Err(error) => error.to_string(),
            };
            if self.tries.is_some_and(|tries| attempt >= u64::from(tries)) {
                self.line.is_left_or_set(State::Lost(why));
                return None;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        None
    }

    /// Waits so long before the next attempt, or until this side leaves.
    fn left_within(&self, wait: Duration) -> bool {
        let staying = |state: &mut State| !state.is_left();
        let waited = self.line.changed.wait_timeout_while(self.line.state(), wait, staying);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

fn print_plainly(line: String) {
    let mut out = io::stdout().lock();
    // An error: nobody reads any more, as with `| head -1`.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Without what would move the cursor or ring the bell: not every server takes that out.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}
