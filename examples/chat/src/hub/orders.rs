//! The commands, carried out. `commands.rs` reads them.

use wheelhouse::ConnectionId;

use super::Hub;
use crate::cluster::Post;
use crate::commands::{self, Command, Input};
use crate::event::Event;
use crate::history::{Kind, Request};
use crate::message::{Code, Refusal};
use crate::names::{Key, bare_room};
use crate::wire::{Busy, Why, Wire};

impl Hub {
    pub(super) fn order(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        input: Input<'_>,
        room: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<(), Refusal> {
        let command = match input {
            Input::Command(command) => command,
            Input::Talk(text) => {
                let room = self.room_of(id, room)?;
                return self.keep_message(wire, id, &room, Kind::Message, text, nonce);
            }
            Input::Misused(help) => {
                let usage = format!("It is used so: {} {}", help.name, help.args);
                Self::notice(wire, id, &usage);
                return Ok(());
            }
            Input::Unknown(name) => {
                let text = format!("There is no command /{name}. /help lists those there are.");
                Self::notice(wire, id, &text);
                return Ok(());
            }
        };
        if matches!(command, Command::Nick(_) | Command::Join(_) | Command::Leave(_)) {
            self.may_tell()?;
        }
        match command {
            Command::Help => Self::notice(wire, id, &commands::help()),
            Command::Nick(name) => self.rename(wire, id, name)?,
            Command::Join(name) => self.join(wire, id, name)?,
            Command::Leave(named) => self.leave(wire, id, named.or(room))?,
            Command::Rooms => {
                let rooms = self.rooms.list();
                wire.send(id, &Event::Rooms { rooms, count: self.rooms.len() });
            }
            Command::Who(named) => self.who(wire, id, named.or(room))?,
            Command::Me(text) => {
                let room = self.room_of(id, room)?;
                self.keep_message(wire, id, &room, Kind::Action, text, nonce)?;
            }
            Command::Msg { to, text } => self.whisper(wire, id, to, text, nonce)?,
            Command::ClearView => {
                let key = self.room_of(id, room)?;
                let (room, through) = (self.spelled(&key), self.last_shown);
                wire.send(id, &Event::Clear { room, by: None, through });
            }
            Command::ClearRoom => self.clear_room(id, room)?,
        }
        Ok(())
    }

    /// Any room may be asked after, also one that the asker is not in.
    fn who(
        &self,
        wire: &mut impl Wire,
        id: ConnectionId,
        named: Option<&str>,
    ) -> Result<(), Refusal> {
        let key = match named {
            Some(name) => Key::of(bare_room(name)),
            None => self.room_of(id, None)?,
        };
        let Some(room) = self.rooms.get(&key) else {
            return Err(Refusal::new(Code::BadRoom, format!("there is no room {key:?}")));
        };
        let (people, count) = (room.people(), room.count());
        wire.send(id, &Event::People { room: &room.name, people, count });
        Ok(())
    }

    /// Asks the history to forget a room's messages. Everybody is told when it has.
    fn clear_room(&mut self, id: ConnectionId, room: Option<&str>) -> Result<(), Refusal> {
        let key = self.room_of(id, room)?;
        let (Some(client), Some(room)) = (self.clients.get(&id), self.rooms.get(&key)) else {
            return Ok(());
        };
        if !room.is_owned_by(&client.session) {
            let text = match room.owner_name() {
                Some(owner) => format!("{} is {owner}'s to clear", room.name),
                None => format!("{} is nobody's to clear", room.name),
            };
            return Err(Refusal::new(Code::NotOwner, text));
        }
        // All that has an id by now: what is said from here on is not meant.
        let through = self.ids.last();
        let (name, room) = (self.person(id)?.name.to_string(), key.as_str().to_owned());
        let left = if self.backstage.has_nodes() {
            self.backstage.post(Post::Clear { room, through, by: name }).map_err(|_| Busy)
        } else {
            let why = Why::Clear { by: Some(id), name, room: key, through };
            self.backstage.keep(why, Request::Clear { room, through })
        };
        left.map_err(|busy| self.busy(busy))
    }
}
