//! How a client gets its name, and comes back to it after its connection broke. Into which rooms, is in `hub/entering.rs`.

use std::sync::Arc;

use wheelhouse::ConnectionId;

use super::Hub;
use super::entering::Seen;
use crate::client::{Person, Stage};
use crate::cluster::Post;
use crate::commands::COMMANDS;
use crate::event::{Change, Event};
use crate::message::{CloseCode, Code, Hello, Refusal, distinct_rooms};
use crate::names::{Key, checked};
use crate::presence::LARGE;
use crate::rooms::Room;
use crate::wire::Wire;

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
        self.may_tell()?;
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
            (Ok(_), Some(user)) => {
                self.may_tell()?;
                self.rename(wire, id, user)
            }
            (Err(nobody), None) => Err(nobody),
            (Err(_), Some(user)) => {
                let name = self.free_name(user, None)?;
                self.may_tell()?;
                let Some(client) = self.clients.get(&id) else { return Ok(()) };
                let heard = match client.is_replayed {
                    true => Seen::All,
                    false => Seen::After(client.came_after),
                };
                self.settle(id, name, None, false);
                let lobby = self.lobby.clone();
                self.enter(wire, id, &lobby, "lobby", None)?;
                self.welcome(wire, id);
                // It has listened since it came, and goes on; what it lacks is older.
                self.caught_up(id, &lobby);
                self.tell_joined(wire, id, &lobby, heard);
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
