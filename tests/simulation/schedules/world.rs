//! The server's side of a schedule: handlers that do anything at random, and the record of what they were told.
//!
//! A panic in here would be taken for a handler's own; so what is found wrong is noted, and told between turns.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wheelhouse::{
    Broadcast, CloseReason, Connection, ConnectionHandle, ConnectionId, Handlers, ServerRef,
    SlowConsumers, TimerId,
};

use crate::frames::Frames;

pub(crate) type Conn<'a> = Connection<'a, Frames, World>;
pub(super) type Calls = Handlers<Frames, World>;

/// Who wrote a packet: the loop's thread, or a handle.
pub(crate) const BY_LOOP: u8 = 0;
pub(crate) const BY_HANDLE: u8 = 1;

pub(crate) struct World {
    pub(crate) rng: fastrand::Rng,
    pub(crate) models: BTreeMap<ConnectionId, Model>,
    pub(crate) timers: BTreeMap<u64, Timer>,
    pub(crate) wrong: Vec<String>,
    pub(crate) half_open: bool,
    pub(crate) inbox: usize,
    /// Stops may be asked for by handlers.
    pub(crate) may_stop: bool,
    /// Outbound connections that were begun.
    pub(crate) dials: u64,
    inside: Option<&'static str>,
    next_number: u32,
    next_timer: u64,
    next_address: u16,
}

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) peer: Option<SocketAddr>,
    /// Packets that `on_read` or a read has been given.
    pub(crate) heard: u32,
    /// Numbers of the packets that were taken for writing and are still to arrive, by writer.
    pub(crate) owed: [VecDeque<u32>; 2],
    pub(crate) connected: bool,
    pub(crate) has_on_read: bool,
    pub(crate) was_ever_deaf: bool,
    pub(crate) paused: bool,
    pub(crate) aborted: bool,
    pub(super) closing: bool,
    pub(super) failed: bool,
    pub(super) panicked: bool,
    /// A deadline ended it.
    pub(crate) late: bool,
    /// `on_closed` did not empty the inbox.
    pub(crate) left_packets: bool,
    pub(crate) handle: Option<ConnectionHandle<Frames>>,
    pub(crate) closed: Option<CloseReason>,
}

pub(crate) struct Timer {
    pub(crate) id: TimerId,
    /// Whose timer it is; the server's, if `None`.
    pub(crate) owner: Option<ConnectionId>,
    pub(crate) due: Instant,
    period: Option<Duration>,
}

/// How a handler is to return.
pub(super) enum End {
    Well,
    Failing,
    Panicking,
}

