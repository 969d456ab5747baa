//! What becomes of what a client says: a message, a private word, that it is typing, a wish for older messages.
//!
//! A message gets its id here and goes to the history; it is shown when it comes back (`hub/kept.rs`). So what everybody
//! saw is what is on disk, in one order; and a message that is sent again because its acknowledgement was lost is found
//! there, and shown to nobody twice.

use wheelhouse::ConnectionId;

use super::Hub;
use crate::cluster::{Post, Private};
use crate::commands::Input;
use crate::event::Event;
use crate::history::{Kind, Message, Nonce, Request};
use crate::message::{Code, Refusal};
use crate::names::Key;
use crate::presence::LARGE;
use crate::wire::{Busy, Why, Wire};

/// Messages in one page, where a client names no number.
const PAGE: u32 = 50;

/// Pages that one client may wait for: each may be long, and all have to fit in its outbox, beside what is said meanwhile.
pub(super) const PAGES_WAITED_FOR: usize = 4;

impl Hub {
    /// A text: a command, or a message to a room.
    pub(super) fn say(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        room: Option<&str>,
        text: &str,
        nonce: Option<&str>,
    ) -> Result<(), Refusal> {
        self.person(id)?;
        self.pace_message(wire, id)?;
        let (length, most) = (text.chars().count(), self.rules.limits.text);
        if length > most {
            let text = format!("a text of {length} characters: the longest has {most}");
            return Err(Refusal::new(Code::TooLong, text));
        }
        match Input::of(text) {
            Input::Talk(text) => {
                let room = self.room_of(id, room)?;
                self.keep_message(wire, id, &room, Kind::Message, text, nonce)
            }
            command => self.order(wire, id, command, room, nonce),
        }
    }

    /// Gives a message its id and leaves it for the history.
    pub(super) fn keep_message(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        room: &Key,
        kind: Kind,
        text: &str,
        nonce: Option<&str>,
    ) -> Result<(), Refusal> {
        if text.trim().is_empty() {
            return Err(Refusal::new(Code::BadRequest, "there is nothing in this message"));
        }
        let user = self.person(id)?.name.to_string();
        let session = self.clients.get(&id).map(|client| client.session.to_string());
        let ts = wire.unix_ms();
        let message = Message {
            id: self.ids.next(ts),
            room: room.as_str().to_owned(),
            ts,
            user,
            text: text.to_owned(),
            kind,
            nonce: session
                .zip(nonce)
                .map(|(session, nonce)| Nonce { session, nonce: nonce.to_owned() }),
        };
        self.counts.messages += 1;
        let why = Why::Said { by: id };
        let left = if self.backstage.has_nodes() {
            self.backstage.post(Post::Message { tag: why, message }).map_err(|_| Busy)
        } else {
            self.backstage.keep(why, Request::Append(message))
        };
        left.map_err(|busy| self.busy(busy))?;
        self.unanswered += 1;
        Ok(())
    }

    pub(super) fn busy(&mut self, _: Busy) -> Refusal {
        self.counts.busy += 1;
        Refusal::new(Code::Busy, "the server has more to store than it can: try again in a moment")
    }

    /// `/msg`: to one person, and not stored.
    pub(super) fn whisper(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        to: &str,
        text: &str,
        nonce: Option<&str>,
    ) -> Result<(), Refusal> {
        let from = self.person(id)?;
        let ts = wire.unix_ms();
        if self.backstage.has_nodes() && self.may_be_elsewhere(to) {
            let (id, user) = (self.ids.next(ts), from.name.to_string());
            let private = Private { id, ts, user, to: to.to_owned(), text: text.to_owned() };
            let left = self.backstage.post(Post::Private { private });
            return left.map_err(|_| self.busy(Busy)); // it comes back to both
        }
        let Some(&other) = self.names.get(&Key::of(to)) else {
            return Err(nobody(to));
        };
        let to = &self.person(other)?.name;
        let (message, user) = (self.ids.next(ts), &from.name);
        let to_sender = Event::Private { id: message, ts, user, to, text, nonce };
        wire.send(id, &to_sender);
        if other != id {
            wire.send(other, &Event::Private { id: message, ts, user, to, text, nonce: None });
        }
        Ok(())
    }

    /// A page of older messages; the answer comes from the history.
    pub(super) fn page(
        &mut self,
        id: ConnectionId,
        room: Option<&str>,
        before: Option<u64>,
        limit: Option<u32>,
    ) -> Result<(), Refusal> {
        let key = self.room_of(id, room)?;
        if self.clients.get(&id).is_some_and(|client| client.pages >= PAGES_WAITED_FOR) {
            let text = format!("{PAGES_WAITED_FOR} pages are on their way already");
            return Err(Refusal::new(Code::Busy, text));
        }
        let limit = limit.unwrap_or(PAGE).clamp(1, self.rules.page);
        let request = Request::Before { room: key.as_str().to_owned(), before, limit };
        let left = self.backstage.keep(Why::Page { to: id, room: key }, request);
        left.map_err(|busy| self.busy(busy))?;
        self.clients.entry(id).and_modify(|client| client.pages += 1);
        Ok(())
    }

    /// Passes on that somebody is typing. Where that cannot be, nobody needs to be told so.
    pub(super) fn typing(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        room: Option<&str>,
    ) -> Result<(), Refusal> {
        let key = self.room_of(id, room)?;
        let now = wire.now();
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        if client.may_tell_typing(now)
            && let Some(person) = client.person()
            && let Some(room) = self.rooms.get(&key).filter(|room| room.count() <= LARGE)
        {
            let event = Event::Typing { room: &room.name, user: &person.name };
            wire.publish(room.watchers(Some(id)), &event);
            if self.backstage.has_nodes() {
                let (room, user) = (key.as_str().to_owned(), person.name.to_string());
                drop(self.backstage.post(Post::Typing { room, user })); // or they miss it
            }
        }
        Ok(())
    }
}

/// There is nobody of this name, here or elsewhere.
pub(super) fn nobody(name: &str) -> Refusal {
    Refusal::new(Code::NoSuchUser, format!("nobody here is called {name}"))
}
