//! How a client gets its name, comes into rooms and leaves them, and comes back after its connection broke.
//!
//! Who enters a room is at once one of its people, but hears no message there until its history has come back from the
//! history's thread. Answers come in the order of the requests, so whatever was stored before the history was read is in
//! it, and whatever is stored after it is shown after it: nothing is missed, and nothing comes twice.

use std::sync::Arc;

use wheelhouse::ConnectionId;

use super::Hub;
use crate::client::{Person, Stage};
use crate::cluster::Post;
use crate::commands::COMMANDS;
use crate::history::Request;
use crate::message::{Change, CloseCode, Code, Event, Hello, Refusal, distinct_rooms};
use crate::names::{Key, checked, checked_room};
use crate::presence::LARGE;
use crate::rooms::{Member, Owner, Room};
use crate::wire::{Why, Wire};

/// What somebody who enters has seen of a room already.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    /// All up to this message: the rest is wanted.
    UpTo(u64),
    /// All after this message, live: the rest is wanted.
    After(u64),
}

impl Hub {
    /// The first frame of a rich client: its name, its session, its rooms.
    pub(super) fn hello(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        hello: &Hello<'_>,
    ) -> Result<(), Refusal> {
        let wanted = distinct_rooms(&hello.rooms);
        if self.person(id).is_ok() {
            return Err(Refusal::new(Code::BadRequest, "hello was said already; /nick renames"));
        }
        if wanted.len() > self.rules.rooms_per_client {
            let (count, most) = (wanted.len(), self.rules.rooms_per_client);
            let text = format!("{count} rooms: one client may be in {most}");
            return Err(Refusal::new(Code::BadRequest, text));
        }
        let name = self.free_name(&hello.user, hello.session.as_deref())?;
        let before = hello.session.as_deref().and_then(|session| self.take_over(wire, session));
        self.settle(id, name, hello.session.as_deref(), true);

        let lobby = (self.lobby.clone(), ("lobby", 0));
        let wanted = if wanted.is_empty() { [lobby].into() } else { wanted };
        let mut entered = Vec::new();
        let mut refused = Vec::new();
        for (key, (name, seen)) in wanted {
            match self.enter(wire, id, &key, name, before.as_ref()) {
                Ok(()) => entered.push((key, seen)),
                Err(refusal) => refused.push(refusal),
            }
        }
        if let Some(before) = before {
            self.finish_takeover(wire, id, &before);
        }
        self.welcome(wire, id);
        for refusal in refused {
            self.refuse(wire, id, &refusal, None);
        }
        for (key, seen) in entered {
            let seen = if seen == 0 { Seen::Nothing } else { Seen::UpTo(seen) };
            self.tell_joined(wire, id, &key, seen);
        }
        Ok(())
    }

    /// A plain client's `user`: its name, if it has none, or a new one. A client that needs none may leave it out.
    pub(super) fn introduce(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        user: Option<&str>,
    ) -> Result<(), Refusal> {
        match (self.person(id), user) {
            (Ok(_), None) => Ok(()),
            (Ok(person), Some(user)) if *person.name == *user.trim() => Ok(()),
            (Ok(_), Some(user)) => self.rename(wire, id, user),
            (Err(nobody), None) => Err(nobody),
            (Err(_), Some(user)) => {
                let name = self.free_name(user, None)?;
                let heard = self.clients.get(&id).map_or(0, |client| client.came_after);
                self.settle(id, name, None, false);
                let lobby = self.lobby.clone();
                self.enter(wire, id, &lobby, "lobby", None)?;
                self.welcome(wire, id);
                // It has listened since it came; what it lacks is older.
                self.tell_joined(wire, id, &lobby, Seen::After(heard));
                Ok(())
            }
        }
    }

    /// The name as it may be used: well formed, and nobody else's. A session's own name is free to it.
    fn free_name(&self, name: &str, session: Option<&str>) -> Result<Arc<str>, Refusal> {
        let name = checked(name, self.rules.limits.name)
            .map_err(|why| Refusal::new(Code::BadName, why))?;
        let holder = self.names.get(&Key::of(name));
        let mine = session.and_then(|session| self.sessions.get(session));
        if holder.is_some() && holder != mine {
            let text = format!("the name {name} is taken: choose another");
            return Err(Refusal::new(Code::NameTaken, text));
        }
        Ok(name.into())
    }

