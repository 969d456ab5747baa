//! The frames that clients send, as types, and what is wrong with those that make no sense. What the server sends is in
//! `event.rs`; `docs/chat.md` has both in a table.
//!
//! A frame from a client is read leniently (unknown fields are ignored, many may be left out) and refused exactly: every
//! refusal has a code for programs and a sentence for people.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{Key, bare_room};

/// The longest `nonce`, in characters.
pub(crate) const LONGEST_NONCE: usize = 64;

/// Characters in what a refusal says.
const LONGEST_REFUSAL: usize = 300;

/// How long a `session` may be, in characters.
const SESSION_LENGTHS: std::ops::RangeInclusive<usize> = 8..=64;

/// A frame that makes sense. Whether it is also allowed is for the hub to say.
#[derive(PartialEq, Debug)]
pub(crate) enum Request<'a> {
    Hello(Hello<'a>),
    /// `user` is set in the plain form alone, the one without a `type`; `text` is [`printable`].
    Message {
        user: Option<Cow<'a, str>>,
        room: Option<Cow<'a, str>>,
        text: Cow<'a, str>,
        nonce: Option<Cow<'a, str>>,
    },
    History {
        room: Option<Cow<'a, str>>,
        before: Option<u64>,
        limit: Option<u32>,
    },
    Typing {
        room: Option<Cow<'a, str>>,
    },
}

/// The first frame of a rich client.
#[derive(PartialEq, Debug)]
pub(crate) struct Hello<'a> {
    pub(crate) user: Cow<'a, str>,
    pub(crate) session: Option<Cow<'a, str>>,
    /// Rooms to be in, each with the last message seen there.
    pub(crate) rooms: BTreeMap<Cow<'a, str>, u64>,
}

/// All fields that any frame may have.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    nonce: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rooms: Option<BTreeMap<Cow<'a, str>, u64>>,
    before: Option<u64>,
    limit: Option<u32>,
}

impl<'a> Request<'a> {
    /// Reads a frame.
    pub(crate) fn parse(frame: &'a str) -> Result<Self, Refusal> {
        let fields: Fields<'a> = serde_json::from_str(frame).map_err(|error| {
            let code = if error.is_data() { Code::BadRequest } else { Code::BadJson };
            Refusal::new(code, error)
        })?;
        let missing = |field: &str, kind: &str| {
            Refusal::new(Code::BadRequest, format!("a {kind} needs a field {field:?}"))
        };
        let Fields { kind, text, user, session, room, nonce, rooms, before, limit } = fields;
        let kind = kind.as_deref();
        match kind {
            None | Some("message") => {
                let text = text.ok_or_else(|| missing("text", "message"))?;
                check_nonce(nonce.as_deref())?;
                let user = user.filter(|_| kind.is_none());
                Ok(Self::Message { user, room, text: printable(text), nonce })
            }
            Some("hello") => {
                let user = user.ok_or_else(|| missing("user", "hello"))?;
                check_session(session.as_deref())?;
                Ok(Self::Hello(Hello { user, session, rooms: rooms.unwrap_or_default() }))
            }
            Some("history") => Ok(Self::History { room, before, limit }),
            Some("typing") => Ok(Self::Typing { room }),
            Some(other) => Err(Refusal::new(
                Code::BadRequest,
                format!("no such type: {other:?}; there are hello, message, history and typing"),
            )),
        }
    }
}

impl Request<'_> {
    /// By which its sender knows it again when it is refused.
    pub(crate) fn nonce(&self) -> Option<&str> {
        match self {
            Self::Message { nonce, .. } => nonce.as_deref(),
            _ => None,
        }
    }
}

fn check_nonce(nonce: Option<&str>) -> Result<(), Refusal> {
    match nonce.map(|nonce| nonce.chars().count()) {
        Some(length) if length == 0 || length > LONGEST_NONCE => Err(Refusal::new(
            Code::BadRequest,
            format!("a nonce of {length} characters: it has 1 to {LONGEST_NONCE}"),
        )),
        _ => Ok(()),
    }
}

fn check_session(session: Option<&str>) -> Result<(), Refusal> {
    let Some(session) = session else { return Ok(()) };
    let allowed = session.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if allowed && SESSION_LENGTHS.contains(&session.len()) {
        return Ok(());
    }
    Err(Refusal::new(Code::BadRequest, "a session is 8 to 64 characters of A-Z, a-z, 0-9 and -"))
}

/// Why a frame was refused.
#[derive(PartialEq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl Refusal {
    /// The text may quote what was sent, and is cut where that is long.
    pub(crate) fn new(code: Code, text: impl ToString) -> Self {
        let mut text = text.to_string();
        if let Some((end, _)) = text.char_indices().nth(LONGEST_REFUSAL) {
            text.truncate(end);
            text.push('…');
        }
        Self { code, text }
    }
}

