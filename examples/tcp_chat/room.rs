//! Who is here, by what name, and what a line of theirs does.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use wheelhouse::{ConnectionId, HandlerError, SlowConsumers};

use super::Conn;
use super::pace::Pace;
use super::words::{Lang, Line};

/// Characters in a name, at most.
pub(crate) const LONGEST_NAME: usize = 24;

/// Names that one line lists; the rest is a number.
const LISTED: usize = 50;

/// The state of the server.
pub(crate) struct Room {
    pub(crate) lang: Lang,
    rate: u32,
    people: HashMap<ConnectionId, Person>,
    /// Names in lower case, so that Ann and ANN are not two; in the order in which `/who` lists them.
    names: BTreeMap<String, ConnectionId>,
}

struct Person {
    name: String,
    pace: Pace,
}

/// What becomes of who said a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    Stay,
    Leave,
}

impl Room {
    pub(crate) fn new(lang: Lang, rate: u32) -> Self {
        Self { lang, rate, people: HashMap::new(), names: BTreeMap::new() }
    }

    pub(crate) fn name(&self, id: ConnectionId) -> Option<&str> {
        self.people.get(&id).map(|person| person.name.as_str())
    }

    /// Takes somebody in, and returns the line that says who is there. `Err` says what is wrong with the name.
    pub(crate) fn join<'a>(
        &mut self,
        id: ConnectionId,
        said: &'a str,
        now: Instant,
    ) -> Result<String, Line<'a>> {
        let name = said.trim();
        self.claim(id, name)?;
        self.people.insert(id, Person { name: name.to_owned(), pace: Pace::new(self.rate, now) });
        Ok(self.online())
    }

    pub(crate) fn leave(&mut self, id: ConnectionId) -> Option<String> {
        let person = self.people.remove(&id)?;
        self.names.remove(&person.name.to_lowercase());
        Some(person.name)
    }

    /// One line costs its pace: how long to rest, if at all, and whether that happens for the first time.
    pub(crate) fn spend(&mut self, id: ConnectionId, now: Instant) -> Option<(Duration, bool)> {
        self.people.get_mut(&id)?.pace.spend(now)
    }

    fn claim<'a>(&mut self, id: ConnectionId, name: &'a str) -> Result<(), Line<'a>> {
        let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
        if !fits || !name.chars().all(|c| c.is_alphanumeric() || "-_'’".contains(c)) {
            return Err(Line::BadName { longest: LONGEST_NAME });
        }
        let key = name.to_lowercase();
        match self.names.get(&key) {
            Some(owner) if *owner != id => Err(Line::NameTaken(name)),
            _ => {
                self.names.insert(key, id);
                Ok(())
            }
        }
    }

    fn rename<'a>(&mut self, id: ConnectionId, name: &'a str) -> Result<String, Line<'a>> {
        self.claim(id, name)?;
        let Some(person) = self.people.get_mut(&id) else { return Ok(String::new()) };
        let old = std::mem::replace(&mut person.name, name.to_owned());
        if old.to_lowercase() != name.to_lowercase() {
            self.names.remove(&old.to_lowercase());
        }
        Ok(old)
    }

    fn online(&self) -> String {
        let listed: Vec<&str> =
            self.names.values().filter_map(|id| self.name(*id)).take(LISTED).collect();
        let more = self.names.len() - listed.len();
        self.lang.say(Line::Online { names: &listed.join(", "), more })
    }

    /// Says a line to everybody in the room but one. Who does not read is dropped, so that the rest need not wait.
    pub(crate) fn tell_others(&self, conn: &mut Conn<'_>, line: String) {
        let speaker = conn.id();
        let others = self.people.keys().copied().filter(|id| *id != speaker);
        let told = conn.server().broadcast_to(others, line, SlowConsumers::Disconnect);
        log::debug!("{speaker}: {told:?}");
    }

    /// What a line does: a command to the server, or talk to the others.
    pub(crate) fn hear(&mut self, conn: &mut Conn<'_>, line: &str) -> Result<Then, HandlerError> {
        let line = printable(line);
        let line = line.trim();
        let name = self.name(conn.id()).unwrap_or_default().to_owned();
        match line.strip_prefix('/') {
            None if line.is_empty() => {}
            None => self.tell_others(conn, format!("[{name}]: {line}")),
            Some(slashed) if slashed.starts_with('/') => {
                self.tell_others(conn, format!("[{name}]: {slashed}"));
            }
            Some(command) => return self.obey(conn, &name, command),
        }
        Ok(Then::Stay)
    }

    fn obey(
        &mut self,
        conn: &mut Conn<'_>,
        name: &str,
        command: &str,
    ) -> Result<Then, HandlerError> {
        let (command, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = rest.trim();
        let reply = match command {
            "who" => self.online(),
            "help" => self.lang.say(Line::Help),
            "quit" => {
                conn.write(self.lang.say(Line::Goodbye))?;
                return Ok(Then::Leave);
            }
            "me" if rest.is_empty() => self.lang.say(Line::WhatDoing),
            "me" => {
                self.tell_others(conn, format!("* {name} {rest}"));
                return Ok(Then::Stay);
            }
            "nick" => match self.rename(conn.id(), rest) {
                Ok(old) => {
                    let line = self.lang.say(Line::Renamed { old: &old, new: rest });
                    self.tell_others(conn, line.clone());
                    line
                }
                Err(why) => self.lang.say(why),
            },
            _ => self.lang.say(Line::NoSuchCommand(command)),
        };
        conn.write(reply)?;
        Ok(Then::Stay)
    }
}

/// Without what would move somebody else's cursor or ring their bell.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}
