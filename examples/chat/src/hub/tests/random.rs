//! Whatever clients do, in whatever order: everybody hears what is said where they are, once and in order, and nothing is
//! left of who has gone. The choices come from a seed, which a failure prints.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};
use wheelhouse::ConnectionId;

use super::{Shelf, World, rules};
use crate::pace::Rate;

const NAMES: [&str; 5] = ["ann", "Ann", "bob", "cleo", "дора"];
const ROOMS: [&str; 4] = ["lobby", "rust", "Rust", "den"];

/// A client as the test sees it.
#[derive(Default)]
struct Seen {
    /// By room: ids of what it heard since it came there, in the order of hearing.
    heard: BTreeMap<String, Vec<u64>>,
    /// Rooms that it is in, whose history has come.
    rooms: BTreeSet<String>,
    /// What it said last was hello.
    said_hello: bool,
}

impl Seen {
    /// Takes note of a frame, and checks that it may come.
    fn note(&mut self, frame: &Value) {
        let room = frame["room"].as_str().unwrap_or_default().to_lowercase();
        let id = |message: &Value| message["id"].as_u64().expect("an id");
        match frame["type"].as_str().expect("a type") {
            "message" | "action" => {
                let heard = self.heard.entry(room).or_default();
                let last = heard.last().copied();
                assert!(last < Some(id(frame)), "{frame} behind {last:?}: out of order, or again");
                heard.push(id(frame));
            }
            "history" if frame["replay"] == true => {
                let replayed = frame["messages"].as_array().expect("messages");
                let heard = self.heard.entry(room.clone()).or_default();
                for message in replayed {
                    assert!(!heard.contains(&id(message)), "{message} was heard already");
                }
                heard.splice(0..0, replayed.iter().map(id));
                self.rooms.insert(room);
            }
            // What it heard of the lobby before its hello, it is told again: it said that it had seen nothing.
            "welcome" if self.said_hello => self.heard.clear(),
            "left" => {
                self.rooms.remove(&room);
                self.heard.remove(&room);
            }
            "clear" if frame["by"].is_string() => {
                let through = frame["through"].as_u64().expect("an id");
                self.heard.entry(room).or_default().retain(|id| *id > through);
            }
            _ => {}
        }
    }
}

struct Play {
    world: World,
    rng: Rng,
    clients: BTreeMap<usize, (ConnectionId, Seen)>,
    next: usize,
}

impl Play {
    fn new(seed: u64) -> Self {
        let fast = Rate { per_second: 1_000_000, burst: 1_000_000 };
        let unpaced = super::Rules { client_rate: fast, address_rate: fast, ..rules() };
        let world = World::with(unpaced, Shelf::default());
        Self { world, rng: Rng::with_seed(seed), clients: BTreeMap::new(), next: 0 }
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.rng.usize(..of.len())]
    }

    /// A frame that a client might send.
    fn frame(&mut self) -> Value {
        let (name, room) = (self.one_of(&NAMES), self.one_of(&ROOMS));
        match self.rng.u8(..12) {
            0 => json!({"text": "plain", "user": name}),
            1 | 2 => json!({"type": "hello", "user": name, "session": format!("session-of-{name}"),
                "rooms": {room: 0, "lobby": 0}}),
            3..=5 => json!({"type": "message", "text": "hi", "room": room}),
            6 => json!({"text": "/me waves", "nonce": self.rng.u8(..20).to_string()}),
            7 => json!({"text": format!("/join {room}")}),
            8 => json!({"text": format!("/leave {room}")}),
            9 => json!({"text": format!("/nick {name}")}),
            10 => json!({"type": "message", "text": "/clear room", "room": room}),
            _ => json!({"type": "typing", "room": room}),
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0..=2 if self.clients.len() < 6 => {
                let id = self.world.connect();
                self.clients.insert(self.next, (id, Seen::default()));
                self.next += 1;
            }
            3 => {
                if let Some(gone) = self.anybody() {
                    let (id, _) = self.clients.remove(&gone).expect("there");
                    self.world.leave(id);
                    self.world.heard(id);
                }
            }
            4 => self.world.tick(),
            10 => {
                let Some(who) = self.anybody() else { return };
                let id = self.clients[&who].0;
                self.world.hub.stayed(id);
            }
            5..=9 => {
                self.world.settle_one();
            }
            _ => {
                let (Some(who), frame) = (self.anybody(), self.frame()) else { return };
                let (id, seen) = self.clients.get_mut(&who).expect("there");
                seen.said_hello = frame["type"] == "hello";
                self.world.say_only(*id, frame);
            }
        }
        self.listen();
    }

    fn anybody(&mut self) -> Option<usize> {
        self.rng.choice(self.clients.keys().copied().collect::<Vec<_>>())
    }

    /// Everybody reads, and who was sent away goes.
    fn listen(&mut self) {
        for (id, seen) in self.clients.values_mut() {
            for frame in self.world.heard(*id) {
                seen.note(&frame);
            }
        }
        for (closed, ..) in self.world.closed() {
            self.world.leave(closed);
            self.clients.retain(|_, (id, _)| *id != closed);
        }
    }

    /// Everybody in a room has heard all that is kept of it.
    fn check_all_heard(&self) {
        let shelf = self.world.shelf.borrow();
        for (_, seen) in self.clients.values() {
            for room in &seen.rooms {
                let kept = shelf.kept.iter().filter(|message| message.room == *room);
                let kept: Vec<u64> = kept.map(|message| message.id).collect();
                let heard = &seen.heard[room];
                let newest = &kept[kept.len().saturating_sub(heard.len())..];
                assert_eq!(heard, newest, "in {room}");
                assert!(heard.len() == kept.len() || heard.len() >= 100, "a replay has its end");
            }
        }
    }
}

#[test]
fn everybody_hears_all_once_and_in_order_whatever_happens() {
    for seed in 0..100 {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut play = Play::new(seed);
            for _ in 0..300 {
                play.step();
            }
            play.world.settle();
            play.listen();
            play.check_all_heard();
            let left: Vec<_> = play.clients.values().map(|(id, _)| *id).collect();
            for id in left {
                play.world.leave(id);
            }
            play.world.settle();
            play.world.hub.assert_empty();
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("the seed was {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