impl World {
    pub(crate) fn new(rng: fastrand::Rng, half_open: bool, inbox: usize) -> Self {
        Self {
            rng,
            models: BTreeMap::new(),
            timers: BTreeMap::new(),
            wrong: Vec::new(),
            half_open,
            inbox,
            may_stop: true,
            dials: 0,
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
        let outer = self.inside.replace(who);
        self.check(outer.is_none(), || format!("{who} was called inside {outer:?}"));
        let Some(id) = id else { return };
        let state = self.models.get(&id).map(|model| model.closed);
        self.check(state == Some(None), || format!("{who} of {id}, which is {state:?}"));
    }

    pub(super) fn leave(&mut self) {
        self.inside = None;
    }

    pub(super) fn model(&mut self, id: ConnectionId) -> &mut Model {
        self.models.entry(id).or_default()
    }

    /// A packet has come: `number` must be the next.
    pub(crate) fn hear(&mut self, id: ConnectionId, packet: &Bytes) {
        let number = packet.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let expected = self.model(id).heard;
        self.model(id).heard += 1;
        self.check(number == Some(expected), || format!("{id}: packet {number:?}, not {expected}"));
    }

    pub(crate) fn packet(&mut self, by: u8) -> (u32, Bytes) {
        let number = self.next_number;
        self.next_number += 1;
        let longest = if self.rng.u8(..) < 20 { 3_000 } else { 80 };
        let mut packet = BytesMut::new();
        packet.put_u8(by);
        packet.put_u32(number);
        packet.put_bytes(b'.', self.rng.usize(..longest));
        (number, packet.freeze())
    }

    // What handlers do.

    pub(crate) fn write(&mut self, conn: &mut Conn<'_>) {
        let (number, packet) = self.packet(BY_LOOP);
        let open = conn.is_open();
        match conn.write(packet) {
            Ok(()) => {
                self.check(open, || format!("{}: a write, and it is not open", conn.id()));
                self.model(conn.id()).owed[0].push_back(number);
            }
            Err(error) => self.check(open == error.is_full(), || format!("open: {open}, {error}")),
        }
    }

    fn broadcast(
        &mut self,
        server: &mut ServerRef<'_, Frames, Self>,
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
            if before.get(&conn.id()).is_some_and(|before| conn.queued() > *before) {
                sent += 1;
                self.model(conn.id()).owed[0].push_back(number);
            }
        });
        // One that was sent to may have been dropped since, for the sake of all queues' memory.
        let Broadcast { sent: told, .. } = report;
        self.check(sent <= told, || format!("{report:?}, and {sent} outboxes grew"));
    }

    pub(crate) fn abort(&mut self, conn: &mut Conn<'_>) {
        self.model(conn.id()).aborted = true;
        self.close_model(conn.id());
        conn.abort();
    }

    pub(crate) fn close(&mut self, conn: &mut Conn<'_>) {
        self.close_model(conn.id());
        conn.close();
    }

    pub(super) fn close_model(&mut self, id: ConnectionId) {
        self.model(id).closing = true;
        self.model(id).paused = false;
    }

    pub(crate) fn pause(&mut self, conn: &mut Conn<'_>, pause: bool) {
        if pause {
            conn.pause_read();
        } else {
            conn.resume_read();
        }
        let model = self.model(conn.id());
        model.paused = pause && !model.closing;
    }

    pub(crate) fn keep_handle(&mut self, conn: &mut Conn<'_>) {
        let handle = conn.handle();
        self.model(conn.id()).handle = Some(handle);
    }

    pub(crate) fn connect(&mut self, server: &mut ServerRef<'_, Frames, Self>) {
        self.next_address += 1;
        let address = SocketAddr::from(([192, 0, 2, 1], self.next_address));
        let handlers = self.handlers(server.handlers(), true);
        let limit = Duration::from_millis(self.rng.u64(1..400));
        if let Ok(id) = server.connect(address, limit, handlers) {
            let model = Model { peer: Some(address), has_on_read: true, ..Model::default() };
            let taken = self.models.insert(id, model).is_some();
            self.check(!taken, || format!("{id} was given out twice"));
            self.dials += 1;
        }
    }

    fn set_timer(&mut self, conn: &mut Conn<'_>) {
        let key = self.next_timer;
        self.next_timer += 1;
        let span = Duration::from_millis(self.rng.u64(0..300));
        let repeats = self.rng.bool();
        let of_server = self.rng.bool();
        let owner = (!of_server).then(|| conn.id());
        let due = conn.server().now() + if repeats { span.max(MS) } else { span };
        let id = match (of_server, repeats) {
            (true, false) => conn.server().after(span, move |w, server| w.fired(key, server)),
            (true, true) => conn.server().every(span, move |w, server| w.fired(key, server)),
            (false, false) => conn.after(span, move |w, conn| w.fired(key, &mut conn.server())),
            (false, true) => conn.every(span, move |w, conn| w.fired(key, &mut conn.server())),
        };
        let period = repeats.then(|| span.max(MS));
        self.timers.insert(key, Timer { id, owner, due, period });
    }

    fn fired(&mut self, key: u64, server: &mut ServerRef<'_, Frames, Self>) {
        let owner = self.timers.get(&key).and_then(|timer| timer.owner);
        self.enter("a timer", owner);
        let now = server.now();
        let Some(timer) = self.timers.get_mut(&key) else {
            self.wrong.push(format!("timer {key} fired, and it is over"));
            return self.leave();
        };
        let early = timer.due > now;
        match timer.period {
            None => drop(self.timers.remove(&key)),
            Some(period) => {
                while timer.due <= now {
                    timer.due += period;
                }
            }
        }
        self.check(!early, || format!("timer {key} fired early"));
        let any = self.any_connection(server);
        if let Some(mut conn) = any.and_then(|id| server.connection(id)) {
            self.write(&mut conn);
        }
        self.leave();
    }

    fn cancel_timer(&mut self, conn: &mut Conn<'_>) {
        let keys: Vec<u64> = self.timers.keys().copied().collect();
        let Some(key) = self.rng.choice(&keys) else { return };
        let Some(timer) = self.timers.remove(key) else { return };
        let was_there = conn.cancel(timer.id);
        // The timers of a connection that is over may go before its `on_closed` runs.
        let lives = timer.owner.is_none_or(|owner| conn.server().connection(owner).is_some());
        self.check(was_there || !lives, || {
            format!("timer {key} was pending, and cancel missed it")
        });
    }

    pub(super) fn any_connection(
        &mut self,
        server: &mut ServerRef<'_, Frames, Self>,
    ) -> Option<ConnectionId> {
        let mut all = Vec::new();
        server.for_each_connection(|conn| all.push(conn.id()));
        self.rng.choice(all)
    }

    /// Anything, to this connection or to another.
    pub(super) fn act(&mut self, conn: &mut Conn<'_>) -> End {
        let id = conn.id();
        match self.rng.u8(..64) {
            0..24 => {
                for _ in 0..self.rng.usize(1..9) {
                    self.write(conn);
                }
            }
            24..28 => {
                let any = self.any_connection(&mut conn.server());
                if let Some(other) = any {
                    self.act_on_other(conn, other);
                }
            }
            28..31 => self.broadcast(&mut conn.server(), None),
            31 => self.broadcast(&mut conn.server(), Some(id)),
            32 => self.close(conn),
            33 => self.abort(conn),
            34 => conn.finish(),
            35..37 => {
                let hears = self.rng.bool();
                let handlers = self.handlers(conn.handlers(), hears);
                let model = self.model(id);
                model.has_on_read = hears;
                model.was_ever_deaf |= !hears;
                conn.set_handlers(handlers);
            }
            37 => self.pause(conn, true),
            38..42 => self.set_timer(conn),
            42..44 => self.cancel_timer(conn),
            44 => self.connect(&mut conn.server()),
            45 => self.keep_handle(conn),
            46 if self.may_stop && self.rng.u8(..) < 40 => {
                let grace = Duration::from_millis(self.rng.u64(0..3) * 200);
                conn.server().stop(grace);
            }
            47 => {
                self.model(id).failed = true;
                return End::Failing;
            }
            48 if self.rng.bool() => return End::Panicking,
            _ => {}
        }
        End::Well
    }

    pub(super) fn act_on_other(&mut self, conn: &mut Conn<'_>, id: ConnectionId) {
        let mut server = conn.server();
        let Some(mut other) = server.connection(id) else { return };
        match self.rng.u8(..8) {
            0 => self.close(&mut other),
            1 => self.abort(&mut other),
            2 => self.pause(&mut other, true),
            3 => self.pause(&mut other, false),
            _ => self.write(&mut other),
        }
    }

    /// Acts, and returns from a handler that cannot fail.
    pub(super) fn act_and_leave(&mut self, conn: &mut Conn<'_>) {
        match self.act(conn) {
            End::Panicking => self.panic(conn.id()),
            End::Well | End::Failing => self.leave(),
        }
    }

    /// As a panic does, but for the message on the standard error.
    pub(super) fn panic(&mut self, id: ConnectionId) {
        self.model(id).panicked = true;
        self.close_model(id);
        self.leave();
        std::panic::resume_unwind(Box::new("as the schedule wants it"));
    }
}

const MS: Duration = Duration::from_millis(1);
