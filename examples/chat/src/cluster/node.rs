//! The thread that decides: what is posted, what is shown, and when Redis is lost.
//!
//! All that happens to it comes through one queue: posts of the loop, entries of the stream, news of the connection. So
//! it has no lock and no race: between two inputs everything is in step. What it has to say is handed over once for each
//! round of inputs.
//!
//! What is awaited ([`Awaited`]) was posted and has not come back yet. That is the whole of the bookkeeping: what comes
//! back is shown and struck off; when Redis is lost, what is still there is shown as it is and goes to the backlog; and
//! what comes back that is not there was shown before, and is skipped. How a post is done is in `node/posting.rs`, what
//! is made of entries in `node/reading.rs`.

mod posting;
mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use redis::Connection;

use super::entry::{Entry, Place, Read};
use super::link::Go;
use super::roster::Roster;
use super::scripts::{self, Beat, Me, Op, Welcome, Wish, json};
use super::{Event, Events, Post, Timing};
use crate::ids::Ids;
use crate::names::Key;

/// Inputs in a round, and posts in a batch.
const ROUND: usize = 256;
/// Names tried for somebody whose own was taken.
const SUFFIXES: u32 = 9;

/// All that can happen to the node.
pub(super) enum Input<T> {
    Post(Post<T>),
    Stop,
    /// Redis is there, on a connection to post on. The link waits to be told from where to read.
    Linked {
        generation: u64,
        redis: Box<Connection>,
    },
    Entries {
        generation: u64,
        entries: Vec<Read>,
    },
    Lost {
        generation: u64,
        why: String,
    },
}

/// The way to Redis.
enum Line {
    Up { generation: u64, redis: Box<Connection>, beat: Instant },
    Down { since: Instant, told: bool },
}

/// Posted, and not come back.
struct Awaited<T> {
    event: Event<T>,
    op: Op,
}

/// What is done with the reply to an operation.
enum Then<T> {
    Nothing,
    Strike { key: u64 },
    Grant { tag: T, name: String, session: String },
    Own { key: u64, room: String },
}

/// How far the stream was read.
#[derive(Clone, Copy)]
struct Seen {
    place: Place,
    number: u64,
}

pub(super) struct Node<T> {
    pub(super) me: Me,
    name_limit: usize,
    timing: Timing,
    ids: Arc<Ids>,
    events: Events<T>,
    go: SyncSender<Go>,
    stopping: Arc<AtomicBool>,
    line: Line,
    /// Of the Redis that was joined last.
    epoch: String,
    seen: Option<Seen>,
    /// Who is where was true there; entries up to it change nothing more.
    joined: Place,
    /// Private messages up to there were for the run before this one.
    born: Option<Place>,
    people: BTreeSet<(String, String)>,
    names: BTreeMap<Key, (String, String)>,
    others: Roster,
    last_key: u64,
    batch: Vec<(Op, Then<T>)>,
    awaited: BTreeMap<u64, Awaited<T>>,
    backlog: VecDeque<Op>,
    unsent: u64,
    ousted: bool,
    out: Vec<Event<T>>,
}

/// What a node begins with.
pub(super) struct Parts<T> {
    pub(super) me: Me,
    pub(super) name_limit: usize,
    pub(super) timing: Timing,
    pub(super) ids: Arc<Ids>,
    pub(super) events: Events<T>,
    pub(super) go: SyncSender<Go>,
    pub(super) stopping: Arc<AtomicBool>,
}

