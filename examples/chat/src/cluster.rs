//! Several chat servers as one, joined by Redis.
//!
//! There is one Redis stream for all that happens. A node posts with a script that makes each message known by its nonce
//! and puts it after the last one, so the order of the stream is the order of the ids; and every node, the one that
//! posted too, shows what it reads back from the stream. So all show the same, in the same order, and a message that
//! came back is one that the others see as well. (Publish/subscribe would be simpler, but what it says while a node is
//! away is lost, and its order and the ids' order are two things.)
//!
//! Who is where is kept in Redis beside the stream, changed by the same scripts that post the change, so that a newcomer
//! gets a list and the place in the stream that it is true for. Each node says every two seconds that it lives; one
//! that does not for ten seconds is taken out, with its people and names, by whoever notices first, and the stream says
//! so to all.
//!
//! When Redis is lost, each node says so once ([`Event::Down`]) and goes on for itself: messages are shown at once under
//! the ids that they already have, and kept (the first [`BACKLOG`] of them) to be posted when Redis is back
//! ([`Event::Up`]). They keep their ids, so histories agree again everywhere, while those who are online elsewhere see
//! them late. Posting twice is harmless: the nonce makes the second one nothing. A name that was taken on both sides goes
//! to the node that is back first; the other's is given a suffix ([`Event::Renamed`]).
//!
//! One thread (`cluster/node.rs`) decides everything and talks to the loop; another (`cluster/link.rs`) connects and
//! reads. Nothing of this runs without `--redis`.

mod entry;
mod link;
mod node;
mod roster;
mod scripts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use self::scripts::Me;
use crate::history::Message;
use crate::ids::Ids;

/// Posts that may wait for the thread; see [`Full`].
pub const QUEUE: usize = 1_024;

/// Messages kept while Redis is lost. Those after them are shown here and never reach the other nodes.
pub const BACKLOG: usize = 1_000;

/// Whom to join.
#[derive(Clone)]
pub struct Settings {
    /// `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path`.
    pub url: String,
    /// This node's number, 0 to 63; `None` takes a free one.
    pub node: Option<u8>,
    /// Characters in a name, for the suffix of a name that is taken.
    pub name_limit: usize,
}

/// Something to tell the other nodes. Rooms and names are in the spelling that is shown; names are compared in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Post<T> {
    /// A message. Its id is given here, from the shared `Ids`; that in `message` is not looked at. It comes back as
    /// [`Event::Message`] with the tag, also where it is a resend of one that is known (then with the id of that).
    Message {
        /// Handed back with the event, here alone.
        tag: T,
        /// What was said.
        message: Message,
    },
    /// A message to one person, wherever they are. It comes back as [`Event::Private`], here too, or as
    /// [`Event::Undelivered`].
    Private {
        /// What was said; not stored anywhere.
        private: Private,
    },
    /// Somebody here is typing. Comes to the others alone; dropped while Redis is lost.
    Typing {
        /// The room's name.
        room: String,
        /// Who.
        user: String,
    },
    /// Somebody here came into a room.
    Join {
        /// The room's name.
        room: String,
        /// Who.
        user: String,
    },
    /// Somebody here left a room.
    Leave {
        /// The room's name.
        room: String,
        /// Who.
        user: String,
    },
    /// Somebody here has another name now (granted by [`Post::Claim`]); the old one is free.
    Nick {
        /// The old name.
        was: String,
        /// The new name.
        user: String,
    },
    /// A name for somebody here. Answered by [`Event::Claimed`].
    Claim {
        /// Handed back with the event.
        tag: T,
        /// The name.
        name: String,
        /// The client's session, which may take the name from its own dead connection at another node.
        session: Option<String>,
    },
    /// Somebody here is gone, and the name is free. Their [`Post::Leave`]s come before.
    Release {
        /// The name.
        name: String,
    },
    /// A room's history is cleared through an id. It comes back as [`Event::Clear`], in its place among the messages.
    Clear {
        /// The room's name.
        room: String,
        /// An inclusive bound of ids.
        through: u64,
        /// Who did it.
        by: String,
    },
    /// A room's owner. With `only_if_none` the first one stays. The owner that stands comes back as [`Event::Owner`].
    Owner {
        /// The room's name.
        room: String,
        /// The owner's name.
        owner: String,
        /// Whether an owner that is there already stays.
        only_if_none: bool,
    },
}

