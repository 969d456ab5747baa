//! Good peers of the chat: members who post, and hear each message of their room once and in order; visitors who come, say
//! one thing and go.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wheelhouse::Client;
use wheelhouse::codec::websocket::{
    Incoming, Message, Offer, WebSocket, WebSocketCodec, connect_with,
};

use super::{Life, Peer, said};
use crate::soak::field::{Count, PATIENCE, Timed};

const ROOMS: usize = 4;
const MEMBERS: usize = 6;

/// Who posts in a room, and how often each has.
type Room = Arc<[(String, AtomicU64)]>;

/// One of a room.
#[derive(Debug)]
pub(super) struct Member {
    room: usize,
    number: usize,
    all: Room,
    /// The last number heard of each.
    heard: HashMap<String, u64>,
    /// The last message's id.
    id: u64,
    /// Its own posts that have not come back.
    under_way: VecDeque<(u64, Instant)>,
    unacknowledged: HashSet<String>,
}

/// All members of all rooms.
pub(super) fn members() -> Vec<Member> {
    let mut members = Vec::new();
    for room in 0..ROOMS {
        let all: Room =
            (0..MEMBERS).map(|number| (format!("m{room}-{number}"), AtomicU64::new(0))).collect();
        members.extend((0..MEMBERS).map(|number| Member {
            room,
            number,
            all: Arc::clone(&all),
            heard: HashMap::new(),
            id: 0,
            under_way: VecDeque::new(),
            unacknowledged: HashSet::new(),
        }));
    }
    members
}

fn enter(peer: &Peer, name: &str, room: &str) -> Result<Client<WebSocketCodec>, String> {
    let offer = Offer::random(&peer.server.to_string(), "/ws").map_err(said)?;
    let connected = connect_with(peer.server, &WebSocket::new(), offer, PATIENCE);
    let (mut client, _) = connected.map_err(|error| format!("no WebSocket: {error}"))?;
    let session = format!("session-of-{name}");
    let hello = json!({"type": "hello", "user": name, "session": session, "rooms": {room: 0}});
    client.write(hello.to_string().into()).map_err(said)?;
    Ok(client)
}

fn frame(message: &Message) -> Result<Value, String> {
    let text = message.as_text().ok_or("a binary message from the chat")?;
    let frame: Value = serde_json::from_str(text).map_err(|error| format!("{text:?}: {error}"))?;
    if frame["type"] == "error" {
        return Err(format!("a good peer is refused: {text}"));
    }
    Ok(frame)
}

impl Member {
    fn name(&self) -> &str {
        &self.all[self.number].0
    }