impl<T> Node<T> {
    pub(super) fn new(parts: Parts<T>) -> Self {
        let Parts { me, name_limit, timing, ids, events, go, stopping } = parts;
        Self {
            me,
            name_limit,
            timing,
            ids,
            events,
            go,
            stopping,
            line: Line::Down { since: now(), told: false },
            epoch: String::new(),
            seen: None,
            joined: Place::default(),
            born: None,
            people: BTreeSet::new(),
            names: BTreeMap::new(),
            others: Roster::default(),
            last_key: 0,
            batch: Vec::new(),
            awaited: BTreeMap::new(),
            backlog: VecDeque::new(),
            unsent: 0,
            ousted: false,
            out: Vec::new(),
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self, inputs: &Receiver<Input<T>>) {
        let mut stopped = false;
        while !stopped && !self.stopping.load(Ordering::Relaxed) {
            match inputs.recv_timeout(self.rest()) {
                Ok(input) => stopped = self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for _ in 1..ROUND {
                let Some(input) = (!stopped).then(|| inputs.try_recv().ok()).flatten() else {
                    break;
                };
                stopped = self.take(input);
            }
            self.flush();
            self.keep_alive();
            self.deliver();
        }
        if let Line::Up { redis, .. } = &mut self.line
            && let Err(error) = scripts::leave(redis, &self.me.node)
        {
            log::warn!("the other nodes were not told that this one goes: {error}");
        }
        if !self.backlog.is_empty() {
            log::warn!("{} messages never reached the other nodes", self.backlog.len());
        }
    }

    /// Whether it was the last.
    fn take(&mut self, input: Input<T>) -> bool {
        match input {
            Input::Post(post) => self.post(post),
            Input::Stop => return true,
            Input::Linked { generation, redis } => self.linked(generation, redis),
            Input::Entries { generation, entries } => {
                // What waits to be posted may be answered by what was read.
                self.flush();
                if matches!(self.line, Line::Up { generation: of, .. } if of == generation) {
                    entries.into_iter().for_each(|read| self.read(read));
                }
            }
            Input::Lost { generation, why } => match &mut self.line {
                Line::Up { generation: of, .. } if *of == generation => self.lost(&why),
                Line::Up { .. } => {}
                Line::Down { told, .. } => {
                    if !std::mem::replace(told, true) {
                        self.out.push(Event::Down { why });
                    }
                }
            },
        }
        false
    }

    fn deliver(&mut self) {
        if !self.out.is_empty() {
            (self.events)(std::mem::take(&mut self.out));
        }
    }

    /// How long there is nothing to do but to listen.
    fn rest(&self) -> Duration {
        let until = match &self.line {
            Line::Up { beat, .. } => *beat,
            Line::Down { since, .. } if !self.others.is_empty() => *since + self.timing.alive,
            Line::Down { .. } => return self.timing.alive,
        };
        until.saturating_duration_since(now())
    }

    /// What is due by the clock: a word that this node lives; or the end of hope for the others.
    fn keep_alive(&mut self) {
        let (now, alive, every) = (now(), self.timing.alive, self.timing.beat);
        match &mut self.line {
            Line::Up { redis, beat, .. } if *beat <= now => {
                *beat = now + every;
                match scripts::beat(redis, &self.me, &self.epoch) {
                    Ok(Beat::Well) => self.ousted = false,
                    Ok(Beat::Ousted) if self.me.insist => {
                        if !std::mem::replace(&mut self.ousted, true) {
                            let number = self.me.number.unwrap_or_default();
                            log::error!(
                                "another server runs as node {number}, too: ids may collide"
                            );
                        }
                    }
                    Ok(Beat::Ousted) => self.fallen("another node has this one's number"),
                    Ok(Beat::Fallen(why)) => self.fallen(why),
                    Err(error) => self.fallen(&error.to_string()),
                }
            }
            Line::Down { since, .. } if *since + alive <= now && !self.others.is_empty() => {
                self.others = Roster::default();
                self.out.push(Event::Roster(Vec::new()));
            }
            _ => {}
        }
    }

    // Redis comes and goes.

    /// The connection cannot be used any longer: the link is told so.
    fn fallen(&mut self, why: &str) {
        if let Line::Up { generation, .. } = self.line {
            self.let_go(generation);
        }
        self.lost(why);
    }

    fn let_go(&self, generation: u64) {
        // There is room: the link takes one word for each connection before it asks for the next.
        drop(self.go.try_send(Go { generation, from: None }));
    }

    /// Goes on alone: what was posted and has not come back is shown, and posted again when Redis is back.
    fn lost(&mut self, why: &str) {
        self.line = Line::Down { since: now(), told: true };
        self.out.push(Event::Down { why: why.to_owned() });
        for (op, then) in std::mem::take(&mut self.batch) {
            self.alone(op, then);
        }
        for (_, awaited) in std::mem::take(&mut self.awaited) {
            self.show_alone(awaited);
        }
    }

    /// Redis is there: join, and see what has changed.
    fn linked(&mut self, generation: u64, mut redis: Box<Connection>) {
        let wishes: Vec<_> =
            self.names.values().map(|(name, session)| self.wish(name, session)).collect();
        let people: Vec<_> =
            self.people.iter().map(|(room, user)| format!("{room} {user}")).collect();
        let here = Entry::Here { people: self.people.iter().cloned().collect() };
        match scripts::join(&mut redis, &self.me, &people, &wishes, &json(&here)) {
            Ok(welcome) => {
                let beat = now() + self.timing.beat;
                self.line = Line::Up { generation, redis, beat };
                self.joined(generation, welcome);
                self.post_backlog();
            }
            Err(error) => {
                self.let_go(generation);
                if let Line::Down { told, .. } = &mut self.line
                    && !std::mem::replace(told, true)
                {
                    self.out.push(Event::Down { why: error.to_string() });
                }
            }
        }
    }

    fn joined(&mut self, generation: u64, welcome: Welcome) {
        let Welcome { epoch, number, place, names, rosters, owners, last_id } = welcome;
        self.joined = Place::parse(&place).unwrap_or_default();
        self.born.get_or_insert(self.joined);
        let forgot = !self.epoch.is_empty() && self.epoch != epoch;
        if forgot {
            self.seen = None;
            self.born = Some(Place::default());
        }
        self.epoch = epoch;
        self.me.number = Some(number);
        self.ids.set_node(number.min(crate::ids::MAX_NODE));
        self.ids.observe(last_id);
        let from = self.seen.map_or(Place::default(), |seen| seen.place);
        drop(self.go.try_send(Go { generation, from: Some(from.to_string()) }));

        let unsent = std::mem::take(&mut self.unsent);
        self.out.push(Event::Up { node: self.ids.node(), unsent, forgot });
        self.others.reset(rosters.into_iter().map(|(node, people)| {
            let split = |person: &String| person.split_once(' ').map(|(r, u)| (r.into(), u.into()));
            (node, people.iter().filter_map(split).collect())
        }));
        self.out.push(Event::Roster(self.others.everybody()));
        self.renamed(&names);
        let owners = owners.into_iter().map(|(room, owner)| Event::Owner { room, owner });
        self.out.extend(owners);
    }

    /// Those whose names were taken meanwhile get what could be claimed for them. `got` is in the order of the wishes.
    fn renamed(&mut self, got: &[String]) {
        let held = std::mem::take(&mut self.names);
        for ((key, (was, session)), got) in held.into_iter().zip(got) {
            if *got == key.as_str() {
                self.names.insert(key, (was, session));
                continue;
            }
            // No suffix was free either: then the name is shared, rather than taken from somebody who talks.
            let Some(now) = self.candidates(&was).find(|name| Key::of(name).as_str() == got) else {
                log::warn!("{was} is on two nodes, and no other name was free");
                self.names.insert(key, (was, session));
                continue;
            };
            self.names.insert(Key::of(&now), (now.clone(), session));
            self.out.push(Event::Renamed { was, now });
        }
    }

    /// A name, and what comes next where it is taken: `ann-3` on node 3, then `ann-3-2` and so on.
    fn wish(&self, name: &str, session: &str) -> Wish {
        let own = std::iter::once(name.to_owned());
        let names = own.chain(self.candidates(name)).map(|name| Key::of(&name).as_str().to_owned());
        Wish { names: names.collect(), session: session.to_owned() }
    }

    fn candidates(&self, name: &str) -> impl Iterator<Item = String> {
        let number = self.me.number.unwrap_or_default();
        let (name, limit) = (name.to_owned(), self.name_limit);
        (1..=SUFFIXES).map(move |time| {
            let suffix = if time == 1 { format!("-{number}") } else { format!("-{number}-{time}") };
            let room = limit.saturating_sub(suffix.len());
            name.chars().take(room).chain(suffix.chars()).collect()
        })
    }
}

/// The clock of heartbeats; nothing that is shown depends on it.
#[expect(
    clippy::disallowed_methods,
    reason = "this thread is none of the loop's, and has no other clock"
)]
fn now() -> Instant {
    Instant::now()
}