/// A message to one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Private {
    /// Unique, from `Ids::next`.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
    /// Who said it.
    pub user: String,
    /// To whom.
    pub to: String,
    /// What was said.
    pub text: String,
}

/// Something that happened, in the order of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<T> {
    /// Redis is there: at the start, and again after a [`Event::Down`]. A [`Event::Roster`] follows.
    Up {
        /// This node's number; it may be another than before, where somebody took it meanwhile.
        node: u8,
        /// Messages said here meanwhile that the backlog had no room for: the others will never see them.
        unsent: u64,
        /// Redis lost its memory: what others said last, while we were away, may be missing here.
        forgot: bool,
    },
    /// Redis is lost. Tell everybody; messages go on, here alone. Told once.
    Down {
        /// What happened, for the log.
        why: String,
    },
    /// A message, to store and then to show. It may be one that is stored already (a resend, or what came since the last
    /// run): history says so, and it is not shown again.
    Message {
        /// As posted, where it was posted here since the start.
        tag: Option<T>,
        /// What was said; its id is final.
        message: Message,
    },
    /// To show, to `to` and to `user`, whichever is here.
    Private(Private),
    /// A private message from here, back again: nobody has that name on any node.
    Undelivered(Private),
    /// Somebody elsewhere is typing.
    Typing {
        /// The room's name.
        room: String,
        /// Who.
        user: String,
    },
    /// Somebody elsewhere came into a room.
    Join {
        /// The room's name.
        room: String,
        /// Who.
        user: String,
    },
    /// Somebody elsewhere left a room, or their node died.
    Leave {
        /// The room's name.
        room: String,
        /// Who.
        user: String,
    },
    /// Somebody elsewhere has another name now.
    Nick {
        /// The old name.
        was: String,
        /// The new name.
        user: String,
    },
    /// Everybody elsewhere, in place of all that was told before: room and name. Empty some seconds after a
    /// [`Event::Down`], since nobody elsewhere can be reached then.
    Roster(Vec<(String, String)>),
    /// What became of a claim. While Redis is lost every claim is granted.
    Claimed {
        /// As posted.
        tag: T,
        /// As posted.
        name: String,
        /// Whether the name is yours.
        granted: bool,
    },
    /// A session of yours took this name at another node: its connection here is dead; close it, and post nothing of it
    /// but its leaves.
    TakenOver {
        /// The name.
        name: String,
    },
    /// The name was taken elsewhere while Redis was lost; this one is claimed instead. Rename the client, and post the
    /// nick as ever.
    Renamed {
        /// The old name.
        was: String,
        /// The new name.
        now: String,
    },
    /// Clear a room's history.
    Clear {
        /// The room's name.
        room: String,
        /// An inclusive bound of ids.
        through: u64,
        /// Who did it.
        by: String,
    },
    /// A room's owner, as all nodes know it.
    Owner {
        /// The room's name.
        room: String,
        /// The owner's name.
        owner: String,
    },
    /// So many events were trimmed from the stream before this node could read them: histories differ now.
    Gap {
        /// Events, not all of them messages.
        missed: u64,
    },
}

/// The queue is full ([`QUEUE`] posts wait) or the thread has ended; the post comes back. Tell the client `busy`.
#[derive(Debug)]
pub struct Full<T>(pub Post<T>);

/// Takes a batch of events, on the cluster's thread. The same rules as for `history::Answers`: it may block until the
/// loop takes the batch, but must return once the loop has ended.
pub type Events<T> = Box<dyn Fn(Vec<Event<T>>) + Send>;

/// Redis cannot be used as asked; one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(pub(crate) String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// How long things take.
#[derive(Clone, Debug)]
struct Timing {
    /// To connect.
    connect: Duration,
    /// To be answered.
    io: Duration,
    /// Between two words that a node lives.
    beat: Duration,
    /// Without such a word, until a node is taken for dead.
    alive: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { connect: secs(1), io: secs(2), beat: secs(2), alive: secs(10) }
    }
}

