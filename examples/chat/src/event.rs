//! The frames that the server sends, as types. What clients send is in `message.rs`; `docs/chat.md` has both in a table.

use serde::Serialize;

use crate::message::Code;

/// A frame of the server's.
#[derive(Serialize, Debug)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Event<'a> {
    Welcome {
        user: &'a str,
        node: &'a str,
        rooms: Vec<&'a str>,
        limits: Limits,
        commands: &'static [CommandHelp],
    },
    Joined {
        room: &'a str,
        owner: Option<&'a str>,
        /// The first of them by name; `count` is of all.
        people: Vec<&'a str>,
        count: usize,
        topic: Option<&'a str>,
    },
    Left {
        room: &'a str,
    },
    Presence {
        room: &'a str,
        #[serde(flatten)]
        change: Change<'a>,
        people: usize,
    },
    People {
        room: &'a str,
        people: Vec<&'a str>,
        count: usize,
    },
    Rooms {
        rooms: Vec<RoomInfo<'a>>,
        count: usize,
    },
    Message(Said<'a>),
    Action(Said<'a>),
    Private {
        id: u64,
        ts: u64,
        user: &'a str,
        to: &'a str,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        nonce: Option<&'a str>,
    },
    Ack {
        nonce: &'a str,
        id: u64,
        ts: u64,
        room: &'a str,
    },
    History {
        room: &'a str,
        messages: Vec<Event<'a>>,
        more: bool,
        replay: bool,
    },
    Typing {
        room: &'a str,
        user: &'a str,
    },
    Clear {
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
        through: u64,
    },
    Notice {
        level: Level,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a str>,
    },
    Error {
        code: Code,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        nonce: Option<&'a str>,
    },
}

/// What somebody said or did.
#[derive(Serialize, Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) id: u64,
    pub(crate) room: &'a str,
    pub(crate) ts: u64,
    pub(crate) user: &'a str,
    pub(crate) text: &'a str,
    /// Only to the session that chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<&'a str>,
}

/// Who came, went or changed name.
#[derive(Serialize, Debug)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Change<'a> {
    Join {
        user: &'a str,
    },
    Leave {
        user: &'a str,
    },
    Nick {
        user: &'a str,
        was: &'a str,
    },
    /// Many at once, in a large room: some of the names, and how many there were.
    Many {
        joined: &'a [String],
        joins: usize,
        left: &'a [String],
        leaves: usize,
    },
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RoomInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) people: usize,
    pub(crate) owner: Option<&'a str>,
}

/// What a client may send, in characters.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub(crate) text: usize,
    pub(crate) name: usize,
    pub(crate) room: usize,
}

/// A command as the page lists it.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CommandHelp {
    pub(crate) name: &'static str,
    pub(crate) args: &'static str,
    pub(crate) help: &'static str,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Info,
    Warn,
}

impl Event<'_> {
    /// The frame's text. Nothing in these types can fail to be JSON; if it did, the frame would be lost and the log say so.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            log::error!("an event that is no JSON: {error}: {self:?}");
            r#"{"type":"error","code":"busy","text":"an event was lost"}"#.to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_schemas_objects() {
        let said = Said { id: 7, room: "lobby", ts: 9, user: "ann", text: "\"hi\"", nonce: None };
        assert_eq!(
            Event::Message(said).to_json(),
            r#"{"type":"message","id":7,"room":"lobby","ts":9,"user":"ann","text":"\"hi\""}"#
        );
        let change = Change::Nick { user: "bob", was: "bo" };
        assert_eq!(
            Event::Presence { room: "lobby", change, people: 2 }.to_json(),
            r#"{"type":"presence","room":"lobby","event":"nick","user":"bob","was":"bo","people":2}"#
        );
        let error = Event::Error { code: Code::NameTaken, text: "no", nonce: Some("n1") };
        assert_eq!(
            error.to_json(),
            r#"{"type":"error","code":"name_taken","text":"no","nonce":"n1"}"#
        );
        let messages = vec![Event::Action(said)];
        let history = Event::History { room: "lobby", messages, more: false, replay: true };
        assert!(history.to_json().contains(r#""messages":[{"type":"action","id":7,"#));
    }
}
