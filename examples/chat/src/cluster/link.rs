//! The thread that connects to Redis and reads the stream. It decides nothing: what it has goes to the node's thread
//! (`node.rs`), which tells it where to read from, and when to connect anew.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use redis::streams::StreamReadReply;
use redis::{Client, Connection, RedisResult};

use super::Timing;
use super::entry::Read;
use super::node::Input;
use super::scripts::{self, PREFIX};

/// What the link is told, about one of its connections; about an older one it is no longer true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Go {
    pub(super) generation: u64,
    /// The place to read on from; `None`: let go, and connect anew.
    pub(super) from: Option<String>,
}

/// How long to wait before another attempt; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How long Redis holds a read back that finds nothing: an end is noticed so late at most.
const READ_MS: u64 = 500;

/// Both connections: one to read on, and one to post on, since a read that waits holds its connection up.
pub(super) fn dial(client: &Client, timing: &Timing) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(timing.connect)?;
    connection.set_read_timeout(Some(timing.io))?;
    connection.set_write_timeout(Some(timing.io))?;
    Ok(connection)
}

pub(super) struct Link<T> {
    pub(super) client: Client,
    pub(super) timing: Timing,
    pub(super) inputs: SyncSender<Input<T>>,
    pub(super) go: Receiver<Go>,
}

/// The node's thread has ended.
struct Over;

impl<T> Link<T> {
    /// Runs until the node's thread has ended.
    pub(super) fn run(self) {
        let mut wait = FIRST_WAIT;
        for generation in 1.. {
            let lost = match self.live(generation) {
                Ok(Ok(())) => {
                    wait = FIRST_WAIT;
                    continue;
                }
                Ok(Err(Trouble::Dial(why))) => why,
                Ok(Err(Trouble::Read(why))) => {
                    wait = FIRST_WAIT;
                    why
                }
                Err(Over) => return,
            };
            if self.inputs.send(Input::Lost { generation, why: lost }).is_err() {
                return;
            }
            // Nodes that lost Redis together do not come back together.
            let share = 0.5 + fastrand::f64() / 2.0;
            if let Err(RecvTimeoutError::Disconnected) = self.go.recv_timeout(wait.mul_f64(share)) {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One pair of connections, from first to last. `Ok(Ok)`: told to let go.
    fn live(&self, generation: u64) -> Result<Result<(), Trouble>, Over> {
        let (writer, mut reader) = match self.dial_both() {
            Ok(both) => both,
            Err(error) => return Ok(Err(Trouble::Dial(error.to_string()))),
        };
        let linked = Input::Linked { generation, redis: Box::new(writer) };
        self.inputs.send(linked).map_err(|_| Over)?;
        let from = loop {
            let go = self.go.recv().map_err(|_| Over)?;
            if go.generation == generation {
                break go.from;
            }
        };
        let Some(mut events) = from else {
            return Ok(Err(Trouble::Dial("it would not have us".into())));
        };
        let mut signals = "$".to_owned();
        loop {
            let reply = scripts::read(&mut reader, &events, &signals, READ_MS);
            let reply: Option<StreamReadReply> = match reply {
                Ok(reply) => reply,
                Err(error) => return Ok(Err(Trouble::Read(error.to_string()))),
            };
            let entries = take(reply.unwrap_or_default(), &mut events, &mut signals);
            if !entries.is_empty() {
                self.inputs.send(Input::Entries { generation, entries }).map_err(|_| Over)?;
            }
            match self.go.try_recv() {
                Ok(go) if go.generation == generation => return Ok(Ok(())),
                Ok(_) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(Over),
            }
        }
    }

    fn dial_both(&self) -> RedisResult<(Connection, Connection)> {
        Ok((dial(&self.client, &self.timing)?, dial(&self.client, &self.timing)?))
    }
}

enum Trouble {
    Dial(String),
    Read(String),
}

/// The entries of both streams, and the places behind them.
fn take(reply: StreamReadReply, events: &mut String, signals: &mut String) -> Vec<Read> {
    let mut entries = Vec::new();
    for stream in reply.keys {
        let counts = stream.key.strip_prefix(PREFIX) == Some("events");
        if let Some(last) = stream.ids.last() {
            *(if counts { &mut *events } else { &mut *signals }) = last.id.clone();
        }
        for id in &stream.ids {
            match Read::from_redis(id) {
                Some(read) => entries.push(read),
                None => log::warn!("the entry {} of {} is not understood", id.id, stream.key),
            }
        }
    }
    entries
}
