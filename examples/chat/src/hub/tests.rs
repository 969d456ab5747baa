//! The hub with no socket, no disk and no clock: a [`World`] says what has happened, and looks at what was sent.

mod nodes;
mod people;
mod random;
mod rooms;
mod talk;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wheelhouse::ConnectionId;
use wheelhouse::codec::BytesCodec;
use wheelhouse::testing::Simulation;

use super::{Hub, Rules};
use crate::cluster::{Full, Post};
use crate::event::{Event, Limits};
use crate::history::{
    Answer, Fault, Message, Opened, Reply, Request, Room as StoredRoom, StoreError,
};
use crate::ids::Ids;
use crate::message::CloseCode;
use crate::pace::Rate;
use crate::wire::{Backstage, Busy, Why, Wire};

/// 2026-11-21, give or take.
const WALL_MS: u64 = 1_795_219_200_000;

/// A history that keeps all in a list, answers when it is told to, and fails when it is told to.
#[derive(Default)]
pub(super) struct Shelf {
    waiting: VecDeque<(Why, Request)>,
    pub(super) kept: Vec<Message>,
    pub(super) owners: Vec<(String, Option<String>)>,
    /// The next appends fail so.
    pub(super) fault: Option<Fault>,
    pub(super) is_full: bool,
    /// Whether there are other nodes, and what they were told.
    pub(super) has_nodes: bool,
    pub(super) posted: Vec<Post<Why>>,
    /// How many more they can be told.
    pub(super) room_for_posts: Option<usize>,
}

struct ShelfOf(Rc<RefCell<Shelf>>);

impl Backstage for ShelfOf {
    fn keep(&self, why: Why, request: Request) -> Result<(), Busy> {
        let mut shelf = self.0.borrow_mut();
        if shelf.is_full {
            return Err(Busy);
        }
        shelf.waiting.push_back((why, request));
        Ok(())
    }

    fn has_nodes(&self) -> bool {
        self.0.borrow().has_nodes
    }

    fn post(&self, post: Post<Why>) -> Result<(), Full<Why>> {
        let mut shelf = self.0.borrow_mut();
        assert!(shelf.has_nodes, "{post:?} to nobody");
        match &mut shelf.room_for_posts {
            Some(0) => return Err(Full(post)),
            Some(room) => *room -= 1,
            None => {}
        }
        shelf.posted.push(post);
        Ok(())
    }
}

impl Shelf {
    fn carry_out(&mut self, request: Request) -> Result<Reply, StoreError> {
        let in_room = |message: &&Message, name: &str| message.room == name;
        match request {
            Request::Append(message) => {
                let same = |kept: &&Message| kept.nonce.is_some() && kept.nonce == message.nonce;
                if let Some(kept) = self.kept.iter().find(same) {
                    let (id, ts, room) = (kept.id, kept.ts, kept.room.clone());
                    return Ok(Reply::Duplicate { asked: message, id, ts, room });
                }
                if let Some(fault) = self.fault {
                    let (text, message) = ("as told".to_owned(), Some(Box::new(message)));
                    return Err(StoreError { fault, text, message });
                }
                self.kept.push(message.clone());
                Ok(Reply::Stored(message))
            }
            Request::Before { room, before, limit } => {
                let older = self.kept.iter().filter(|kept| in_room(kept, &room));
                let older = older.filter(|kept| before.is_none_or(|before| kept.id < before));
                Ok(newest(room.clone(), older.cloned().collect(), limit))
            }
            Request::Since { room, since, limit } => {
                let newer = self.kept.iter().filter(|kept| in_room(kept, &room));
                let newer = newer.filter(|kept| kept.id > since);
                Ok(newest(room.clone(), newer.cloned().collect(), limit))
            }
            Request::Clear { room, through } => {
                self.kept.retain(|kept| kept.room != room || kept.id > through);
                Ok(Reply::Done)
            }
            Request::Forget { room } => {
                self.kept.retain(|kept| kept.room != room);
                self.owners.retain(|(name, _)| *name != room);
                Ok(Reply::Done)
            }
            Request::SetOwner { room, owner } => {
                self.owners.push((room, owner));
                Ok(Reply::Done)
            }
        }
    }
}

