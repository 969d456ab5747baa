//! The hub as one node of several: what it asks of the others, and what it does about what they say (`cluster.rs`).
//!
//! What is said here goes by the others before it is stored, so that all nodes store and show the same in one order; a
//! name is asked for before it is taken. The second takes a moment, so the frame that needs the name waits, and those
//! behind it wait with it. Alone, a server does none of this, and asks nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use wheelhouse::ConnectionId;

use super::Hub;
use super::talking::nobody;
use crate::client::Client;
use crate::cluster::{Event as News, Full, Post, Private};
use crate::commands::{Command, Input};
use crate::event::{Event, Level};
use crate::history::{Message, Request as ToHistory};
use crate::message::{CloseCode, Code, Refusal, Request};
use crate::names::{Key, checked};
use crate::presence::LARGE;
use crate::rooms::{Owner, Room};
use crate::wire::{Busy, Why, Wire};

/// Frames that may wait for a name.
const PUT_OFF: usize = 32;

impl Hub {
    // What is asked of the others.

    /// Tells the other nodes who came or went, if there are any; what cannot be told now is told later, in its place.
    pub(super) fn tell_nodes(&mut self, post: impl FnOnce() -> Post<Why>) {
        if self.backstage.has_nodes() {
            let post = post();
            log::trace!("to the other nodes: {post:?}");
            self.untold.push_back(post);
            self.tell_rest();
        }
    }

    /// Tells the other nodes what waits to be told. Says whether that was all.
    pub(super) fn tell_rest(&mut self) -> bool {
        while let Some(post) = self.untold.pop_front() {
            if let Err(Full(post)) = self.backstage.post(post) {
                log::debug!("{} things wait to be told to the other nodes", self.untold.len() + 1);
                self.untold.push_front(post);
                return false;
            }
        }
        true
    }

    /// Whether a client may come, move or rename: the other nodes must be told, and know of all before it.
    pub(super) fn may_tell(&mut self) -> Result<(), Refusal> {
        if self.tell_rest() { Ok(()) } else { Err(self.busy(Busy)) }
    }

    /// Tells the other nodes whose room this is, where it is somebody's. With `only_if_none`, one that they know stays.
    pub(super) fn share_owner(&mut self, key: &Key, only_if_none: bool) {
        if let Some(owner) = self.rooms.get(key).and_then(|room| room.owner.as_ref()) {
            let owner = owner.to_stored();
            let room = key.as_str().to_owned();
            self.tell_nodes(|| Post::Owner { room, owner, only_if_none });
        }
    }

    /// Whether a frame has to wait for a name. It is kept, then, with those that come behind it.
    pub(super) fn puts_off(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        frame: &str,
    ) -> Result<bool, Refusal> {
        if !self.backstage.has_nodes() {
            return Ok(false);
        }
        let name = self.name_to_claim(id, request).map(str::to_owned);
        let Some(client) = self.clients.get_mut(&id) else { return Ok(false) };
        if client.put_off.is_empty() && name.is_none() {
            return Ok(false);
        }
        if client.put_off.len() >= PUT_OFF {
            let text = "your name is being looked up: wait a moment";
            return Err(Refusal::new(Code::Busy, text));
        }
        if let Some(name) = name.filter(|_| client.put_off.is_empty()) {
            let session = match request {
                Request::Hello(hello) => hello.session.as_deref().map(str::to_owned),
                _ => Some(client.session.to_string()),
            };
            // To the others this node is one: they would grant it a name twice, and know the later session for its bearer.
            let key = Key::of(&name);
            if self.claiming.contains(&key) {
                let text =
                    format!("somebody asks for the name {name} just now: try again in a moment");
                return Err(Refusal::new(Code::Busy, text));
            }
            self.may_tell()?;
            let claim = Post::Claim { tag: Why::Name { of: id }, name, session };
            let left = self.backstage.post(claim);
            left.map_err(|_| self.busy(Busy))?;
            self.claiming.insert(key);
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.put_off.push_back(frame.to_owned());
        }
        Ok(true)
    }

    /// The name that a frame asks for, where the other nodes have to agree: not one that is this client's already, or that
    /// this node can refuse, or give, by itself.
    fn name_to_claim<'a>(&self, id: ConnectionId, request: &'a Request<'_>) -> Option<&'a str> {
        let client = self.clients.get(&id)?;
        let name = match request {
            Request::Hello(hello) if client.person().is_none() => &*hello.user,
            Request::Message { user: Some(user), .. } => &**user,
            Request::Message { text, .. } => match Input::of(text) {
                Input::Command(Command::Nick(name)) => name,
                _ => return None,
            },
            _ => return None,
        };
        let key = Key::of(checked(name, self.rules.limits.name).ok()?);
        let is_mine = client.person().is_some_and(|person| person.key == key)
            || client.granted.as_ref() == Some(&key);
        // Somebody here may have it: the session's own dead connection, or somebody else.
        let is_known = self.names.contains_key(&key);
        (!is_mine && !is_known).then(|| name.trim())
    }