    /// From the entry to the end of the run, and then until all that was posted has been heard.
    pub(super) fn live(&mut self, peer: &mut Peer) -> Life {
        let mut client = enter(peer, self.name(), &format!("room{}", self.room))?;
        let field = Arc::clone(&peer.field);
        let _open = field.opened(1);
        // In another life it may have missed some.
        self.heard.clear();
        self.under_way.clear();
        self.unacknowledged.clear();
        let mut post_at = Instant::now() + Duration::from_millis(peer.random.u64(..500));
        let mut over_since = None;
        loop {
            let now = Instant::now();
            if field.is_over() {
                if self.has_heard_all() {
                    return client.close().map_err(|error| format!("no proper end: {error}"));
                }
                if *over_since.get_or_insert(now) + PATIENCE < now {
                    return Err(format!("not heard in the end: {}", self.missing()));
                }
            } else if post_at <= now {
                self.post(&mut client)?;
                post_at = now + Duration::from_millis(peer.random.u64(300..1_200));
            }
            let wait = post_at.saturating_duration_since(now);
            let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(200));
            client.set_read_timeout(Some(wait));
            match client.read() {
                Ok(Some(Incoming::Message(message))) => self.hear(peer, &frame(&message)?)?,
                Err(error) if error.is_timeout() => self.look_for_silence(field.is_over())?,
                other => return Err(format!("a member is cut off: {other:?}")),
            }
        }
    }

    fn post(&mut self, client: &mut Client<WebSocketCodec>) -> Life {
        let (name, posts) = &self.all[self.number];
        let number = posts.fetch_add(1, Ordering::Relaxed) + 1;
        let nonce = format!("n{number}");
        let text = format!("{name} {number}");
        let post = json!({"type": "message", "text": text, "nonce": nonce});
        self.under_way.push_back((number, Instant::now()));
        self.unacknowledged.insert(nonce);
        client.write(post.to_string().into()).map_err(said)
    }

    fn hear(&mut self, peer: &Peer, frame: &Value) -> Life {
        if frame["type"] == "ack" {
            let nonce = frame["nonce"].as_str().unwrap_or_default();
            if self.unacknowledged.remove(nonce) {
                return Ok(());
            }
            return Err(format!("an ack of what was not posted: {frame}"));
        }
        if frame["type"] != "message" {
            return Ok(()); // who comes and goes
        }
        let id = frame["id"].as_u64().unwrap_or_default();
        if id <= self.id {
            return Err(format!("message {id} came behind message {}", self.id));
        }
        self.id = id;
        let told = frame["text"].as_str().and_then(|text| text.split_once(' '));
        let Some((who, Ok(number))) = told.map(|(who, number)| (who, number.parse::<u64>())) else {
            return Err(format!("what nobody posted: {frame}"));
        };
        match self.heard.insert(who.to_owned(), number) {
            Some(before) if number != before + 1 => {
                return Err(format!("message {number} of {who} came behind its number {before}"));
            }
            _ => {}
        }
        if who == self.name() {
            match self.under_way.pop_front() {
                Some((expected, posted)) if expected == number => {
                    peer.field.time(Timed::Chat, posted.elapsed());
                }
                other => return Err(format!("its own post {number} came as {other:?}")),
            }
        }
        peer.field.count(Count::Heard, 1);
        Ok(())
    }

    /// A post that does not come back is lost.
    fn look_for_silence(&self, is_over: bool) -> Life {
        match self.under_way.front() {
            Some((number, posted)) if !is_over && posted.elapsed() > PATIENCE => {
                Err(format!("post {number} has not come back for {:.1?}", posted.elapsed()))
            }
            _ => Ok(()),
        }
    }

    /// Whether every post of the room has come, of those that were there before it there may be none.
    fn has_heard_all(&self) -> bool {
        let is_last = |(who, posts): &(String, AtomicU64)| {
            let heard = self.heard.get(who);
            heard.is_none_or(|heard| *heard == posts.load(Ordering::Relaxed))
        };
        self.under_way.is_empty() && self.unacknowledged.is_empty() && self.all.iter().all(is_last)
    }

    fn missing(&self) -> String {
        let each = self.all.iter().map(|(who, posts)| {
            let heard = self.heard.get(who).copied().unwrap_or_default();
            format!("{heard} of {} from {who}", posts.load(Ordering::Relaxed))
        });
        let posts = each.collect::<Vec<_>>().join(", ");
        format!("{posts}; {} without an ack", self.unacknowledged.len())
    }
}

/// Comes, says one thing, waits for its ack, goes.
pub(super) fn visit(peer: &mut Peer) -> Life {
    let asked = Instant::now();
    let name = format!("v{:x}", peer.random.u64(..));
    let mut client = enter(peer, &name, "hall")?;
    let field = Arc::clone(&peer.field);
    let _open = field.opened(1);
    let post = json!({"type": "message", "text": "just looking in", "nonce": "only"});
    client.write(post.to_string().into()).map_err(said)?;
    client.set_read_timeout(Some(PATIENCE));
    loop {
        match client.read() {
            Ok(Some(Incoming::Message(message))) => {
                if frame(&message)?["type"] == "ack" {
                    break;
                }
            }
            other => return Err(format!("a visitor is cut off: {other:?}")),
        }
    }
    field.time(Timed::Visit, asked.elapsed());
    field.count(Count::Visits, 1);
    if peer.random.bool() {
        client.close().map_err(|error| format!("no proper end: {error}"))?;
    }
    peer.pause_between(200, 600);
    Ok(())
}