fn newest(room: String, mut messages: Vec<Message>, limit: u32) -> Reply {
    let over = messages.len().saturating_sub(limit as usize);
    messages.drain(..over);
    Reply::Page { room, messages, more: over > 0 }
}

/// A wire that writes down what goes over it.
pub(super) struct Sent {
    now: Instant,
    elapsed: Duration,
    frames: Vec<(ConnectionId, Value)>,
    closed: Vec<(ConnectionId, CloseCode, String)>,
    is_stopping: bool,
}

impl Wire for Sent {
    fn now(&self) -> Instant {
        self.now + self.elapsed
    }

    fn unix_ms(&self) -> u64 {
        WALL_MS + self.elapsed.as_millis() as u64
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    fn publish(&mut self, to: impl Iterator<Item = ConnectionId>, event: &Event<'_>) {
        let frame: Value = serde_json::from_str(&event.to_json()).expect("an event is JSON");
        self.frames.extend(to.map(|id| (id, frame.clone())));
    }

    fn close(&mut self, id: ConnectionId, code: CloseCode, reason: &str) {
        self.closed.push((id, code, reason.to_owned()));
    }
}

/// A hub, its history, and all that its clients were sent.
pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) shelf: Rc<RefCell<Shelf>>,
    wire: Sent,
    ids: std::vec::IntoIter<ConnectionId>,
}

