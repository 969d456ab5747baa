//! What is made of the stream's entries.

use super::super::entry::{Entry, Place, Read};
use super::super::roster::Difference;
use super::{Node, Seen};
use crate::cluster::{Event, Private};
use crate::history::Message;
use crate::names::Key;

impl<T> Node<T> {
    pub(super) fn read(&mut self, read: Read) {
        let Read { place, number, node, key, entry } = read;
        if number == 0 {
            self.signal(&node, entry);
            return;
        }
        if let Some(seen) = self.seen
            && number > seen.number + 1
        {
            self.out.push(Event::Gap { missed: number - seen.number - 1 });
            // What is awaited may be among the missed, and nobody should wait for it; if it comes yet, it was shown.
            let awaited = std::mem::take(&mut self.awaited);
            self.out.extend(awaited.into_values().map(|awaited| awaited.event));
        }
        self.seen = Some(Seen { place, number });
        if node == self.me.node {
            // What is not awaited was shown when Redis was lost.
            if let Some(awaited) = self.awaited.remove(&key) {
                self.out.push(awaited.event);
            } else if let Entry::Gone { .. } = entry {
                // Said by this node, of one that it found dead.
                self.presence(&node, place, entry);
            }
            return;
        }
        match entry {
            Entry::Message(said) => {
                let message = Message::from(said);
                self.ids.observe(message.id);
                self.out.push(Event::Message { tag: None, message });
            }
            Entry::Clear { room, through, by } => {
                self.out.push(Event::Clear { room, through, by });
            }
            Entry::Private { id, ts, user, to, text } => {
                if self.born.is_some_and(|born| place > born) {
                    self.out.push(Event::Private(Private { id, ts, user, to, text }));
                }
            }
            presence => self.presence(&node, place, presence),
        }
    }

    fn signal(&mut self, node: &str, entry: Entry) {
        if let Entry::Typing { room, user } = entry
            && node != self.me.node
        {
            self.out.push(Event::Typing { room, user });
        }
    }

    /// What the list that came with joining does not have in it yet.
    fn presence(&mut self, node: &str, place: Place, entry: Entry) {
        if place <= self.joined {
            return;
        }
        let event = match entry {
            Entry::Join { room, user } => {
                let new = self.others.join(node, (room.clone(), user.clone()));
                new.then_some(Event::Join { room, user })
            }
            Entry::Leave { room, user } => {
                let last = self.others.leave(node, &(room.clone(), user.clone()));
                last.then_some(Event::Leave { room, user })
            }
            Entry::Nick { was, user } => {
                let any = self.others.nick(node, &was, &user);
                any.then_some(Event::Nick { was, user })
            }
            Entry::Owner { room, owner } => Some(Event::Owner { room, owner }),
            Entry::TakenOver { name, session } => self.taken_over(&name, &session),
            Entry::Here { people } => return self.listed(node, people),
            Entry::Gone { node } => return self.listed(&node, Vec::new()),
            _ => None,
        };
        self.out.extend(event);
    }

    /// Whether it was ours, of that session.
    fn taken_over(&mut self, name: &str, session: &str) -> Option<Event<T>> {
        let key = Key::of(name);
        self.names.get(&key).filter(|(_, mine)| mine == session)?;
        let (name, _) = self.names.remove(&key)?;
        Some(Event::TakenOver { name })
    }

    fn listed(&mut self, node: &str, people: Vec<(String, String)>) {
        let Difference { came, went } = self.others.replace(node, people);
        self.out.extend(went.into_iter().map(|(room, user)| Event::Leave { room, user }));
        self.out.extend(came.into_iter().map(|(room, user)| Event::Join { room, user }));
    }
}