    /// From here on the client is somebody.
    fn settle(&mut self, id: ConnectionId, name: Arc<str>, session: Option<&str>, is_rich: bool) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(session) = session {
            client.session = session.into();
        }
        let key = Key::of(&name);
        self.sessions.insert(Arc::clone(&client.session), id);
        self.names.insert(key.clone(), id);
        client.stage =
            Stage::Known(Person { name, key, is_rich, rooms: Vec::new(), current: None });
        if let Some(lobby) = self.rooms.get_mut(&self.lobby) {
            lobby.unlisten(id);
        }
        self.rooms_changed = true;
    }

    fn welcome(&mut self, wire: &mut impl Wire, id: ConnectionId) {
        let Ok(person) = self.person(id) else { return };
        log::info!("{id}: is {}", person.name);
        let rooms = person.rooms.iter().map(|key| self.spelled(key)).collect();
        let limits = self.rules.limits;
        let (user, node) = (&*person.name, &*format!("n{}", self.ids.node()));
        wire.send(id, &Event::Welcome { user, node, rooms, limits, commands: COMMANDS });
    }

    // A session that comes back.

    /// Sends the session's older connection away and returns who it was. Nobody is told yet: most likely it is the same
    /// person in the same rooms.
    fn take_over(&mut self, wire: &mut impl Wire, session: &str) -> Option<Person> {
        let old = self.sessions.get(session).copied()?;
        let person = self.forget(old)?;
        wire.close(old, CloseCode::Normal, "taken over by a newer connection of this session");
        log::info!("{old}: {} comes back by another connection", person.name);
        self.counts.taken_over += 1;
        Some(person)
    }

    /// Where the session was and is no more, or was by another name, the others are told that it left.
    fn finish_takeover(&mut self, wire: &mut impl Wire, id: ConnectionId, before: &Person) {
        let Ok(now) = self.person(id).cloned() else { return };
        for key in &before.rooms {
            let stays = now.key == before.key && now.rooms.contains(key);
            if !stays {
                self.drop_member(wire, key, before, id);
            }
        }
        if now.key != before.key {
            self.tell_nodes(|| Post::Release { name: before.name.to_string() });
        }
    }

    // Rooms.

    /// Makes the client one of a room's people, and tells the others. `before` is who its session was a moment ago: where
    /// that one was in the room by the same name, nobody has come.
    fn enter(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        key: &Key,
        name: &str,
        before: Option<&Person>,
    ) -> Result<(), Refusal> {
        let name = checked_room(name, self.rules.limits.room)
            .map_err(|why| Refusal::new(Code::BadRoom, why))?;
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        let session = Arc::clone(&client.session);
        let Some(person) = client.person_mut() else { return Ok(()) };
        if person.rooms.len() >= self.rules.rooms_per_client {
            let most = self.rules.rooms_per_client;
            let text = format!("you are in {most} rooms, which is the most: /leave one first");
            return Err(Refusal::new(Code::BadRoom, text));
        }
        let user = Arc::clone(&person.name);
        let owner = || Some(Owner { session: Arc::clone(&session), name: Arc::clone(&user) });
        let Some(room) = self.rooms.get_or_make(key, name, owner) else {
            let text = format!("there are {} rooms, which is the most", self.rules.rooms);
            return Err(Refusal::new(Code::BadRoom, text));
        };
        if let Some(owner) = room.owner.as_mut().filter(|owner| owner.session == session) {
            owner.name = Arc::clone(&user);
        }
        let is_back = before.is_some_and(|was| was.key == person.key && room.is_member(&was.key));
        let is_rich = person.is_rich;
        let member = Member { id, name: Arc::clone(&user), is_rich, is_catching_up: true };
        room.add(person.key.clone(), member);
        person.rooms.push(key.clone());
        person.current = Some(key.clone());
        self.rooms_changed = true;
        if is_back {
            return Ok(());
        }
        Self::tell_came(wire, room, &user, Some(id));
        self.tell_nodes(|| Post::Join { room: key.as_str().to_owned(), user: user.to_string() });
        self.share_owner(key, true);
        Ok(())
    }

    /// Tells a room's people that somebody came.
    pub(super) fn tell_came(
        wire: &mut impl Wire,
        room: &mut Room,
        user: &str,
        but: Option<ConnectionId>,
    ) {
        if room.count() > LARGE {
            room.crowd.came(user);
        } else {
            Self::announce(wire, room, Change::Join { user }, but);
        }
    }

    /// Tells a room's people that somebody went.
    pub(super) fn tell_went(
        wire: &mut impl Wire,
        room: &mut Room,
        user: &str,
        but: Option<ConnectionId>,
    ) {
        if room.count() > LARGE {
            room.crowd.went(user);
        } else if !wire.is_stopping() {
            Self::announce(wire, room, Change::Leave { user }, but);
        }
    }

    /// Shows the room to who has entered it, and asks for its history.
    fn tell_joined(&mut self, wire: &mut impl Wire, id: ConnectionId, key: &Key, seen: Seen) {
        self.show_room(wire, id, key);
        let (room, limit) = (key.as_str().to_owned(), self.rules.replay);
        let request = match seen {
            Seen::Nothing => Request::Before { room, before: None, limit },
            Seen::After(id) => Request::Before { room, before: Some(id + 1), limit },
            Seen::UpTo(since) => Request::Since { room, since, limit },
        };
        let why = Why::Replay { to: id, room: key.clone() };
        if self.backstage.keep(why, request).is_err() {
            self.counts.busy += 1;
            self.caught_up(id, key);
            let text = "the history is busy: ask for it again in a moment";
            self.refuse(wire, id, &Refusal::new(Code::Busy, text), None);
        }
    }

    fn show_room(&self, wire: &mut impl Wire, id: ConnectionId, key: &Key) {
        let Some(room) = self.rooms.get(key) else { return };
        let (owner, people, count) = (room.owner_name(), room.people(), room.count());
        wire.send(id, &Event::Joined { room: &room.name, owner, people, count, topic: None });
    }

    /// From here on the client hears what is said in the room.
    pub(super) fn caught_up(&mut self, id: ConnectionId, key: &Key) {
        let Ok(person) = self.person(id) else { return };
        let name = person.key.clone();
        let member = self.rooms.get_mut(key).and_then(|room| room.member_mut(&name));
        if let Some(member) = member.filter(|member| member.id == id) {
            member.is_catching_up = false;
        }
    }

    /// `/join`.
    pub(super) fn join(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        name: &str,
    ) -> Result<(), Refusal> {
        let name = checked_room(name, self.rules.limits.room)
            .map_err(|why| Refusal::new(Code::BadRoom, why))?;
        let key = Key::of(name);
        if self.person(id)?.rooms.contains(&key) {
            if let Some(person) = self.clients.get_mut(&id).and_then(|c| c.person_mut()) {
                person.current = Some(key.clone());
            }
            self.show_room(wire, id, &key);
            return Ok(());
        }
        self.enter(wire, id, &key, name, None)?;
        self.tell_joined(wire, id, &key, Seen::Nothing);
        Ok(())
    }

    /// `/leave`.
    pub(super) fn leave(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        room: Option<&str>,
    ) -> Result<(), Refusal> {
        let key = self.room_of(id, room)?;
        let person = self.person(id)?.clone();
        self.drop_member(wire, &key, &person, id);
        wire.send(id, &Event::Left { room: self.spelled(&key) });
        let Some(person) = self.clients.get_mut(&id).and_then(|c| c.person_mut()) else {
            return Ok(());
        };
        person.rooms.retain(|other| *other != key);
        if person.current.as_ref() == Some(&key) {
            person.current = person.rooms.last().cloned();
            let current = person.current.clone();
            let text = match &current {
                Some(current) => format!("You are in {} now.", self.spelled(current)),
                None => "You are in no room now: /join one.".to_owned(),
            };
            Self::notice(wire, id, &text);
        }
        Ok(())
    }

    /// Takes one of its people out of a room, and tells the others.
    pub(super) fn drop_member(
        &mut self,
        wire: &mut impl Wire,
        key: &Key,
        person: &Person,
        id: ConnectionId,
    ) {
        let now = wire.now();
        let Some(room) = self.rooms.get_mut(key) else { return };
        if room.remove(&person.key, now).is_none() {
            return;
        }
        self.rooms_changed = true;
        Self::tell_went(wire, room, &person.name, Some(id));
        self.tell_nodes(|| Post::Leave {
            room: key.as_str().to_owned(),
            user: person.name.to_string(),
        });
    }

    // Names.

    /// `/nick`, or another `user` in the plain form.
    pub(super) fn rename(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        name: &str,
    ) -> Result<(), Refusal> {
        let was = self.person(id)?.clone();
        let session = self.clients.get(&id).map(|client| Arc::clone(&client.session));
        let name = self.free_name(name, session.as_deref())?;
        let key = Key::of(&name);
        self.names.remove(&was.key);
        self.names.insert(key.clone(), id);
        if let Some(person) = self.clients.get_mut(&id).and_then(|c| c.person_mut()) {
            (person.name, person.key) = (Arc::clone(&name), key.clone());
        }
        for at in &was.rooms {
            self.rename_member(wire, at, &was, &name, id);
        }
        self.tell_nodes(|| Post::Nick { was: was.name.to_string(), user: name.to_string() });
        log::info!("{id}: {} is {name} now", was.name);
        Self::notice(wire, id, &format!("You are {name} now."));
        Ok(())
    }

    /// The new name in one room. Its bearer is told as well: that is how a rich client learns that it may.
    fn rename_member(
        &mut self,
        wire: &mut impl Wire,
        at: &Key,
        was: &Person,
        name: &Arc<str>,
        id: ConnectionId,
    ) {
        let Some(room) = self.rooms.get_mut(at) else { return };
        let Some(mut member) = room.remove(&was.key, wire.now()) else { return };
        member.name = Arc::clone(name);
        room.add(Key::of(name), member);
        if room.count() > LARGE {
            let change = Change::Nick { user: name, was: &was.name };
            wire.send(id, &Event::Presence { room: &room.name, change, people: room.count() });
        }
        Self::tell_renamed(wire, room, &was.name, name);
        let session = self.clients.get(&id).map(|client| &client.session);
        if let Some(owner) = room.owner.as_mut().filter(|owner| Some(&owner.session) == session) {
            owner.name = Arc::clone(name);
            self.keep_owner(at);
            self.share_owner(at, false);
            self.rooms_changed = true;
        }
    }
    /// Tells a room's people that somebody has another name.
    pub(super) fn tell_renamed(wire: &mut impl Wire, room: &mut Room, was: &str, user: &str) {
        if room.count() > LARGE {
            room.crowd.went(was);
            room.crowd.came(user);
        } else {
            Self::announce(wire, room, Change::Nick { user, was }, None);
        }
    }
}
