//! The hub: all that the chat knows, and all that it does about what it hears.
//!
//! It is the server's state, so every handler gets it as `&mut Hub`, one at a time, on one thread. That is the whole of
//! its synchronisation: there is no mutex around the clients and no channel in front of them. A method is called with what
//! has happened and with a [`Wire`] to answer on; it never waits, and it is never entered twice.
//!
//! Here is how a client comes, speaks and goes. Beside it, in `hub/`: `naming.rs` (how it gets a name, and back to it),
//! `entering.rs` (rooms), `talking.rs` (what becomes of what it says), `orders.rs` (of its commands), `kept.rs` (what comes
//! back from the history) and `nodes.rs` (what other nodes have to say, where there are any).

mod entering;
mod kept;
mod naming;
mod nodes;
mod orders;
mod talking;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wheelhouse::ConnectionId;

use crate::client::{Client, OTHER_FRAMES, Person, subscriber};
use crate::cluster::Post;
use crate::event::{Change, Event, Level, Limits};
use crate::history::{Opened, Request as ToHistory};
use crate::ids::Ids;
use crate::message::{CloseCode, Code, Refusal, Request};
use crate::names::{Key, bare_room};
use crate::pace::{Bucket, Rate};
use crate::rooms::{LOBBY, Owner, Room, Rooms};
use crate::wire::{Backstage, Busy, Why, Wire};

/// How often [`Hub::tick`] wants to be called.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// With so many clients more, the list of rooms is pushed a second later.
const CLIENTS_PER_PUSHED_SECOND: usize = 1_000;

/// What the hub holds its clients to.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    /// Messages in a page of history, at most.
    pub(crate) page: u32,
    /// Messages that a room is replayed with to who enters, at most.
    pub(crate) replay: u32,
    /// Bytes that may wait for a client. Half of them are for the histories of all its rooms together, so that who enters
    /// many at once is not taken for a slow reader, and a quarter for all pages that it may ask for at once.
    pub(crate) outbox: usize,
    pub(crate) rooms: usize,
    pub(crate) rooms_per_client: usize,
    pub(crate) connections_per_address: usize,
    /// Messages and commands of one client, and of all clients of one address.
    pub(crate) client_rate: Rate,
    pub(crate) address_rate: Rate,
}

/// What has been counted, for `/metrics`.
#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) acked: u64,
    pub(crate) resent: u64,
    pub(crate) refused: u64,
    pub(crate) rate_limited: u64,
    pub(crate) storage_errors: u64,
    pub(crate) busy: u64,
    pub(crate) taken_over: u64,
}

pub(crate) struct Hub {
    pub(crate) rules: Rules,
    clients: HashMap<ConnectionId, Client>,
    names: HashMap<Key, ConnectionId>,
    sessions: HashMap<Arc<str>, ConnectionId>,
    addresses: HashMap<IpAddr, Address>,
    rooms: Rooms,
    lobby: Key,
    ids: Arc<Ids>,
    backstage: Box<dyn Backstage>,
    /// How often somebody has entered a room.
    stays: u64,
    /// The last message that was shown: who comes now has heard none up to it.
    last_shown: u64,
    /// When the list of rooms may be pushed again, and whether there is a need to.
    rooms_pushed: Option<Instant>,
    rooms_changed: bool,
    /// Messages of clients here that have been taken and not answered, and who waits for that to go when the server stops.
    unanswered: usize,
    leaving: Vec<ConnectionId>,
    /// Whether the other nodes can be reached; `None` where there are none.
    nodes_up: Option<bool>,
    /// Names that the other nodes are being asked for.
    claiming: HashSet<Key>,
    /// Who came and went, in order, where the queue to the other nodes had no room for it. Until they are told, nobody comes
    /// or moves by a wish of their own: so it is at most that everybody has gone.
    untold: VecDeque<Post<Why>>,
    pub(crate) counts: Counts,
}

