//! The server's side of a schedule: handlers that do anything at random, and the record of what they were told.
//!
//! A panic in here would be taken for a handler's own; so what is found wrong is noted, and told between turns.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wheelhouse::{
    Broadcast, CloseReason, Connection, ConnectionHandle, ConnectionId, Handlers, ServerRef,
    SlowConsumers,
};

use super::choices::Choices;
use super::timing::Timer;
use super::wire::{Wire, asks};

pub(crate) type Conn<'a, const SPEAKS: bool> = Connection<'a, Wire<SPEAKS>, World<SPEAKS>>;
pub(super) type Server<'a, const SPEAKS: bool> = ServerRef<'a, Wire<SPEAKS>, World<SPEAKS>>;
pub(super) type Calls<const SPEAKS: bool> = Handlers<Wire<SPEAKS>, World<SPEAKS>>;

/// Who wrote a packet: the loop's thread, or a handle.
pub(crate) const BY_LOOP: u8 = 0;
pub(crate) const BY_HANDLE: u8 = 1;

pub(crate) struct World<const SPEAKS: bool> {
    pub(crate) rng: Choices,
    pub(crate) models: BTreeMap<ConnectionId, Model<SPEAKS>>,
    pub(crate) timers: BTreeMap<u64, Timer>,
    /// Commands that were left for the loop, by their numbers.
    pub(crate) commands: VecDeque<u64>,
    pub(crate) wrong: Vec<String>,
    pub(crate) half_open: bool,
    pub(crate) inbox: usize,
    /// Stops may be asked for by handlers.
    pub(crate) may_stop: bool,
    /// Outbound connections that were begun.
    pub(crate) dials: u64,
    /// Stops that were asked for, and the shortest grace among them.
    pub(crate) stops: usize,
    pub(crate) grace: Duration,
    /// Calls of handlers.
    pub(crate) calls: u64,
    /// Since the last turn began: packets that each connection's `on_read` was given, and that its handle took.
    pub(crate) served: BTreeMap<ConnectionId, usize>,
    pub(crate) handed: BTreeMap<ConnectionId, usize>,
    inside: Option<&'static str>,
    next_number: u32,
    pub(super) next_timer: u64,
    next_address: u16,
}

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct Model<const SPEAKS: bool> {
    pub(crate) peer: Option<SocketAddr>,
    /// Packets that `on_read` or a read has been given.
    pub(crate) heard: u32,
    /// Numbers of the packets that were taken for writing and are still to arrive, by writer.
    pub(crate) owed: [VecDeque<u32>; 2],
    pub(crate) connected: bool,
    /// When an outbound connection has to have been made.
    pub(crate) connect_by: Option<Instant>,
    pub(crate) has_on_read: bool,
    pub(crate) was_ever_deaf: bool,
    pub(crate) paused: bool,
    pub(crate) aborted: bool,
    /// It may end without a last word of its protocol's.
    pub(crate) is_curt: bool,
    /// Whether it took packets for writing when that was last looked at.
    pub(crate) was_open: bool,
    /// Since when it is known to have half a packet of its peer's. The time for that begins anew where a packet has been
    /// handed over, or where reading was put off.
    pub(crate) half_since: Option<Duration>,
    /// A packet that asks for an answer has been heard, and nothing has been written since.
    pub(crate) asked: bool,
    pub(crate) closing: bool,
    pub(super) failed: bool,
    pub(super) panicked: bool,
    /// A deadline ended it.
    pub(crate) late: bool,
    /// It was told that the server dropped it for what it kept waiting, its inbox along with it.
    pub(crate) shed: bool,
    /// `on_closed` did not empty the inbox.
    pub(crate) left_packets: bool,
    pub(crate) handle: Option<ConnectionHandle<Wire<SPEAKS>>>,
    pub(crate) closed: Option<CloseReason>,
}

/// How a handler is to return.
pub(super) enum End {
    Well,
    Failing,
    Panicking,
}

impl<const SPEAKS: bool> World<SPEAKS> {
    pub(crate) fn new(rng: Choices, half_open: bool, inbox: usize) -> Self {
        Self {
            rng,
            models: BTreeMap::new(),
            timers: BTreeMap::new(),
            commands: VecDeque::new(),
            wrong: Vec::new(),
            half_open,
            inbox,
            may_stop: true,
            dials: 0,
            stops: 0,
            grace: Duration::MAX,
            calls: 0,
            served: BTreeMap::new(),
            handed: BTreeMap::new(),
            inside: None,
            next_number: 0,
            next_timer: 0,
            next_address: 0,
        }
    }

