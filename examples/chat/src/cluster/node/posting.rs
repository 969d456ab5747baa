//! What is posted: with Redis, in batches; without it, shown at once and kept.

use super::super::BACKLOG;
use super::super::entry::{Entry, Said};
use super::super::scripts::{self, Op, Posted, json};
use super::{Awaited, Line, Node, ROUND, Then};
use crate::cluster::{Event, Post, Private};
use crate::history::Message;
use crate::names::Key;

/// How often a batch is given new ids because another node's were greater. After that it goes in as it is: its ids are
/// behind by milliseconds, and the order of ids is still the same everywhere.
const ATTEMPTS: u32 = 8;

/// Posts that may be on their way. If so many have not come back, the stream is not read: Redis is as good as lost.
const AWAITED: usize = 4_096;

impl<T> Node<T> {
    pub(super) fn post(&mut self, post: Post<T>) {
        let (op, then) = match post {
            Post::Message { tag, mut message } => {
                message.id = self.ids.next(message.ts);
                self.say(Event::Message { tag: Some(tag), message })
            }
            Post::Private { private } => self.say(Event::Private(private)),
            Post::Clear { room, through, by } => self.say(Event::Clear { room, through, by }),
            Post::Typing { room, user } => {
                (Op::Signal { entry: json(&Entry::Typing { room, user }) }, Then::Nothing)
            }
            Post::Join { room, user } => {
                self.people.insert((room.clone(), user.clone()));
                let (key, person) = (self.next_key(), format!("{room} {user}"));
                (Op::Join { key, person, entry: json(&Entry::Join { room, user }) }, Then::Nothing)
            }
            Post::Leave { room, user } => {
                self.people.remove(&(room.clone(), user.clone()));
                let (key, person) = (self.next_key(), format!("{room} {user}"));
                (
                    Op::Leave { key, person, entry: json(&Entry::Leave { room, user }) },
                    Then::Nothing,
                )
            }
            Post::Nick { was, user } => (self.nick(was, user), Then::Nothing),
            Post::Claim { tag, name, session } => {
                let session = session.unwrap_or_default();
                let op =
                    Op::Claim { name: Key::of(&name).as_str().into(), session: session.clone() };
                (op, Then::Grant { tag, name, session })
            }
            Post::Release { name } => {
                let key = Key::of(&name);
                self.names.remove(&key);
                (Op::Release { name: key.as_str().into() }, Then::Nothing)
            }
            Post::Owner { room, owner, only_if_none } => self.own(room, owner, only_if_none),
        };
        match self.line {
            Line::Up { .. } => {
                self.batch.push((op, then));
                if self.batch.len() == ROUND {
                    self.flush();
                }
            }
            Line::Down { .. } => self.alone(op, then),
        }
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Something that is shown when it comes back.
    fn say(&mut self, event: Event<T>) -> (Op, Then<T>) {
        let key = self.next_key();
        let op = self.saying(key, &event, false);
        self.awaited.insert(key, Awaited { event, op: op.clone() });
        (op, Then::Strike { key })
    }

    fn saying(&self, key: u64, event: &Event<T>, late: bool) -> Op {
        let own = format!("{}/{key}", self.me.node);
        let (id, nonce, to, memo, entry) = match event {
            Event::Message { message, .. } => {
                let of = |n: &crate::history::Nonce| format!("{}/{}", n.session, n.nonce);
                let memo = format!("{} {} {}", message.id, message.ts, message.room);
                let nonce = message.nonce.as_ref().map_or(own, of);
                (Some(message.id), nonce, None, memo, Entry::Message(Said::from(message)))
            }
            Event::Private(Private { id, ts, user, to, text }) => {
                let (user, to, text) = (user.clone(), to.clone(), text.clone());
                let key = Some(Key::of(&to).as_str().to_owned());
                (None, own, key, "1".into(), Entry::Private { id: *id, ts: *ts, user, to, text })
            }
            Event::Clear { room, through, by } => {
                let (room, by) = (room.clone(), by.clone());
                (None, own, None, "1".into(), Entry::Clear { room, through: *through, by })
            }
            _ => unreachable!("nothing else is said"),
        };
        Op::Say { key, id, late, nonce, to, memo, entry: json(&entry) }
    }

    fn nick(&mut self, was: String, user: String) -> Op {
        let places: Vec<_> = self.people.iter().filter(|(_, name)| *name == was).cloned().collect();
        let mut moves = Vec::with_capacity(places.len());
        for (room, name) in places {
            moves.push((format!("{room} {name}"), format!("{room} {user}")));
            self.people.remove(&(room.clone(), name));
            self.people.insert((room, user.clone()));
        }
        let name = Key::of(&was);
        // A change of case alone keeps the name, and so does a new name that was granted to this very client.
        if name == Key::of(&user) {
            if let Some((shown, _)) = self.names.get_mut(&name) {
                shown.clone_from(&user);
            }
            let entry = json(&Entry::Nick { was, user });
            return Op::Nick { key: self.next_key(), moves, name: String::new(), entry };
        }
        self.names.remove(&name);
        let entry = json(&Entry::Nick { was, user });
        Op::Nick { key: self.next_key(), moves, name: name.as_str().into(), entry }
    }

    fn own(&mut self, room: String, owner: String, only_if_none: bool) -> (Op, Then<T>) {
        let key = self.next_key();
        let entry = json(&Entry::Owner { room: room.clone(), owner: owner.clone() });
        let op = Op::Owner { key, room: room.clone(), owner: owner.clone(), only_if_none, entry };
        let event = Event::Owner { room: room.clone(), owner };
        self.awaited.insert(key, Awaited { event, op: op.clone() });
        (op, Then::Own { key, room })
    }

    /// Posts what waits.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        for attempt in 1.. {
            let Line::Up { redis, .. } = &mut self.line else { return };
            let ops: Vec<_> = self.batch.iter().map(|(op, _)| op.clone()).collect();
            match scripts::post(redis, &self.me.node, &self.epoch, &ops) {
                Ok(Posted::Done(replies)) => {
                    self.settle(replies);
                    break;
                }
                Ok(Posted::Behind(last)) => self.renumber(last, attempt >= ATTEMPTS),
                Ok(Posted::Fallen(why)) => return self.fallen(why),
                Err(error) => return self.fallen(&error.to_string()),
            }
        }
        if self.awaited.len() > AWAITED {
            self.fallen("what is posted does not come back");
        }
    }

    /// Gives the messages of the batch ids greater than `last`.
    fn renumber(&mut self, last: u64, late: bool) {
        self.ids.observe(last);
        for index in 0..self.batch.len() {
            let Then::Strike { key } = self.batch[index].1 else { continue };
            let Some(mut awaited) = self.awaited.remove(&key) else { continue };
            if let Event::Message { message, .. } = &mut awaited.event {
                message.id = self.ids.next(message.ts);
                awaited.op = self.saying(key, &awaited.event, late);
                self.batch[index].0 = awaited.op.clone();
            }
            self.awaited.insert(key, awaited);
        }
    }

    fn settle(&mut self, replies: Vec<String>) {
        for ((_, then), reply) in std::mem::take(&mut self.batch).into_iter().zip(replies) {
            match then {
                Then::Strike { key } if reply == scripts::NOBODY => {
                    if let Some(Awaited { event: Event::Private(private), .. }) =
                        self.awaited.remove(&key)
                    {
                        self.out.push(Event::Undelivered(private));
                    }
                }
                Then::Strike { key } if !reply.is_empty() => self.known(key, &reply),
                Then::Nothing | Then::Strike { .. } => {}
                Then::Grant { tag, name, session } => {
                    self.grant(tag, name, session, reply == "yes");
                }
                Then::Own { key, room } => {
                    if !reply.is_empty() && self.awaited.remove(&key).is_some() {
                        self.out.push(Event::Owner { room, owner: reply });
                    }
                }
            }
        }
    }

    /// It was posted before: what it was then comes back in its place.
    fn known(&mut self, key: u64, memo: &str) {
        let Some(Awaited { event, .. }) = self.awaited.remove(&key) else { return };
        let mut parts = memo.splitn(3, ' ');
        let (id, ts, room) = (parts.next(), parts.next(), parts.next());
        if let Event::Message { tag, message } = event
            && let (Some(id), Some(ts), Some(room)) =
                (id.and_then(|id| id.parse().ok()), ts.and_then(|ts| ts.parse().ok()), room)
        {
            let message = Message { id, ts, room: room.to_owned(), ..message };
            self.out.push(Event::Message { tag, message });
        }
    }

    fn grant(&mut self, tag: T, name: String, session: String, granted: bool) {
        if granted {
            self.names.insert(Key::of(&name), (name.clone(), session));
        }
        self.out.push(Event::Claimed { tag, name, granted });
    }

    // Without Redis.

    /// What an operation comes to while there is nobody else.
    pub(super) fn alone(&mut self, _: Op, then: Then<T>) {
        match then {
            // All that was awaited before it comes first.
            Then::Strike { key } | Then::Own { key, .. } => {
                let later = self.awaited.split_off(&(key + 1));
                for (_, awaited) in std::mem::replace(&mut self.awaited, later) {
                    self.show_alone(awaited);
                }
            }
            Then::Grant { tag, name, session } => self.grant(tag, name, session, true),
            Then::Nothing => {}
        }
    }

    /// Shows what was awaited, and keeps it for the others.
    pub(super) fn show_alone(&mut self, Awaited { event, mut op }: Awaited<T>) {
        self.out.push(event);
        if let Op::Say { late, .. } = &mut op {
            *late = true;
        }
        if self.backlog.len() < BACKLOG {
            self.backlog.push_back(op);
        } else {
            self.unsent += 1;
        }
    }

    /// Posts what was kept. It was shown here, so nothing is awaited of it; what fails stays.
    pub(super) fn post_backlog(&mut self) {
        while !self.backlog.is_empty() {
            let Line::Up { redis, .. } = &mut self.line else { return };
            let count = self.backlog.len().min(ROUND);
            let ops: Vec<_> = self.backlog.iter().take(count).cloned().collect();
            match scripts::post(redis, &self.me.node, &self.epoch, &ops) {
                Ok(Posted::Done(replies)) => {
                    self.backlog.drain(..count);
                    self.owners_that_stand(&ops, replies);
                }
                // Late ones are never behind.
                Ok(Posted::Behind(_)) => return,
                Ok(Posted::Fallen(why)) => return self.fallen(why),
                Err(error) => return self.fallen(&error.to_string()),
            }
        }
    }

    /// An owner set here alone gives way to one that was there first.
    fn owners_that_stand(&mut self, ops: &[Op], replies: Vec<String>) {
        for (op, owner) in ops.iter().zip(replies) {
            if let Op::Owner { room, .. } = op
                && !owner.is_empty()
            {
                self.out.push(Event::Owner { room: room.clone(), owner });
            }
        }
    }
}