/// Has the history forget a room. Where it has no time for that, the room stays for now, so that whoever makes it anew does
/// not find in it what others said.
fn forget(backstage: &dyn Backstage, key: &Key) -> Result<(), Busy> {
    let request = ToHistory::Forget { room: key.as_str().to_owned() };
    backstage.keep(Why::Forgotten { room: key.clone() }, request)
}

/// What clients of one address share.
struct Address {
    connections: usize,
    messages: Bucket,
}

impl Hub {
    /// A hub with the rooms that the history knows.
    pub(crate) fn new(
        rules: Rules,
        ids: Arc<Ids>,
        opened: &Opened,
        backstage: Box<dyn Backstage>,
    ) -> Self {
        let mut rooms = Rooms::new(rules.rooms);
        for room in &opened.rooms {
            let owner = room.owner.as_deref().and_then(Owner::from_stored);
            rooms.restore(Key::of(&room.name), owner, room.last_id);
        }
        ids.observe(opened.last_id);
        Self {
            rules,
            clients: HashMap::new(),
            names: HashMap::new(),
            sessions: HashMap::new(),
            addresses: HashMap::new(),
            rooms,
            lobby: Key::of(LOBBY),
            last_shown: ids.last(),
            ids,
            backstage,
            stays: 0,
            rooms_pushed: None,
            rooms_changed: false,
            unanswered: 0,
            leaving: Vec::new(),
            nodes_up: None,
            claiming: HashSet::new(),
            untold: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn client_count(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn room_count(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn nodes_up(&self) -> Option<bool> {
        self.nodes_up
    }

    // A client's life.

    /// A client has come. Until it says who it is, it hears the lobby.
    pub(crate) fn connected(&mut self, wire: &mut impl Wire, id: ConnectionId, address: IpAddr) {
        let now = wire.now();
        let address = subscriber(address);
        let fresh = Address { connections: 0, messages: Bucket::full(now) };
        let shared = self.addresses.entry(address).or_insert(fresh);
        if shared.connections >= self.rules.connections_per_address {
            log::warn!("{id}: {address} has {} connections already", shared.connections);
            wire.close(id, CloseCode::Policy, "too many connections from one address");
            return;
        }
        shared.connections += 1;
        // A dot is in no session that a client may choose.
        let session = format!("{id}-{}", wire.unix_ms()).into();
        let client = Client::new(id, address, session, self.last_shown, now);
        self.clients.insert(id, client);
        if let Some(lobby) = self.rooms.get_mut(&self.lobby) {
            lobby.listen(id);
        }
    }

    /// A client has been there for a while. If it only listens, it is shown what was said before.
    pub(crate) fn stayed(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.person().is_some() || client.is_replayed {
            return;
        }
        let (room, before) = (LOBBY.to_owned(), Some(client.came_after + 1));
        let request = ToHistory::Before { room, before, limit: self.rules.replay };
        client.is_replayed = self.backstage.keep(Why::Listener { to: id }, request).is_ok();
    }

    /// A client has said something: one frame.
    pub(crate) fn hear(&mut self, wire: &mut impl Wire, id: ConnectionId, frame: &str) {
        if self.clients.get(&id).is_none_or(|client| client.is_sent_away) {
            return; // it does not know yet
        }
        let refusal = if wire.is_stopping() {
            Refusal::new(Code::Busy, "the server is stopping: come back in a moment")
        } else if let Err(refusal) = self.pace_frame(wire, id) {
            refusal
        } else {
            return self.obey(wire, id, frame);
        };
        let request = Request::parse(frame);
        let nonce = request.as_ref().ok().and_then(Request::nonce);
        self.refuse(wire, id, &refusal, nonce);
    }

    /// A client has sent a frame that is not text.
    pub(crate) fn hear_binary(&mut self, wire: &mut impl Wire, id: ConnectionId) {
        let binary = || Refusal::new(Code::BadRequest, "a frame is text, not binary");
        let refusal = self.pace_frame(wire, id).err().unwrap_or_else(binary);
        self.refuse(wire, id, &refusal, None);
    }

    /// Does what a frame asks for, or says why not.
    fn obey(&mut self, wire: &mut impl Wire, id: ConnectionId, frame: &str) {
        let request = match Request::parse(frame) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(wire, id, &refusal, None),
        };
        let done = match self.puts_off(id, &request, frame) {
            Ok(true) => return,
            Ok(false) => self.carry_out(wire, id, &request),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = done {
            self.refuse(wire, id, &refusal, request.nonce());
        }
    }

    fn carry_out(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        match request {
            Request::Hello(hello) => self.hello(wire, id, hello),
            Request::Message { user, room, text, nonce } => {
                self.introduce(wire, id, user.as_deref())?;
                self.say(wire, id, room.as_deref(), text, nonce.as_deref())
            }
            Request::History { room, before, limit } => {
                self.page(id, room.as_deref(), *before, *limit)
            }
            Request::Typing { room } => self.typing(wire, id, room.as_deref()),
        }
    }

    /// Says no. One that is told so too often for going too fast is sent away.
    pub(crate) fn refuse(
        &mut self,
        wire: &mut impl Wire,
        id: ConnectionId,
        refusal: &Refusal,
        nonce: Option<&str>,
    ) {
        self.counts.refused += 1;
        log::debug!("{id}: refused: {:?}: {}", refusal.code, refusal.text);
        wire.send(id, &Event::Error { code: refusal.code, text: &refusal.text, nonce });
        if refusal.code != Code::RateLimited {
            return;
        }
        self.counts.rate_limited += 1;
        let now = wire.now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.wears_patience_out(now) {
            client.is_sent_away = true;
            log::warn!("{id}: over its rate for too long");
            wire.close(id, CloseCode::Policy, "over the rate limit for too long");
        }
    }

    fn pace_frame(&mut self, wire: &impl Wire, id: ConnectionId) -> Result<(), Refusal> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        let rate = self.rules.client_rate.plus(OTHER_FRAMES);
        client.frames.take(rate, wire.now()).map_err(|wait| {
            Refusal::new(Code::RateLimited, format!("too many frames: rest for {wait:.1?}"))
        })
    }

    /// What is said costs more than what is merely sent, and costs the address, too. What is refused costs neither, so that
    /// one who talks too fast takes nothing from the others of an address.
    fn pace_message(&mut self, wire: &impl Wire, id: ConnectionId) -> Result<(), Refusal> {
        let now = wire.now();
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        let mut own = client.messages;
        let shared = self.addresses.get_mut(&client.address);
        own.take(self.rules.client_rate, now)
            .and_then(|()| match shared {
                Some(address) => address.messages.take(self.rules.address_rate, now),
                None => Ok(()),
            })
            .map_err(|wait| {
                Refusal::new(Code::RateLimited, format!("too many messages: rest for {wait:.1?}"))
            })?;
        client.messages = own;
        Ok(())
    }

    /// A client has gone, for whatever reason. Called once for each, also for one that was never let in.
    pub(crate) fn gone(&mut self, wire: &mut impl Wire, id: ConnectionId) {
        if let Some(client) = self.clients.get_mut(&id).filter(|client| !client.put_off.is_empty())
        {
            client.is_gone = true; // what it said still waits for its name
            return;
        }
        let Some(person) = self.forget(id) else { return };
        for key in &person.rooms {
            self.drop_member(wire, key, &person, id);
        }
        self.tell_nodes(|| Post::Release { name: person.name.to_string() });
    }

    /// Takes a client out of everything but its rooms, and returns who it was.
    fn forget(&mut self, id: ConnectionId) -> Option<Person> {
        let client = self.clients.remove(&id)?;
        if let Some(address) = self.addresses.get_mut(&client.address) {
            address.connections = address.connections.saturating_sub(1);
        }
        if let Some(lobby) = self.rooms.get_mut(&self.lobby) {
            lobby.unlisten(id);
        }
        if self.sessions.get(&client.session) == Some(&id) {
            self.sessions.remove(&client.session);
        }
        let person = client.person().cloned()?;
        if self.names.get(&person.key) == Some(&id) {
            self.names.remove(&person.key);
        }
        Some(person)
    }

    /// The server stops, and asks each client to go. They do once every message that was taken has been answered, so that
    /// as little as can be has to be sent again.
    pub(crate) fn stopping(&mut self, wire: &mut impl Wire, id: ConnectionId) {
        self.leaving.push(id);
        self.let_go(wire);
    }

    fn let_go(&mut self, wire: &mut impl Wire) {
        if self.unanswered == 0 {
            for id in std::mem::take(&mut self.leaving) {
                wire.close(id, CloseCode::GoingAway, "the server is stopping");
            }
        }
    }

    // Once a second.

    /// Tells what large rooms have waited to tell, pushes the list of rooms if it has changed, forgets what is over.
    pub(crate) fn tick(&mut self, wire: &mut impl Wire) {
        let now = wire.now();
        self.tell_rest();
        let backstage = &self.backstage;
        self.rooms_changed |= self.rooms.sweep(now, |key| forget(&**backstage, key).is_ok());
        self.addresses
            .retain(|_, address| address.connections > 0 || !address.messages.is_full(now));
        for (_, room) in self.rooms.iter_mut() {
            let Some(crowd) = room.crowd.take() else { continue };
            let change = Change::Many {
                joined: &crowd.joined,
                joins: crowd.joins,
                left: &crowd.left,
                leaves: crowd.leaves,
            };
            let event = Event::Presence { room: &room.name, change, people: room.count() };
            wire.publish(room.watchers(None), &event);
        }
        self.push_rooms(wire, now);
    }

    fn push_rooms(&mut self, wire: &mut impl Wire, now: Instant) {
        let seconds = 1 + self.clients.len() / CLIENTS_PER_PUSHED_SECOND;
        let pause = TICK * u32::try_from(seconds).unwrap_or(u32::MAX);
        // A tick may come a little early.
        let due = |at: Instant| now.saturating_duration_since(at) + TICK / 2 >= pause;
        if !self.rooms_changed || !self.rooms_pushed.is_none_or(due) {
            return;
        }
        self.rooms_changed = false;
        self.rooms_pushed = Some(now);
        let rich = self.clients.values().filter(|client| client.is_rich());
        let event = Event::Rooms { rooms: self.rooms.list(), count: self.rooms.len() };
        wire.publish(rich.map(|client| client.id), &event);
    }

    // What the rest asks for often.

    fn person(&self, id: ConnectionId) -> Result<&Person, Refusal> {
        self.clients.get(&id).and_then(Client::person).ok_or_else(|| {
            Refusal::new(Code::BadName, "who are you? say hello, or a message with a user")
        })
    }

    /// The room that a frame means, where its sender is in it: the one named, or else the current one.
    fn room_of(&self, id: ConnectionId, named: Option<&str>) -> Result<Key, Refusal> {
        let person = self.person(id)?;
        let key = match named {
            Some(name) => Some(Key::of(bare_room(name))),
            None => person.current.clone(),
        };
        match key {
            Some(key) if person.rooms.contains(&key) => Ok(key),
            Some(key) => {
                let text = format!("you are not in the room {key:?}: /join it first");
                Err(Refusal::new(Code::NotInRoom, text))
            }
            None => Err(Refusal::new(Code::NotInRoom, "you are in no room: /join one")),
        }
    }

    /// What people see for a key.
    fn spelled<'a>(&'a self, key: &'a Key) -> &'a str {
        self.rooms.get(key).map_or(key.as_str(), |room| &room.name)
    }

    fn notice(wire: &mut impl Wire, to: ConnectionId, text: &str) {
        wire.send(to, &Event::Notice { level: Level::Info, text, room: None });
    }

    /// Tells those in a room who want to know.
    fn announce(wire: &mut impl Wire, room: &Room, change: Change<'_>, but: Option<ConnectionId>) {
        let event = Event::Presence { room: &room.name, change, people: room.count() };
        wire.publish(room.watchers(but), &event);
    }
}