    pub(crate) fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    pub(super) fn enter(&mut self, who: &'static str, id: Option<ConnectionId>) {
        self.calls += 1;
        let outer = self.inside.replace(who);
        self.check(outer.is_none(), || format!("{who} was called inside {outer:?}"));
        let Some(id) = id else { return };
        let state = self.models.get(&id).map(|model| model.closed);
        self.check(state == Some(None), || format!("{who} of {id}, which is {state:?}"));
    }

    pub(super) fn leave(&mut self) {
        self.inside = None;
    }

    pub(super) fn model(&mut self, id: ConnectionId) -> &mut Model<SPEAKS> {
        self.models.entry(id).or_default()
    }

    /// A packet has come: `number` must be the next.
    pub(crate) fn hear(&mut self, id: ConnectionId, packet: &Bytes) {
        let number = packet.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let expected = self.model(id).heard;
        self.model(id).heard += 1;
        self.model(id).half_since = None;
        self.model(id).asked |= SPEAKS && asks(packet);
        self.check(number == Some(expected), || format!("{id}: packet {number:?}, not {expected}"));
    }

    pub(crate) fn packet(&mut self, by: u8) -> (u32, Bytes) {
        let number = self.next_number;
        self.next_number += 1;
        let longest = if self.rng.chance(20) { 3_000 } else { 80 };
        let mut packet = BytesMut::new();
        packet.put_u8(by);
        packet.put_u32(number);
        packet.put_bytes(b'.', self.rng.usize(0..longest));
        (number, packet.freeze())
    }

    pub(crate) fn note_stop(&mut self, grace: Duration) {
        self.stops += 1;
        self.grace = self.grace.min(grace);
    }

    /// Inbound connections of one address.
    pub(crate) fn open_of_host(&self, host: u8) -> usize {
        let address = IpAddr::from([127, 0, 0, host]);
        let is_of = |model: &&Model<SPEAKS>| {
            model.closed.is_none() && model.peer.is_some_and(|peer| peer.ip() == address)
        };
        self.models.values().filter(is_of).count()
    }

    // What handlers do.

    pub(crate) fn write(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        let (number, packet) = self.packet(BY_LOOP);
        let open = conn.is_open();
        match conn.write(packet) {
            Ok(()) => {
                self.check(open, || format!("{}: a write, and it is not open", conn.id()));
                let model = self.model(conn.id());
                model.owed[0].push_back(number);
                model.asked = false;
            }
            Err(error) => self.check(open == error.is_full(), || format!("open: {open}, {error}")),
        }
    }

    pub(super) fn broadcast(
        &mut self,
        server: &mut Server<'_, SPEAKS>,
        except: Option<ConnectionId>,
    ) {
        let (number, packet) = self.packet(BY_LOOP);
        let mut before = BTreeMap::new();
        server.for_each_connection(|conn| {
            before.insert(conn.id(), conn.queued());
        });
        let slow = if self.rng.bool() { SlowConsumers::Skip } else { SlowConsumers::Disconnect };
        let report = match except {
            Some(except) => server.broadcast_except(except, packet, slow),
            None => server.broadcast(packet, slow),
        };
        let mut sent = 0;
        server.for_each_connection(|conn| {
            let grew = before.get(&conn.id()).is_some_and(|before| conn.queued() > *before);
            // Where it closes now, what grew it was a last word.
            if grew && conn.is_open() {
                sent += 1;
                let model = self.model(conn.id());
                model.owed[0].push_back(number);
                model.asked = false;
            }
        });
        // One that was sent to may have been dropped since, for the sake of all queues' memory.
        let Broadcast { sent: told, .. } = report;
        self.check(sent <= told, || format!("{report:?}, and {sent} outboxes grew"));
    }

    pub(crate) fn abort(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        self.model(conn.id()).aborted = true;
        self.close_model(conn.id());
        conn.abort();
    }

    pub(crate) fn close(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        self.close_model(conn.id());
        // It has nobody to say it to, or may say nothing more.
        self.model(conn.id()).is_curt |= conn.is_connecting() || !conn.is_open();
        conn.close();
    }

