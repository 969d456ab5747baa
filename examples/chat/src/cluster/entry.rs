//! What stands in the stream: one JSON object for each thing that happened.
//!
//! Beside it stand the number of the entry (`n`, without holes, so that a reader notices what was trimmed away), the
//! node that posted it (`i`, another one for each run), and that node's own count of its posts (`k`, 0 for what the
//! scripts post by themselves).

use std::collections::HashMap;

use redis::Value;
use redis::streams::StreamId;
use serde::{Deserialize, Serialize};

use crate::history::{Kind, Message, Nonce};

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub(super) enum Entry {
    Message(Said),
    Private {
        id: u64,
        ts: u64,
        user: String,
        to: String,
        text: String,
    },
    Typing {
        room: String,
        user: String,
    },
    Join {
        room: String,
        user: String,
    },
    Leave {
        room: String,
        user: String,
    },
    Nick {
        was: String,
        user: String,
    },
    Clear {
        room: String,
        through: u64,
        by: String,
    },
    Owner {
        room: String,
        owner: String,
    },
    /// A node came, or came back, with all its people: rooms and names.
    Here {
        people: Vec<(String, String)>,
    },
    /// A node went, or was silent for too long.
    Gone {
        node: String,
    },
    /// A session took its name to the node that posted this.
    TakenOver {
        name: String,
        session: String,
    },
}

/// A message in the stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    id: u64,
    room: String,
    ts: u64,
    user: String,
    text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    action: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<(String, String)>,
}

impl From<&Message> for Said {
    fn from(message: &Message) -> Self {
        let Message { id, room, ts, user, text, kind, nonce } = message.clone();
        let nonce = nonce.map(|Nonce { session, nonce }| (session, nonce));
        Self { id, room, ts, user, text, action: kind == Kind::Action, nonce }
    }
}

impl From<Said> for Message {
    fn from(said: Said) -> Self {
        let Said { id, room, ts, user, text, action, nonce } = said;
        let nonce = nonce.map(|(session, nonce)| Nonce { session, nonce });
        let kind = if action { Kind::Action } else { Kind::Message };
        Self { id, room, ts, user, text, kind, nonce }
    }
}

/// A place in a stream. It prints as Redis writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Place {
    ms: u64,
    seq: u64,
}

impl Place {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ms, seq) = text.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// An entry as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Read {
    pub(super) place: Place,
    pub(super) number: u64,
    pub(super) node: String,
    pub(super) key: u64,
    pub(super) entry: Entry,
}

impl Read {
    /// `None` for what is not ours to understand: somebody else's, or a newer version's.
    pub(super) fn from_redis(id: &StreamId) -> Option<Self> {
        let number = |name| text(&id.map, name)?.parse().ok();
        Some(Self {
            place: Place::parse(&id.id)?,
            number: number("n")?,
            node: text(&id.map, "i")?,
            key: number("k")?,
            entry: serde_json::from_str(&text(&id.map, "e")?).ok()?,
        })
    }
}

fn text(map: &HashMap<String, Value>, name: &str) -> Option<String> {
    redis::from_redis_value(map.get(name)?.clone()).ok()
}
