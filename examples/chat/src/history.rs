//! What was said, kept in SQLite by a thread of its own, so that the loop never waits for the disk.
//!
//! The loop leaves commands in a bounded queue ([`History`]); the thread takes what waits, does all of it in one
//! transaction, and hands back one batch of [`Answer`]s, in the order of the commands. So a busy server pays one fsync
//! for many messages, and an idle one answers at once. An answer to an append means that the message survives a power
//! cut (`synchronous=FULL`).
//!
//! A fault of the disk (locked, full, read-only, corrupt) fails the appends that meet it, each with an answer that says
//! what, and nothing else: the thread goes on, and works again when the fault is gone. The SQL is in `history/sql.rs`;
//! ids are the caller's (`ids.rs`), and so is every rule of the chat.

mod file;
mod sql;
mod store;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Commands that may wait for the thread; see [`Full`].
pub const QUEUE: usize = 1_024;

/// Where history is kept, and how much of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file; `:memory:` keeps nothing beyond the process.
    pub path: PathBuf,
    /// Messages kept for each room; the oldest go first.
    pub per_room: u32,
    /// Rooms that a file may have when it is opened: of those beyond, the ones silent for longest go. After that a room goes
    /// when it is asked to ([`Request::Forget`]).
    pub rooms: u32,
    /// The room that never goes, and has a place among `rooms` whether it is in the file or not.
    pub lobby: String,
    /// How long a write waits for another process's lock on the file before it fails as [`Fault::Locked`].
    pub busy_timeout: Duration,
}

impl Settings {
    /// A file, with 100 messages a room, 1,000 rooms, one of them `lobby`, and 250 ms of patience with a locked file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            per_room: 100,
            rooms: 1_000,
            lobby: "lobby".to_owned(),
            busy_timeout: Duration::from_millis(250),
        }
    }
}

/// A plain message, or an action (`/me`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// `ann: waves`
    Message,
    /// `ann waves`
    Action,
}

/// A message as it is stored, and as it travels between nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Unique over all rooms and nodes; below 2⁵³.
    pub id: u64,
    /// The room's name, in the one spelling that the caller compares by.
    pub room: String,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
    /// Who said it.
    pub user: String,
    /// What was said.
    pub text: String,
    /// How it is shown.
    pub kind: Kind,
    /// The sender's session and its nonce for this message; a resend of the pair is not stored again.
    pub nonce: Option<Nonce>,
}

/// What makes a resend known for one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Nonce {
    /// Made by the client, kept over its reconnects.
    pub session: String,
    /// Unique in the session.
    pub nonce: String,
}

/// A room that history knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// Its owner's name, if one was set.
    pub owner: Option<String>,
    /// The id of its last message; 0 where it never had one.
    pub last_id: u64,
}

/// What was in the file at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The greatest id ever stored, for `Ids::observe`; 0 in a new file.
    pub last_id: u64,
    /// The rooms, by name.
    pub rooms: Vec<Room>,
}

/// Something to do. `T` is the caller's own note of why, and comes back with the answer.
#[derive(Debug)]
pub struct Command<T> {
    /// Handed back in the answer.
    pub tag: T,
    /// What to do.
    pub request: Request,
}

/// What history can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Store a message. Answered with [`Reply::Stored`] or [`Reply::Duplicate`].
    Append(Message),
    /// The newest `limit` messages of a room with ids below `before` (`None`: the newest of all): a page backwards.
    /// Answered with [`Reply::Page`].
    Before {
        /// The room's name.
        room: String,
        /// An exclusive bound.
        before: Option<u64>,
        /// Messages at most; 0 asks for none, and [`Reply::Page::more`] still tells whether there are any.
        limit: u32,
    },
    /// What came in a room after the id `since`: where that is more than `limit`, the newest `limit` of it. Answered with
    /// [`Reply::Page`], whose `more` then says that something between is left out.
    Since {
        /// The room's name.
        room: String,
        /// An exclusive bound; 0 for all.
        since: u64,
        /// Messages at most.
        limit: u32,
    },
    /// Forget a room's messages with ids up to and including `through`. Answered with [`Reply::Done`].
    Clear {
        /// The room's name.
        room: String,
        /// An inclusive bound.
        through: u64,
    },
    /// Forget a room, with its messages and its owner. Answered with [`Reply::Done`], also where there is no such room.
    Forget {
        /// The room's name.
        room: String,
    },
    /// Keep a room's owner, or that it has none; the room need not have messages. Answered with [`Reply::Done`].
    SetOwner {
        /// The room's name.
        room: String,
        /// The owner's name.
        owner: Option<String>,
    },
}