pub(super) fn rules() -> Rules {
    Rules {
        page: 50,
        replay: 100,
        outbox: 1 << 20,
        limits: Limits { text: 100, name: 32, room: 32 },
        rooms: 50,
        rooms_per_client: 5,
        connections_per_address: 1_000,
        client_rate: Rate { per_second: 5, burst: 10 },
        address_rate: Rate { per_second: 10_000, burst: 10_000 },
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(rules(), Shelf::default())
    }

    /// A hub that starts on what a history has from before.
    #[expect(clippy::disallowed_methods, reason = "any moment to count from")]
    pub(super) fn with(rules: Rules, shelf: Shelf) -> Self {
        let last_id = shelf.kept.iter().map(|kept| kept.id).max().unwrap_or(0);
        let known = shelf.owners.iter().map(|(name, owner)| StoredRoom {
            name: name.clone(),
            owner: owner.clone(),
            last_id,
        });
        let opened = Opened { last_id, rooms: known.collect() };
        let shelf = Rc::new(RefCell::new(shelf));
        let backstage = Box::new(ShelfOf(Rc::clone(&shelf)));
        let now = Instant::now();
        let hub = Hub::new(rules, Arc::new(Ids::new(1)), &opened, backstage);
        let (frames, closed) = (Vec::new(), Vec::new());
        let wire = Sent { now, elapsed: Duration::ZERO, frames, closed, is_stopping: false };
        Self { hub, shelf, wire, ids: some_ids(400).into_iter() }
    }

    /// The server starts again, on the same history.
    pub(super) fn restart(self) -> Self {
        let shelf = self.shelf.take();
        drop(self.hub);
        Self::with(rules(), shelf)
    }

    // What happens.

    /// A client connects, from an address of its own.
    pub(super) fn connect(&mut self) -> ConnectionId {
        let id = self.ids.next().expect("enough ids");
        let left = self.ids.len() as u16;
        let [high, low] = left.to_be_bytes();
        self.connect_from(id, [10, 0, high, low].into());
        id
    }

    pub(super) fn connect_from(&mut self, id: ConnectionId, address: IpAddr) {
        self.hub.connected(&mut self.wire, id, address);
    }

    pub(super) fn next_id(&mut self) -> ConnectionId {
        self.ids.next().expect("enough ids")
    }

    /// A client sends a frame, and the history does what there is for it to do.
    pub(super) fn say(&mut self, id: ConnectionId, frame: Value) {
        self.say_only(id, frame);
        self.settle();
    }

    /// A client sends a frame; the history takes its time.
    pub(super) fn say_only(&mut self, id: ConnectionId, frame: Value) {
        self.hub.hear(&mut self.wire, id, &frame.to_string());
    }

    pub(super) fn say_raw(&mut self, id: ConnectionId, frame: &str) {
        self.hub.hear(&mut self.wire, id, frame);
        self.settle();
    }

    /// The history answers all that waits.
    pub(super) fn settle(&mut self) {
        while self.settle_one() {}
    }

    /// The history answers one request, if there is one.
    pub(super) fn settle_one(&mut self) -> bool {
        let next = self.shelf.borrow_mut().waiting.pop_front();
        let Some((tag, request)) = next else { return false };
        let result = self.shelf.borrow_mut().carry_out(request);
        self.hub.answered(&mut self.wire, vec![Answer { tag, result }]);
        true
    }

    /// The server begins to stop.
    pub(super) fn stop(&mut self, ids: &[ConnectionId]) {
        self.wire.is_stopping = true;
        for id in ids {
            self.hub.stopping(&mut self.wire, *id);
        }
    }

    pub(super) fn leave(&mut self, id: ConnectionId) {
        self.hub.gone(&mut self.wire, id);
    }

    /// A second passes.
    pub(super) fn tick(&mut self) {
        self.pass(Duration::from_secs(1));
        self.hub.tick(&mut self.wire);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.wire.elapsed += time;
    }

    pub(super) fn with_wire(&mut self, then: impl FnOnce(&mut Hub, &mut Sent)) {
        then(&mut self.hub, &mut self.wire);
        self.settle();
    }

    /// A rich client that is in the lobby; what it was sent so far is forgotten.
    pub(super) fn rich(&mut self, name: &str) -> ConnectionId {
        self.rich_with(name, &format!("session-of-{name}"), json!({}))
    }

    pub(super) fn rich_with(&mut self, name: &str, session: &str, rooms: Value) -> ConnectionId {
        let id = self.connect();
        let hello = json!({"type": "hello", "user": name, "session": session, "rooms": rooms});
        self.say(id, hello);
        let welcome = self.heard(id);
        assert_eq!(kinds(&welcome).first(), Some(&"welcome"), "{welcome:?}");
        id
    }

    // What was sent.

    /// The frames that a client was sent since this was last asked.
    pub(super) fn heard(&mut self, id: ConnectionId) -> Vec<Value> {
        let mut heard = Vec::new();
        self.wire.frames.retain(|(to, frame)| {
            let mine = *to == id;
            if mine {
                heard.push(frame.clone());
            }
            !mine
        });
        heard
    }

    /// The one frame that a client was sent.
    pub(super) fn heard_one(&mut self, id: ConnectionId) -> Value {
        let heard = self.heard(id);
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.into_iter().next().expect("one")
    }

    /// Forgets what was sent so far.
    pub(super) fn forget(&mut self) {
        self.wire.frames.clear();
    }

    pub(super) fn closed(&mut self) -> Vec<(ConnectionId, CloseCode, String)> {
        std::mem::take(&mut self.wire.closed)
    }
}

pub(super) fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["type"].as_str()).collect()
}

pub(super) fn texts(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["text"].as_str()).collect()
}

impl Hub {
    /// Nothing is left of anybody.
    fn assert_empty(&mut self) {
        assert!(self.clients.is_empty() && self.names.is_empty() && self.sessions.is_empty());
        assert!(self.addresses.values().all(|address| address.connections == 0));
        assert_eq!(self.unanswered, 0);
        for (key, room) in self.rooms.iter_mut() {
            assert_eq!((room.count(), room.everybody().count()), (0, 0), "{key}");
        }
    }
}

/// Connection ids are the library's to give out: so many peers connect to a server that is not there.
fn some_ids(count: usize) -> Vec<ConnectionId> {
    let mut sim = Simulation::builder(BytesCodec::new()).state(Vec::new()).start(
        |ids: &mut Vec<ConnectionId>, conn| {
            ids.push(conn.id());
            conn.handlers()
        },
    );
    let peers: Vec<_> = (0..count).map(|_| sim.connect()).collect();
    sim.run_until_idle();
    drop(peers);
    let ids = std::mem::take(sim.state_mut());
    assert_eq!(ids.len(), count);
    ids
}