    pub(super) fn close_model(&mut self, id: ConnectionId) {
        self.model(id).closing = true;
        self.model(id).paused = false;
    }

    pub(crate) fn pause(&mut self, conn: &mut Conn<'_, SPEAKS>, pause: bool) {
        if pause {
            conn.pause_read();
        } else {
            conn.resume_read();
        }
        let model = self.model(conn.id());
        model.paused = pause && !model.closing;
        model.half_since = None;
    }

    pub(crate) fn keep_handle(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        let handle = conn.handle();
        self.model(conn.id()).handle = Some(handle);
    }

    pub(crate) fn connect(&mut self, server: &mut Server<'_, SPEAKS>) {
        self.next_address += 1;
        let address = SocketAddr::from(([192, 0, 2, 1], self.next_address));
        let handlers = self.handlers(server.handlers(), true);
        let limit = Duration::from_millis(self.rng.u64(1..400));
        if let Ok(id) = server.connect(address, limit, handlers) {
            let connect_by = Some(server.now() + limit);
            let model =
                Model { peer: Some(address), connect_by, has_on_read: true, ..Model::default() };
            let taken = self.models.insert(id, model).is_some();
            self.check(!taken, || format!("{id} was given out twice"));
            self.dials += 1;
        }
    }

    pub(super) fn any_connection(
        &mut self,
        server: &mut Server<'_, SPEAKS>,
    ) -> Option<ConnectionId> {
        let mut all = Vec::new();
        server.for_each_connection(|conn| all.push(conn.id()));
        self.rng.choice(all)
    }

    /// Anything, to this connection or to another.
    pub(super) fn act(&mut self, conn: &mut Conn<'_, SPEAKS>) -> End {
        let id = conn.id();
        match self.rng.usize(0..64) {
            0..15 => {}
            15..39 => {
                for _ in 0..self.rng.usize(1..9) {
                    self.write(conn);
                }
            }
            39..43 => {
                let any = self.any_connection(&mut conn.server());
                if let Some(other) = any {
                    self.act_on_other(conn, other);
                }
            }
            43..46 => self.broadcast(&mut conn.server(), None),
            46 => self.broadcast(&mut conn.server(), Some(id)),
            47 => self.close(conn),
            48 => self.abort(conn),
            49 => {
                self.model(id).is_curt = true;
                conn.finish();
            }
            50..52 => {
                let hears = self.rng.bool();
                let handlers = self.handlers(conn.handlers(), hears);
                let model = self.model(id);
                model.has_on_read = hears;
                model.half_since = None;
                model.was_ever_deaf |= !hears;
                conn.set_handlers(handlers);
            }
            52 => self.pause(conn, true),
            53..57 => self.set_timer(conn),
            57..59 => self.cancel_timer(conn),
            59 => self.connect(&mut conn.server()),
            60 => self.keep_handle(conn),
            61 if self.may_stop && self.rng.chance(40) => {
                let grace = Duration::from_millis(self.rng.u64(0..3) * 200);
                self.note_stop(grace);
                conn.server().stop(grace);
            }
            62 => {
                self.model(id).failed = true;
                return End::Failing;
            }
            63 if self.rng.bool() => return End::Panicking,
            _ => {}
        }
        End::Well
    }

    pub(super) fn act_on_other(&mut self, conn: &mut Conn<'_, SPEAKS>, id: ConnectionId) {
        let mut server = conn.server();
        let Some(mut other) = server.connection(id) else { return };
        match self.rng.usize(0..8) {
            4 => self.close(&mut other),
            5 => self.abort(&mut other),
            6 => self.pause(&mut other, true),
            7 => self.pause(&mut other, false),
            _ => self.write(&mut other),
        }
    }

    /// Acts, and returns from a handler that cannot fail.
    pub(super) fn act_and_leave(&mut self, conn: &mut Conn<'_, SPEAKS>) {
        match self.act(conn) {
            End::Panicking => self.panic(conn.id()),
            End::Well | End::Failing => self.leave(),
        }
    }

    /// As a panic does, but for the message on the standard error.
    pub(super) fn panic(&mut self, id: ConnectionId) -> ! {
        self.model(id).panicked = true;
        self.close_model(id);
        self.panic_alone();
    }

    /// The same, where no connection goes down with it.
    pub(super) fn panic_alone(&mut self) -> ! {
        self.leave();
        std::panic::resume_unwind(Box::new("as the schedule wants it"));
    }
}