/// What became of a command.
#[derive(Debug)]
pub struct Answer<T> {
    /// As given with the command.
    pub tag: T,
    /// What was asked for, or why not.
    pub result: Result<Reply, StoreError>,
}

/// What a command that went well brings back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The message is on disk; here it is again, to be shown.
    Stored(Message),
    /// It was stored before, by its nonce or by its id, or is no newer than what was forgotten of its room; nothing was
    /// written.
    Duplicate {
        /// The message as it was asked to be stored.
        asked: Message,
        /// The id under which it is stored.
        id: u64,
        /// Its time then, milliseconds since the Unix epoch.
        ts: u64,
        /// Its room then.
        room: String,
    },
    /// Messages of a room, oldest first.
    Page {
        /// The room's name.
        room: String,
        /// The messages, ids ascending.
        messages: Vec<Message>,
        /// [`Request::Before`]: there are older ones. [`Request::Since`]: there are more after `since` than these.
        more: bool,
    },
    /// A clear, an owner, or that a room is forgotten, is on disk.
    Done,
}

/// Why a command failed. An append that failed gives its message back, so that it can still be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreError {
    /// The kind of fault.
    pub fault: Fault,
    /// What SQLite said.
    pub text: String,
    /// The message, where it was an append.
    pub message: Option<Box<Message>>,
}

/// What is wrong with the disk or the file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// Another process holds the file's lock.
    Locked,
    /// The disk, or the file's own limit, is full.
    Full,
    /// The file cannot be written.
    ReadOnly,
    /// The file is damaged.
    Corrupt,
    /// The system failed to read, write or open.
    Io,
    /// The id belongs to another message already: two nodes run under one number.
    IdTaken,
    /// Anything else.
    Other,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Locked => "the history is locked by another process",
            Fault::Full => "the disk is full",
            Fault::ReadOnly => "the history is read-only",
            Fault::Corrupt => "the history is damaged",
            Fault::Io => "the disk failed",
            Fault::IdTaken => "the id is taken",
            Fault::Other => "the history failed",
        };
        write!(f, "{what}: {}", self.text)
    }
}

impl std::error::Error for StoreError {}

/// The file cannot be used; one line that names it and says why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError(pub(crate) String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// The queue is full ([`QUEUE`] commands wait) or the thread has ended; the command comes back. Tell the client `busy`.
#[derive(Debug)]
pub struct Full<T>(pub Command<T>);

/// Takes a batch of answers, on the history's thread, in the order of their commands. It may block (it is meant to hand
/// the batch to the loop and wait its turn, which slows the thread down to the loop's pace), but not for ever: once the
/// loop has ended it must return, as `ServerHandle::run` does.
pub type Answers<T> = Box<dyn Fn(Vec<Answer<T>>) + Send>;

/// The loop's end of the history.
#[derive(Debug)]
pub struct History<T> {
    commands: SyncSender<worker::Input<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> History<T> {
    /// Opens the file, creating it where there is none, and starts the thread.
    ///
    /// # Errors
    ///
    /// One line that says why the file cannot be used: no such directory, no SQLite database, another program's, a newer
    /// version's, locked, out of threads.
    pub fn start(settings: Settings, answers: Answers<T>) -> Result<(Self, Opened), OpenError> {
        let (store, opened) = store::Store::open(settings)?;
        Ok((Self::over(store, answers)?, opened))
    }

    fn over(mut store: store::Store, answers: Answers<T>) -> Result<Self, OpenError> {
        let (commands, inputs) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || worker::run(&mut store, &inputs, &answers))
            .map_err(|error| OpenError(format!("no thread for the history: {error}")))?;
        Ok(Self { commands, thread: Some(thread) })
    }

    /// Leaves a command for the thread, and never waits.
    ///
    /// # Errors
    ///
    /// [`Full`], with the command.
    #[allow(clippy::result_large_err, reason = "what is refused comes back whole")]
    pub fn request(&self, tag: T, request: Request) -> Result<(), Full<T>> {
        let command = Command { tag, request };
        self.commands.try_send(worker::Input::Do(command)).map_err(|refused| match refused {
            TrySendError::Full(worker::Input::Do(command))
            | TrySendError::Disconnected(worker::Input::Do(command)) => Full(command),
            _ => unreachable!("what was sent is a command"),
        })
    }

    /// Does what is queued, commits, writes the log back into the file, and waits for the thread's end. Not on the
    /// loop's thread while the loop runs: the thread may be waiting for the loop to take its answers.
    pub fn stop(mut self) {
        let Some(thread) = self.thread.take() else { return };
        // The thread takes from the queue until it sees this, so there will be room.
        drop(self.commands.send(worker::Input::Stop));
        if thread.join().is_err() {
            log::error!("the history's thread panicked");
        }
    }
}