/// The loop's end of the cluster.
#[derive(Debug)]
pub struct Cluster<T> {
    inputs: SyncSender<node::Input<T>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Cluster<T> {
    /// Joins the other servers. With a node number given it returns at once, joined or not; without one it asks Redis for
    /// a free number first (3 s at most), and sets it in `ids`.
    ///
    /// # Errors
    ///
    /// A URL that is none; no number was given and Redis cannot be reached, or all 64 numbers are taken.
    pub fn start(
        settings: &Settings,
        ids: Arc<Ids>,
        events: Events<T>,
    ) -> Result<Self, StartError> {
        Self::start_in(settings, Timing::default(), ids, events)
    }

    fn start_in(
        settings: &Settings,
        timing: Timing,
        ids: Arc<Ids>,
        events: Events<T>,
    ) -> Result<Self, StartError> {
        let client = redis::Client::open(&*settings.url)
            .map_err(|error| StartError(format!("the Redis URL cannot be used: {error}")))?;
        let mut me = Me {
            // Another one for each run: what an earlier run left in the stream is somebody else's.
            node: format!("{:016x}", fastrand::u64(..)),
            number: settings.node,
            insist: settings.node.is_some(),
            alive_ms: u64::try_from(timing.alive.as_millis()).unwrap_or(u64::MAX),
        };
        let number = match settings.node {
            Some(number) => number,
            None => take_number(&client, &timing, &me)?,
        };
        me.number = Some(number);
        ids.set_node(number);

        let (inputs, taken) = sync_channel(QUEUE);
        let (go, told) = sync_channel(4);
        let stopping = Arc::new(AtomicBool::new(false));
        let link = link::Link { client, timing: timing.clone(), inputs: inputs.clone(), go: told };
        let name_limit = settings.name_limit;
        let flag = Arc::clone(&stopping);
        let parts = node::Parts { me, name_limit, timing, ids, events, go, stopping: flag };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).spawn(work);
            thread.map_err(|error| StartError(format!("no thread for the cluster: {error}")))
        };
        // The link ends by itself when the node's thread has.
        drop(spawn("cluster-link", Box::new(move || link.run()))?);
        let thread = spawn("cluster", Box::new(move || node::Node::new(parts).run(&taken)))?;
        Ok(Self { inputs, stopping, thread: Some(thread) })
    }

    /// Leaves a post for the thread, and never waits.
    ///
    /// # Errors
    ///
    /// [`Full`], with the post.
    #[allow(clippy::result_large_err, reason = "what is refused comes back whole")]
    pub fn post(&self, post: Post<T>) -> Result<(), Full<T>> {
        self.inputs.try_send(node::Input::Post(post)).map_err(|refused| match refused {
            TrySendError::Full(node::Input::Post(post))
            | TrySendError::Disconnected(node::Input::Post(post)) => Full(post),
            _ => unreachable!("what was sent is a post"),
        })
    }

    /// Posts what is queued, says goodbye to the other nodes, and waits for the thread's end: some seconds at most where
    /// Redis does not answer. Not on the loop's thread while the loop runs.
    pub fn stop(mut self) {
        let Some(thread) = self.thread.take() else { return };
        drop(self.inputs.send(node::Input::Stop));
        if thread.join().is_err() {
            log::error!("the cluster's thread panicked");
        }
    }
}

/// Dropped without a [`stop`](Cluster::stop), it ends soon and says no goodbye that anybody waits for.
impl<T> Drop for Cluster<T> {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.inputs.try_send(node::Input::Stop));
    }
}

fn take_number(client: &redis::Client, timing: &Timing, me: &Me) -> Result<u8, StartError> {
    let number = link::dial(client, timing)
        .and_then(|mut redis| scripts::take_number(&mut redis, me))
        .map_err(|error| {
            StartError(format!(
                "Redis cannot be reached for a node number ({error}); \
                 a server that is given one (--node) starts without"
            ))
        })?;
    u8::try_from(number).map_err(|_| StartError("all 64 node numbers are taken".into()))
}
