//! The handlers: each notes what it was told, and then does anything.

use bytes::Bytes;
use wheelhouse::{CloseReason, Error, HandlerError};

use super::world::{Calls, Conn, End, Model, World};

impl<const SPEAKS: bool> World<SPEAKS> {
    pub(crate) fn on_accept(&mut self, conn: &mut Conn<'_, SPEAKS>) -> Calls<SPEAKS> {
        let id = conn.id();
        let hears = !self.rng.chance(56);
        let model = Model {
            peer: Some(conn.peer_addr()),
            connected: true,
            has_on_read: hears,
            was_ever_deaf: !hears,
            ..Model::default()
        };
        let taken = self.models.insert(id, model).is_some();
        self.check(!taken, || format!("{id} was given out twice"));
        self.enter("on_accept", Some(id));
        if self.rng.chance(8) {
            let handlers = self.handlers(conn.handlers(), hears);
            conn.set_handlers(handlers);
            self.panic(id);
        }
        if self.rng.chance(40) {
            self.write(conn);
        }
        self.leave();
        self.handlers(conn.handlers(), hears)
    }

    pub(super) fn handlers(&mut self, handlers: Calls<SPEAKS>, hears: bool) -> Calls<SPEAKS> {
        let handlers = handlers
            .on_error(|w: &mut Self, conn, error| {
                w.enter("on_error", Some(conn.id()));
                let model = w.model(conn.id());
                model.late |= matches!(error, Error::Late(_));
                model.shed |= matches!(error, Error::SlowConsumer { .. });
                w.act_and_leave(conn);
            })
            .on_drain(|w, conn| {
                w.enter("on_drain", Some(conn.id()));
                w.act_and_leave(conn);
            })
            .on_end(|w, conn| {
                w.enter("on_end", Some(conn.id()));
                let half_open = w.half_open;
                w.check(half_open, || "on_end, and nothing is half open".into());
                w.act_and_leave(conn);
            })
            .on_connect(|w, conn| {
                w.enter("on_connect", Some(conn.id()));
                w.model(conn.id()).connected = true;
                w.act_and_leave(conn);
            })
            .on_stop(|w, conn| {
                w.enter("on_stop", Some(conn.id()));
                if w.rng.bool() {
                    w.close(conn);
                }
                w.act_and_leave(conn);
            })
            .on_closed(Self::on_closed);
        if hears { handlers.on_read(|w, conn, packet| w.on_read(conn, &packet)) } else { handlers }
    }

    fn on_read(&mut self, conn: &mut Conn<'_, SPEAKS>, packet: &Bytes) -> Result<(), HandlerError> {
        let id = conn.id();
        self.enter("on_read", Some(id));
        self.hear(id, packet);
        *self.served.entry(id).or_default() += 1;
        let Model { paused, closing, has_on_read, .. } = *self.model(id);
        self.check(!paused && !closing && has_on_read, || {
            format!("{id} was to hear no packet: {paused} {closing} {has_on_read}")
        });
        match self.act(conn) {
            End::Well => self.leave(),
            End::Panicking => self.panic(id),
            End::Failing => {
                self.close_model(id);
                self.leave();
                return Err(HandlerError::msg("as the schedule wants it"));
            }
        }
        Ok(())
    }

    fn on_closed(&mut self, conn: &mut Conn<'_, SPEAKS>, reason: CloseReason) {
        let id = conn.id();
        self.enter("on_closed", Some(id));
        let mut waiting = 0;
        self.model(id).left_packets = self.rng.chance(40);
        while let Some(packet) = conn.read() {
            waiting += 1;
            self.hear(id, &packet);
            if self.model(id).left_packets {
                break;
            }
        }
        let limit = self.inbox;
        self.check(waiting <= limit, || format!("{id}: {waiting} packets in the inbox"));
        let Model { failed, panicked, .. } = *self.model(id);
        match reason {
            CloseReason::HandlerPanic => self.check(panicked, || format!("{id}: who panicked?")),
            CloseReason::HandlerError => self.check(failed, || format!("{id}: who failed?")),
            _ => {}
        }
        self.model(id).closed = Some(reason);
        self.timers.retain(|_, timer| timer.owner != Some(id));
        if self.rng.chance(20) {
            self.connect(&mut conn.server());
        }
        if let Some(other) = self.any_connection(&mut conn.server()) {
            self.act_on_other(conn, other);
        }
        if self.rng.chance(12) {
            self.panic_alone();
        }
        self.leave();
    }
}
