//! The rooms: who is in which, who owns it, who hears what is said there. Nothing is sent from here.
//!
//! A room begins with the first who joins it, its owner. It stays when the last has left: for as long as it has a history,
//! or else for some minutes, so that an owner whose connection broke finds it as it was. Where there are as many rooms as
//! there may be, the one that has been empty for longest gives way. The lobby is always there and is nobody's. The history
//! knows of a room only what is known here: one that goes is forgotten there as well, and the caller sees to that.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wheelhouse::ConnectionId;

use crate::event::RoomInfo;
use crate::names::Key;
use crate::presence::Crowd;

/// Where everybody is who asked for nothing else.
pub(crate) const LOBBY: &str = "lobby";

/// Rooms that a list names: those with the most people.
pub(crate) const LISTED_ROOMS: usize = 100;

/// Names that a list of people has; the rest is a number.
pub(crate) const LISTED_PEOPLE: usize = 200;

/// How long a room without people and without messages is remembered.
const EMPTY_FOR: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: BTreeMap<Key, Room>,
    limit: usize,
}

#[derive(Debug)]
pub(crate) struct Room {
    /// As who made it spelled it.
    pub(crate) name: Arc<str>,
    pub(crate) owner: Option<Owner>,
    /// By name, which is the order of the lists.
    members: BTreeMap<Key, Member>,
    /// People who are in it by way of other nodes.
    elsewhere: BTreeMap<Key, Arc<str>>,
    /// Those who hear and have no name yet: clients that have said nothing so far.
    listeners: HashSet<ConnectionId>,
    /// Comings and goings that wait to be told together.
    pub(crate) crowd: Crowd,
    /// The last of its messages that are stored; 0 where there is none.
    pub(crate) last_kept: u64,
    /// Its owner is stored as it is.
    pub(crate) owner_is_kept: bool,
    /// The last time that its owner cleared it, since the server's start: up to which message, and who.
    pub(crate) cleared: Option<(u64, Arc<str>)>,
    /// Since when nobody has been in it, where somebody was before.
    empty_since: Option<Instant>,
    is_lobby: bool,
}

/// Whose room it is: a session's, so that it stays theirs when they come back.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) session: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Owner {
    /// As it is stored. A session has no space in it, and a name neither.
    pub(crate) fn to_stored(&self) -> String {
        format!("{} {}", self.session, self.name)
    }

    pub(crate) fn from_stored(stored: &str) -> Option<Self> {
        let (session, name) = stored.split_once(' ')?;
        Some(Self { session: session.into(), name: name.into() })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: ConnectionId,
    pub(crate) name: Arc<str>,
    /// Has a session of its own, and so understands more than messages.
    pub(crate) is_rich: bool,
    /// Its history is on the way: what is stored meanwhile is in that history, or comes after it.
    pub(crate) is_catching_up: bool,
    /// Tells this stay from an earlier one of the same client, whose history may still be on the way.
    pub(crate) stay: u64,
}

impl Rooms {
    pub(crate) fn new(limit: usize) -> Self {
        let lobby = Room { is_lobby: true, ..Room::new(LOBBY, None) };
        Self { rooms: BTreeMap::from([(Key::of(LOBBY), lobby)]), limit: limit.max(1) }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Room> {
        self.rooms.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Room> {
        self.rooms.get_mut(key)
    }

    /// Which room has to go so that this one can be made: the one that has been empty for longest. `None`: none has to, or
    /// there is somebody in each.
    pub(crate) fn in_the_way_of(&self, key: &Key) -> Option<&Key> {
        if self.rooms.contains_key(key) || self.rooms.len() < self.limit {
            return None;
        }
        let empty = self.rooms.iter().filter(|(_, room)| room.count() == 0 && !room.is_lobby);
        // `None` comes first: a room that nobody has been in since the start; of several, the one silent for longest.
        empty.min_by_key(|(_, room)| (room.empty_since, room.last_kept)).map(|(key, _)| key)
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.rooms.remove(key);
    }

    /// The room, made for this owner if need be. `None`: there are as many rooms as there may be.
    pub(crate) fn get_or_make(
        &mut self,
        key: &Key,
        name: &str,
        owner: impl FnOnce() -> Option<Owner>,
    ) -> Option<&mut Room> {
        let full = self.rooms.len() >= self.limit;
        match self.rooms.entry(key.clone()) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(entry) => Some(entry.insert(Room::new(name, owner()))),
        }
    }

    /// A room from before the server's last start: nobody is in it.
    pub(crate) fn restore(&mut self, key: Key, owner: Option<Owner>, last_kept: u64) {
        let is_known = self.rooms.contains_key(&key); // the lobby
        if !is_known && self.rooms.len() >= self.limit {
            return;
        }
        let name = key.as_str().to_owned();
        let room = self.rooms.entry(key).or_insert_with(|| Room::new(&name, owner));
        room.last_kept = last_kept;
        room.owner_is_kept = room.owner.is_some();
    }

    /// Drops the rooms that nobody has been in for long and nothing is kept of, where `forget` says that this may be; says
    /// whether there were any.
    pub(crate) fn sweep(&mut self, now: Instant, mut forget: impl FnMut(&Key) -> bool) -> bool {
        let before = self.rooms.len();
        self.rooms.retain(|key, room| {
            let lasts = |since| now.saturating_duration_since(since) < EMPTY_FOR;
            room.has_history() || room.empty_since.is_none_or(lasts) || !forget(key)
        });
        self.rooms.len() != before
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Key, &mut Room)> {
        self.rooms.iter_mut()
    }

    /// The fullest rooms, and the lobby first.
    pub(crate) fn list(&self) -> Vec<RoomInfo<'_>> {
        let mut rooms: Vec<&Room> = self.rooms.values().collect();
        // A stable sort leaves equals in the order of their names.
        rooms.sort_by_key(|room| (!room.is_lobby, std::cmp::Reverse(room.count())));
        rooms.truncate(LISTED_ROOMS);
        rooms
            .into_iter()
            .map(|room| RoomInfo {
                name: &room.name,
                people: room.count(),
                owner: room.owner_name(),
            })
            .collect()
    }
}

