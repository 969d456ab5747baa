//! How a client comes into rooms and leaves them.
//!
//! Who enters a room is at once one of its people, but hears no message there until its history has come back from the
//! history's thread. Answers come in the order of the requests, so whatever was stored before the history was read is in
//! it, and whatever is stored after it is shown after it: nothing is missed, and nothing comes twice.

use std::sync::Arc;

use wheelhouse::ConnectionId;

use super::{Hub, forget};
use crate::client::Person;
use crate::cluster::Post;
use crate::event::{Change, Event};
use crate::history::Request;
use crate::message::{Code, Refusal};
use crate::names::{Key, bare_room, checked_room};
use crate::presence::LARGE;
use crate::rooms::{Member, Owner, Room};
use crate::wire::{Busy, Why, Wire};

/// What somebody who enters has seen of a room already.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Nothing,
    /// All up to this message: the rest is wanted.
    UpTo(u64),
    /// All after this message, live: the rest is wanted.
    After(u64),
    All,
}

impl Hub {
    /// Makes the client one of a room's people, and tells the others. `before` is who its session was a moment ago: where
    /// that one was in the room by the same name, nobody has come.
    pub(super) fn enter(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        key: &Key,
        name: &str,
        before: Option<&Person>,
    ) -> Result<(), Refusal> {
        let name = self.room_name(name)?;
        if self.person(id)?.rooms.len() >= self.rules.rooms_per_client {
            let most = self.rules.rooms_per_client;
            let text = format!("you are in {most} rooms, which is the most: /leave one first");
            return Err(Refusal::new(Code::BadRoom, text));
        }
        self.make_way(key).map_err(|busy| self.busy(busy))?;
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        let session = Arc::clone(&client.session);
        let Some(person) = client.person_mut() else { return Ok(()) };
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
        self.stays += 1;
        let (name, stay) = (Arc::clone(&user), self.stays);
        let member = Member { id, name, is_rich, is_catching_up: true, stay };
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

    /// A room's name as it may be used. One that is there may be longer than a new one: what `ß` is compared as is.
    fn room_name<'a>(&self, name: &'a str) -> Result<&'a str, Refusal> {
        let is_there = self.rooms.get(&Key::of(bare_room(name))).is_some();
        let longest = if is_there { usize::MAX } else { self.rules.limits.room };
        checked_room(name, longest).map_err(|why| Refusal::new(Code::BadRoom, why))
    }

    /// Where this room would be one too many, the one that has been empty for longest goes, and its history with it.
    pub(super) fn make_way(&mut self, key: &Key) -> Result<(), Busy> {
        let Some(oldest) = self.rooms.in_the_way_of(key).cloned() else { return Ok(()) };
        forget(&*self.backstage, &oldest)?;
        log::info!("{oldest} gives way to {key}");
        self.rooms.remove(&oldest);
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
    pub(super) fn tell_joined(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        key: &Key,
        seen: Seen,
    ) {
        self.show_room(wire, id, key);
        if let Seen::UpTo(since) = seen {
            self.tell_cleared(wire, id, key, since);
        }
        let (room, limit) = (key.as_str().to_owned(), self.rules.replay);
        let request = match seen {
            Seen::Nothing => Request::Before { room, before: None, limit },
            Seen::After(id) => Request::Before { room, before: Some(id + 1), limit },
            Seen::UpTo(since) => Request::Since { room, since, limit },
            Seen::All => return,
        };
        let Some(stay) = self.member(id, key).map(|member| member.stay) else { return };
        let why = Why::Replay { to: id, room: key.clone(), stay };
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

    /// Who was away when the room was cleared is told now.
    fn tell_cleared(&self, wire: &mut impl Wire, id: ConnectionId, key: &Key, since: u64) {
        let Some(room) = self.rooms.get(key) else { return };
        if let Some((through, by)) = room.cleared.as_ref().filter(|(through, _)| since <= *through)
        {
            let (room, by, through) = (&*room.name, Some(&**by), *through);
            wire.send(id, &Event::Clear { room, by, through });
        }
    }

    /// From here on the client hears what is said in the room.
    pub(super) fn caught_up(&mut self, id: ConnectionId, key: &Key) {
        if let Some(member) = self.member(id, key) {
            member.is_catching_up = false;
        }
    }

    /// A client as one of a room's people, where it is.
    pub(super) fn member(&mut self, id: ConnectionId, key: &Key) -> Option<&mut Member> {
        let name = &self.clients.get(&id)?.person()?.key;
        self.rooms.get_mut(key)?.member_mut(name).filter(|member| member.id == id)
    }

    /// `/join`.
    pub(super) fn join(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        name: &str,
    ) -> Result<(), Refusal> {
        let name = self.room_name(name)?;
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
}