    /// The nodes have agreed, or not: what has waited goes on.
    fn claimed(&mut self, wire: &mut impl Wire, of: ConnectionId, name: &str, granted: bool) {
        self.claiming.remove(&Key::of(name));
        let Some(client) = self.clients.get_mut(&of) else {
            if granted {
                self.release(name);
            }
            return;
        };
        let mut frames = std::mem::take(&mut client.put_off);
        client.granted = granted.then(|| Key::of(name));
        if !granted && let Some(refused) = frames.pop_front() {
            let request = Request::parse(&refused);
            let nonce = request.as_ref().ok().and_then(Request::nonce);
            let text = format!("the name {name} is taken: choose another");
            self.refuse(wire, of, &Refusal::new(Code::NameTaken, text), nonce);
        }
        for frame in frames {
            self.obey(wire, of, &frame);
        }
        let Some(client) = self.clients.get_mut(&of) else { return };
        if client.is_gone {
            return self.gone(wire, of);
        }
        let unused = client
            .granted
            .take()
            .filter(|key| client.person().is_none_or(|person| person.key != *key));
        if unused.is_some() {
            self.release(name);
        }
    }

    /// Gives a name back that was granted and is not used; not one that somebody here has come to bear meanwhile.
    fn release(&mut self, name: &str) {
        if !self.names.contains_key(&Key::of(name)) {
            self.tell_nodes(|| Post::Release { name: name.to_owned() });
        }
    }

    /// Whether somebody of this name may be on another node: who is in a room there is known here, and of others the nodes
    /// know together, while they can be asked.
    pub(super) fn may_be_elsewhere(&self, name: &str) -> bool {
        let key = Key::of(name);
        let is_seen = || self.rooms.iter().any(|room| room.is_elsewhere(&key));
        !self.names.contains_key(&key) && (self.nodes_up == Some(true) || is_seen())
    }

    // What the others say.

    /// What has happened on other nodes, and what has come back from them.
    pub(crate) fn news(&mut self, wire: &mut impl Wire, news: Vec<News<Why>>) {
        self.tell_rest();
        for news in news {
            log::trace!("from the other nodes: {news:?}");
            self.hear_news(wire, news);
        }
    }

    fn hear_news(&mut self, wire: &mut impl Wire, news: News<Why>) {
        match news {
            News::Up { node, unsent, forgot } => {
                if unsent > 0 || forgot {
                    log::warn!("node {node}: {unsent} messages never left, forgot: {forgot}");
                }
                self.nodes_changed(wire, None);
            }
            News::Down { why } => self.nodes_changed(wire, Some(&why)),
            News::Message { tag, message } => self.said_by_all(wire, tag, message),
            News::Private(private) => self.pass_on(wire, &private),
            News::Undelivered(Private { user, to, .. }) => {
                if let Some(&by) = self.names.get(&Key::of(&user)) {
                    self.refuse(wire, by, &nobody(&to), None);
                }
            }
            News::Typing { room, user } => {
                let room = self.rooms.get(&Key::of(&room));
                if let Some(room) = room.filter(|room| room.count() <= LARGE) {
                    let event = Event::Typing { room: &room.name, user: &user };
                    wire.publish(room.watchers(None), &event);
                }
            }
            News::Join { room, user } => {
                self.rooms_changed = true;
                let key = Key::of(&room);
                let Some(room) = self.room_elsewhere(&key, &room) else { return };
                if room.add_elsewhere(&user) {
                    Self::tell_came(wire, room, &user, None);
                }
            }
            News::Leave { room, user } => self.left_elsewhere(wire, &room, &user),
            News::Nick { was, user } => self.renamed_elsewhere(wire, &was, &user),
            News::Roster(people) => self.meet(wire, &people),
            News::Claimed { tag: Why::Name { of }, name, granted } => {
                self.claimed(wire, of, &name, granted);
            }
            News::Claimed { .. } => {}
            News::TakenOver { name } => {
                if let Some(&id) = self.names.get(&Key::of(&name)) {
                    self.give_up(wire, id);
                }
            }
            News::Renamed { was, now } => self.renamed_here(wire, &was, &now),
            News::Clear { room, through, by } => {
                let key = Key::of(&room);
                let why = Why::Clear { by: None, name: by, room: key, through };
                if self.backstage.keep(why, ToHistory::Clear { room, through }).is_err() {
                    self.counts.busy += 1;
                    log::warn!("a room was cleared elsewhere and is not here: the queue is full");
                }
            }
            News::Owner { room, owner } => {
                let key = Key::of(&room);
                let (room, owner) = (self.rooms.get_mut(&key), Owner::from_stored(&owner));
                if let (Some(room), Some(owner)) = (room, owner) {
                    room.owner = Some(owner);
                    self.rooms_changed = true;
                    self.keep_owner(&key);
                }
            }
            News::Gap { missed } => {
                log::error!("{missed} events of other nodes are lost: histories differ now");
            }
        }
    }