impl Room {
    fn new(name: &str, owner: Option<Owner>) -> Self {
        Self {
            name: name.into(),
            owner,
            members: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            listeners: HashSet::new(),
            crowd: Crowd::default(),
            last_kept: 0,
            owner_is_kept: false,
            cleared: None,
            empty_since: None,
            is_lobby: false,
        }
    }

    /// Something said in it is stored.
    pub(crate) fn has_history(&self) -> bool {
        self.last_kept > 0
    }

    pub(crate) fn owner_name(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| &*owner.name)
    }

    pub(crate) fn is_owned_by(&self, session: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| &*owner.session == session)
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len() + self.elsewhere.len()
    }

    /// The first names, for a list.
    pub(crate) fn people(&self) -> Vec<&str> {
        let here = self.members.iter().map(|(key, member)| (key, &*member.name));
        let elsewhere = self.elsewhere.iter().map(|(key, name)| (key, &**name));
        let mut people: Vec<_> =
            here.take(LISTED_PEOPLE).chain(elsewhere.take(LISTED_PEOPLE)).collect();
        people.sort_unstable();
        people.truncate(LISTED_PEOPLE);
        people.into_iter().map(|(_, name)| name).collect()
    }

    pub(crate) fn member_mut(&mut self, name: &Key) -> Option<&mut Member> {
        self.members.get_mut(name)
    }

    pub(crate) fn is_member(&self, name: &Key) -> bool {
        self.members.contains_key(name)
    }

    pub(crate) fn add(&mut self, name: Key, member: Member) {
        // Who moved here from another node is not there any more, whenever that one says so.
        self.elsewhere.remove(&name);
        self.members.insert(name, member);
        self.empty_since = None;
    }

    pub(crate) fn remove(&mut self, name: &Key, now: Instant) -> Option<Member> {
        let member = self.members.remove(name)?;
        self.note_empty(now);
        Some(member)
    }

    /// Somebody on another node is in it. Says whether that is news.
    pub(crate) fn add_elsewhere(&mut self, name: &str) -> bool {
        self.empty_since = None;
        self.elsewhere.insert(Key::of(name), name.into()).is_none()
    }

    pub(crate) fn remove_elsewhere(&mut self, name: &Key, now: Instant) -> bool {
        let was_there = self.elsewhere.remove(name).is_some();
        self.note_empty(now);
        was_there
    }

    pub(crate) fn is_elsewhere(&self, name: &Key) -> bool {
        self.elsewhere.contains_key(name)
    }

    /// The people on other nodes are these and no others. What that changes is told with the next summary.
    pub(crate) fn set_elsewhere(&mut self, people: BTreeMap<Key, Arc<str>>, now: Instant) {
        let before = std::mem::replace(&mut self.elsewhere, people);
        for (_, name) in before.iter().filter(|(key, _)| !self.elsewhere.contains_key(key)) {
            self.crowd.went(name);
        }
        for (_, name) in self.elsewhere.iter().filter(|(key, _)| !before.contains_key(key)) {
            self.crowd.came(name);
        }
        if !before.is_empty() {
            self.note_empty(now);
        }
    }

    /// Somebody has left it, or nobody has come: from here on it is empty, if it is.
    pub(crate) fn note_empty(&mut self, now: Instant) {
        // The lobby is never forgotten.
        let is_empty = self.count() == 0 && !self.is_lobby;
        self.empty_since = is_empty.then_some(now);
    }

    pub(crate) fn listen(&mut self, id: ConnectionId) {
        self.listeners.insert(id);
    }

    pub(crate) fn unlisten(&mut self, id: ConnectionId) {
        self.listeners.remove(&id);
    }

    /// Who hears a message now: all but those whose history is still on the way, and it in there or behind it.
    pub(crate) fn hearers(&self) -> impl Iterator<Item = ConnectionId> {
        let members = self.members.values().filter(|member| !member.is_catching_up);
        members.map(|member| member.id).chain(self.listeners.iter().copied())
    }

    /// Everybody in it, named or not.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = ConnectionId> {
        self.members.values().map(|member| member.id).chain(self.listeners.iter().copied())
    }

    /// Who is told what is not a message: rich clients, who know what to make of it.
    pub(crate) fn watchers(&self, but: Option<ConnectionId>) -> impl Iterator<Item = ConnectionId> {
        let rich = self.members.values().filter(|member| member.is_rich);
        rich.map(|member| member.id).filter(move |id| Some(*id) != but)
    }
}
