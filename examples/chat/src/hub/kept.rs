//! What comes back from the history's thread: messages to be shown, pages, rooms that are clear.
//!
//! Answers come in the order of the requests. That order is the one in which everybody in a room sees its messages.

use wheelhouse::ConnectionId;

use super::Hub;
use super::talking::PAGES_WAITED_FOR;
use crate::event::{Event, Level, Said};
use crate::history::{Answer, Kind, Message, Reply, Request, StoreError};
use crate::message::{Code, Refusal};
use crate::names::Key;
use crate::wire::{Why, Wire};

impl Hub {
    /// What the history has done.
    pub(crate) fn answered(&mut self, wire: &mut impl Wire, answers: Vec<Answer<Why>>) {
        for Answer { tag, result } in answers {
            match tag {
                Why::Said { by } => {
                    self.message_kept(wire, by, result);
                    self.answered_one(wire);
                }
                Why::SaidElsewhere => match result {
                    Ok(Reply::Stored(message)) => {
                        self.show(wire, &message, None);
                        self.note_history(&Key::of(&message.room), message.id);
                    }
                    Ok(_) => {} // it came before
                    Err(error) => {
                        self.count_fault(&error);
                        if let Some(message) = &error.message {
                            self.show(wire, message, None);
                        }
                    }
                },
                Why::Replay { to, room, stay } => {
                    // Who has left and come back waits for the history that was asked for last.
                    if self.member(to, &room).is_some_and(|member| member.stay == stay) {
                        self.show_page(wire, to, &room, result, true);
                        self.caught_up(to, &room);
                    }
                }
                Why::Listener { to } => {
                    let lobby = self.lobby.clone();
                    // Who has come into the lobby otherwise meanwhile waits for a history of its own.
                    let is_silent = self.person(to).is_err();
                    let is_plain = self
                        .member(to, &lobby)
                        .is_some_and(|member| !member.is_rich && !member.is_catching_up);
                    if is_silent || is_plain {
                        self.show_page(wire, to, &lobby, result, true);
                    }
                }
                Why::Page { to, room } => self.show_page(wire, to, &room, result, false),
                Why::Clear { by, name, room, through } => match result {
                    Ok(_) => {
                        log::info!("{name} has cleared {room}");
                        self.cleared(wire, &room, &name, through);
                    }
                    Err(error) => {
                        self.count_fault(&error);
                        let Some(by) = by else { continue };
                        let text = format!("the room was not cleared: {error}");
                        self.refuse(wire, by, &Refusal::new(Code::Storage, text), None);
                    }
                },
                Why::Owner { room } => {
                    if let Err(error) = result {
                        self.count_fault(&error);
                        log::warn!("the owner of {room} is not on disk: {error}");
                        if let Some(room) = self.rooms.get_mut(&room) {
                            room.owner_is_kept = false;
                        }
                    }
                }
                Why::Forgotten { room } => {
                    if let Err(error) = result {
                        self.count_fault(&error);
                        log::warn!("{room} is still on disk, and here again at the next start");
                    }
                }
                Why::Name { .. } => {} // no question to the history
            }
        }
    }