    /// A message in its place among those of all nodes: to be stored, and then shown.
    ///
    /// Where its room is not here and there may not be one more, it is neither: nobody here is in that room, and no other
    /// gives way to what is only read of it.
    fn said_by_all(&mut self, wire: &mut impl Wire, tag: Option<Why>, message: Message) {
        self.ids.observe(message.id);
        let by = match &tag {
            Some(Why::Said { by }) => Some(*by),
            _ => None,
        };
        let why = tag.unwrap_or(Why::SaidElsewhere);
        let key = Key::of(&message.room);
        let is_new = self.rooms.get(&key).is_none();
        let room = self.rooms.get_or_make(&key, &message.room, || None);
        let has_room = room.is_some();
        if let Some(room) = room.filter(|_| is_new) {
            room.note_empty(wire.now()); // where the history has forgotten the message, the room goes again
        }
        if has_room && self.backstage.keep(why, ToHistory::Append(message.clone())).is_ok() {
            return;
        }
        // The others show it, so it is shown: better not kept than neither.
        self.counts.busy += u64::from(has_room);
        self.show(wire, &message, by);
        if let Some(by) = by {
            let refusal = Refusal::new(Code::Storage, "shown, but not kept: the history is busy");
            let nonce = message.nonce.as_ref().map(|nonce| &*nonce.nonce);
            self.refuse(wire, by, &refusal, nonce);
            self.answered_one(wire);
        }
    }

    fn pass_on(&self, wire: &mut impl Wire, private: &Private) {
        let Private { id, ts, user, to, text } = private;
        let event = Event::Private { id: *id, ts: *ts, user, to, text, nonce: None };
        let (user, to) = (Key::of(user), Key::of(to));
        let both = [Some(&user), Some(&to).filter(|to| **to != user)];
        let here = both.into_iter().flatten().filter_map(|key| self.names.get(key).copied());
        wire.publish(here, &event);
    }

    /// A room that somebody on another node is in, made if need be and if there may be one more.
    fn room_elsewhere(&mut self, key: &Key, name: &str) -> Option<&mut Room> {
        if self.make_way(key).is_err() {
            log::warn!("{key} is not here: there is no time to forget another room for it");
            return None;
        }
        self.rooms.get_or_make(key, name, || None)
    }

    /// Somebody here lost a name to another node while it could not be asked, and has this one now.
    fn renamed_here(&mut self, wire: &mut impl Wire, was: &str, now: &str) {
        let Some(&id) = self.names.get(&Key::of(was)) else { return };
        let granted = Some(Key::of(now));
        self.clients.entry(id).and_modify(|client| client.granted = granted);
        if let Err(refusal) = self.rename(wire, id, now) {
            log::error!("{was} cannot be {now}: {}", refusal.text);
        }
    }

    fn left_elsewhere(&mut self, wire: &mut impl Wire, room: &str, user: &str) {
        self.rooms_changed = true;
        let now = wire.now();
        let Some(room) = self.rooms.get_mut(&Key::of(room)) else { return };
        if room.remove_elsewhere(&Key::of(user), now) {
            Self::tell_went(wire, room, user, None);
        }
    }

    fn renamed_elsewhere(&mut self, wire: &mut impl Wire, was: &str, user: &str) {
        let now = wire.now();
        for (_, room) in self.rooms.iter_mut() {
            if room.remove_elsewhere(&Key::of(was), now) {
                room.add_elsewhere(user);
                Self::tell_renamed(wire, room, was, user);
            }
        }
    }

    /// Everybody who is on other nodes, in the place of whoever was thought to be.
    fn meet(&mut self, wire: &impl Wire, people: &[(String, String)]) {
        self.rooms_changed = true;
        let mut rooms: BTreeMap<Key, BTreeMap<Key, Arc<str>>> = BTreeMap::new();
        for (room, user) in people {
            let key = Key::of(room);
            if self.room_elsewhere(&key, room).is_some() {
                rooms.entry(key).or_default().insert(Key::of(user), user.as_str().into());
            }
        }
        for (key, room) in self.rooms.iter_mut() {
            room.set_elsewhere(rooms.remove(key).unwrap_or_default(), wire.now());
        }
    }

    /// A session of this node's has come back on another one: what is left of it here goes.
    fn give_up(&mut self, wire: &mut impl Wire, id: ConnectionId) {
        let rooms = self.clients.get(&id).and_then(Client::person).cloned();
        self.forget(id);
        if let Some(person) = rooms {
            for key in &person.rooms {
                self.drop_member(wire, key, &person, id);
            }
        }
        wire.close(id, CloseCode::Normal, "taken over by a newer connection of this session");
    }

    /// The other nodes can be reached again, or no longer. Everybody is told when that changes.
    fn nodes_changed(&mut self, wire: &mut impl Wire, trouble: Option<&str>) {
        let is_up = trouble.is_none();
        match trouble {
            Some(why) => log::warn!("the other nodes cannot be reached: {why}"),
            None => log::info!("the other nodes can be reached"),
        }
        let was = self.nodes_up.replace(is_up);
        if was == Some(is_up) || (was.is_none() && is_up) {
            return;
        }
        let (level, text) = if is_up {
            (Level::Info, "The other servers can be reached again.")
        } else {
            (Level::Warn, "The other servers cannot be reached: you see those on this one alone.")
        };
        wire.publish(self.clients.keys().copied(), &Event::Notice { level, text, room: None });
    }
}