/// The same for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    BadJson,
    BadRequest,
    TooLong,
    BadName,
    NameTaken,
    BadRoom,
    NotInRoom,
    RateLimited,
    NotOwner,
    NoSuchUser,
    Storage,
    Busy,
}

/// Why the server closes a connection of its own accord; the library has more reasons, and closes by itself then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CloseCode {
    /// 1000: there is nothing more to say.
    Normal,
    /// 1001: the server is stopping.
    GoingAway,
    /// 1008: this peer does what it may not.
    Policy,
}

/// Without what would ring a terminal's bell or move its cursor; line breaks and tabs stay. Done once, where a frame is
/// read, so that all who look into a text find the same command in it.
fn printable(text: Cow<'_, str>) -> Cow<'_, str> {
    let unwanted = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(unwanted) {
        text.chars().filter(|c| !unwanted(*c)).collect::<String>().into()
    } else {
        text
    }
}

/// The rooms of a hello, each once, with its key. Two spellings of one room are one; the lower id asks for more.
pub(crate) fn distinct_rooms<'a>(
    rooms: &'a BTreeMap<Cow<'_, str>, u64>,
) -> BTreeMap<Key, (&'a str, u64)> {
    let mut distinct: BTreeMap<Key, (&str, u64)> = BTreeMap::new();
    for (name, seen) in rooms {
        let known = distinct.entry(Key::of(bare_room(name))).or_insert((name, *seen));
        known.1 = known.1.min(*seen);
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(frame: &str) -> Refusal {
        Request::parse(frame).expect_err(frame)
    }

    #[test]
    fn the_plain_form_is_a_message() {
        let request = Request::parse(r#"{"text": "Привет", "user": "Вася", "color": [1, {}]}"#);
        let (user, text) = (Some("Вася".into()), "Привет".into());
        assert_eq!(request, Ok(Request::Message { user, room: None, text, nonce: None }));
        let request = Request::parse(r#"{"type":"message","text":"a\nb","user":"ignored"}"#);
        let text = "a\nb".into();
        assert_eq!(request, Ok(Request::Message { user: None, room: None, text, nonce: None }));
    }

    #[test]
    fn a_hello_names_rooms_and_a_session() {
        let frame =
            r#"{"type":"hello","user":"ann","session":"0123-4567","rooms":{"Lobby":12,"b":0}}"#;
        let Ok(Request::Hello(hello)) = Request::parse(frame) else { panic!("a hello") };
        assert_eq!((&*hello.user, hello.session.as_deref()), ("ann", Some("0123-4567")));
        assert_eq!(hello.rooms.get("Lobby"), Some(&12));
        let distinct = distinct_rooms(&hello.rooms);
        assert_eq!(distinct[&Key::of("lobby")], ("Lobby", 12));
    }

    #[test]
    fn what_is_no_json_and_what_is_no_request_are_told_apart() {
        let broken = ["", "{", "hi", "{\"text\":", "\u{0}", "{\"text\":\"\\ud800\"}", "{}{}"];
        for frame in broken {
            assert_eq!(refused(frame).code, Code::BadJson, "{frame}");
        }
        let senseless = [
            "{}",
            "[]",
            "3",
            "null",
            r#"{"text":3}"#,
            r#"{"text":"a","text":"b"}"#,
            r#"{"type":"hello"}"#,
            r#"{"type":"dance"}"#,
            r#"{"type":"history","before":-1}"#,
            r#"{"type":"history","before":1e300}"#,
            r#"{"type":"hello","user":"a","rooms":["lobby"]}"#,
            r#"{"type":"hello","user":"a","session":"short"}"#,
            r#"{"type":"hello","user":"a","session":"nine chars"}"#,
            r#"{"text":"a","nonce":""}"#,
        ];
        for frame in senseless {
            assert_eq!(refused(frame).code, Code::BadRequest, "{frame}");
        }
        assert_eq!(refused(&"[".repeat(100_000)).code, Code::BadRequest, "an array, however deep");
        let deep = format!(r#"{{"text":"a","x":{}"#, "[".repeat(100_000));
        assert_eq!(refused(&deep).code, Code::BadJson, "deeper than any stack");
        let long = format!(r#"{{"text":"a","nonce":"{}"}}"#, "n".repeat(65));
        assert!(refused(&long).text.contains("65"));
        assert!(refused(r#"{"type":"dance"}"#).text.contains("dance"));
        let loud = format!(r#"{{"type":"{}"}}"#, "я".repeat(10_000));
        assert!(refused(&loud).text.chars().count() < 310, "it is not told back all of it");
    }

    #[test]
    fn what_a_terminal_would_obey_is_left_out() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\n\tc".into()), "a[2Jb\n\tc");
        assert!(matches!(printable("plain".into()), Cow::Borrowed(_)));
        let request = Request::parse(r#"{"text":"/nick\u0007 ann"}"#);
        assert!(matches!(request, Ok(Request::Message { text, .. }) if text == "/nick ann"));
    }
}