    /// One message less to wait for when the server stops.
    pub(super) fn answered_one(&mut self, wire: &mut impl Wire) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.let_go(wire);
    }

    /// A message of a client here is on disk, or was already, or could not be stored.
    fn message_kept(
        &mut self,
        wire: &mut impl Wire,
        by: ConnectionId,
        result: Result<Reply, StoreError>,
    ) {
        match result {
            Ok(Reply::Stored(message)) => {
                let sender = self.sender(&message, by);
                self.show(wire, &message, Some(sender));
                self.acknowledge(wire, &message, sender, (message.id, message.ts, &message.room));
                self.note_history(&Key::of(&message.room), message.id);
            }
            Ok(Reply::Duplicate { asked, id, ts, room }) => {
                self.counts.resent += 1;
                let sender = self.sender(&asked, by);
                self.acknowledge(wire, &asked, sender, (id, ts, &room));
            }
            Ok(_) => {}
            Err(error) => {
                self.count_fault(&error);
                let Some(message) = &error.message else { return };
                let sender = self.sender(message, by);
                self.show(wire, message, Some(sender));
                let text = format!("shown, but not kept: {error}");
                let nonce = message.nonce.as_ref().map(|nonce| &*nonce.nonce);
                self.refuse(wire, sender, &Refusal::new(Code::Storage, text), nonce);
            }
        }
    }

    fn count_fault(&mut self, error: &StoreError) {
        self.counts.storage_errors += 1;
        log::error!("{error}");
    }

    /// Who said it, by now: the session may have come back on another connection while its message was being stored.
    fn sender(&self, message: &Message, by: ConnectionId) -> ConnectionId {
        let session = message.nonce.as_ref().map(|nonce| &*nonce.session);
        session.and_then(|session| self.sessions.get(session)).copied().unwrap_or(by)
    }

    fn acknowledge(
        &mut self,
        wire: &mut impl Wire,
        message: &Message,
        sender: ConnectionId,
        (id, ts, room): (u64, u64, &str),
    ) {
        let Some(nonce) = &message.nonce else { return };
        self.counts.acked += 1;
        let key = Key::of(room);
        let (nonce, room) = (&*nonce.nonce, self.spelled(&key));
        wire.send(sender, &Event::Ack { nonce, id, ts, room });
    }

    /// Shows a message to all in its room; to its sender with the nonce.
    pub(super) fn show(
        &mut self,
        wire: &mut impl Wire,
        message: &Message,
        sender: Option<ConnectionId>,
    ) {
        self.last_shown = self.last_shown.max(message.id);
        let Some(room) = self.rooms.get(&Key::of(&message.room)) else { return };
        let apart = sender.filter(|_| message.nonce.is_some());
        let others = room.hearers().filter(|id| Some(*id) != apart);
        wire.publish(others, &said(message, &room.name, None));
        if let Some(sender) = apart.filter(|sender| room.hearers().any(|id| id == *sender)) {
            let nonce = message.nonce.as_ref().map(|nonce| &*nonce.nonce);
            wire.send(sender, &said(message, &room.name, nonce));
        }
    }

    fn show_page(
        &mut self,
        wire: &mut impl Wire,
        to: ConnectionId,
        key: &Key,
        result: Result<Reply, StoreError>,
        replay: bool,
    ) {
        let Some(client) = self.clients.get_mut(&to) else { return };
        if !replay {
            client.pages = client.pages.saturating_sub(1);
        }
        let Some(client) = self.clients.get(&to) else { return };
        let (mut messages, mut more) = match result {
            Ok(Reply::Page { messages, more, .. }) => (messages, more),
            Ok(_) => return,
            Err(error) => {
                self.count_fault(&error);
                let text = format!("the history cannot be read: {error}");
                let room = Some(self.spelled(key));
                wire.send(to, &Event::Notice { level: Level::Warn, text: &text, room });
                return;
            }
        };
        let rooms = client.person().map_or(1, |person| person.rooms.len().max(1));
        let budget = match replay {
            true => self.rules.outbox / 2 / rooms,
            false => self.rules.outbox / 4 / PAGES_WAITED_FOR,
        };
        let over = over_budget(&messages, self.spelled(key), budget);
        messages.drain(..over);
        more |= over > 0;
        let room = self.spelled(key);
        let own = |message: &&Message| {
            message.nonce.as_ref().is_some_and(|nonce| *nonce.session == *client.session)
        };
        let events = messages.iter().map(|message| {
            let nonce = Some(message).filter(own).and_then(|own| own.nonce.as_ref());
            said(message, room, nonce.map(|nonce| &*nonce.nonce))
        });
        let messages = events.collect();
        wire.send(to, &Event::History { room, messages, more, replay });
    }

    fn cleared(&mut self, wire: &mut impl Wire, key: &Key, by: &str, through: u64) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        // What other nodes said meanwhile may have a greater id, and is kept.
        if room.last_kept <= through {
            room.last_kept = 0;
        }
        room.cleared = Some((through, by.into()));
        let event = Event::Clear { room: &room.name, by: Some(by), through };
        wire.publish(room.everybody(), &event);
    }

    // Owners.

    /// A room in which something was stored lasts, and its owner with it.
    fn note_history(&mut self, key: &Key, id: u64) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.last_kept = room.last_kept.max(id);
        if !room.owner_is_kept {
            self.keep_owner(key);
        }
    }

    /// Leaves the owner for the history, where there is one of this room: otherwise the next message does. Where there is no
    /// place for it in the queue, the next rename or message may find some.
    pub(super) fn keep_owner(&mut self, key: &Key) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.owner_is_kept = false;
        let Some(owner) = room.owner.as_ref().filter(|_| room.last_kept > 0) else { return };
        let owner = Some(owner.to_stored());
        let request = Request::SetOwner { room: key.as_str().to_owned(), owner };
        room.owner_is_kept = self.backstage.keep(Why::Owner { room: key.clone() }, request).is_ok();
    }
}

/// How many of the oldest do not go into so many bytes of JSON. The newest always does.
fn over_budget(messages: &[Message], room: &str, budget: usize) -> usize {
    let mut left = budget;
    let fits = |message: &&Message| {
        let nonce = message.nonce.as_ref().map_or(0, |nonce| in_json(&nonce.nonce));
        let names = message.user.len() + room.len();
        let bytes = FRAME_OF_A_MESSAGE + names + in_json(&message.text) + nonce;
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    };
    let fitting = messages.iter().rev().take_while(fits).count();
    messages.len() - fitting.max(1).min(messages.len())
}

/// What a message has in JSON beside its texts, at most: names of fields, and numbers.
const FRAME_OF_A_MESSAGE: usize = 110;

/// Bytes of a text as JSON.
fn in_json(text: &str) -> usize {
    let escape = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(escape).sum::<usize>()
}

fn said<'a>(message: &'a Message, room: &'a str, nonce: Option<&'a str>) -> Event<'a> {
    let Message { id, ts, user, text, kind, .. } = message;
    let said = Said { id: *id, room, ts: *ts, user, text, nonce };
    match kind {
        Kind::Message => Event::Message(said),
        Kind::Action => Event::Action(said),
    }
}
