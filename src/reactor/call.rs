//! Every call into users' code: with nothing borrowed that it could ask for again, and with its panics caught.
//!
//! A handler is taken out of its connection for the time of the call and put back afterwards, unless it has been replaced
//! meanwhile. A handler that panicked is not put back.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use crate::codec::Protocol;
use crate::connection::state::Event;
use crate::context::{Connection, ServerRef};
use crate::error::{Blame, CloseReason, Error};
use crate::handlers::{HandlerError, OnRead, Rare};
use crate::id::ConnectionId;
use crate::logging::note;

impl<P: Protocol, S> Reactor<P, S> {
    pub(super) fn call_accept(&mut self, id: ConnectionId) {
        let called = catch_unwind(AssertUnwindSafe(|| {
            let mut conn = Connection::new(&mut self.registry, id);
            (self.on_accept)(&mut self.state, &mut conn)
        }));
        match called {
            Ok(handlers) => {
                let Some(conn) = self.registry.get_mut(id) else { return };
                let is_replaced = std::mem::take(&mut conn.duty.replaced);
                if is_replaced {
                    self.registry.shed_handlers(id, handlers);
                } else {
                    conn.handlers = handlers;
                }
            }
            Err(panic) => self.panicked(id, &*panic),
        }
    }

    /// Hands a packet to the `on_read` that was taken out for it. Panics pass through: the caller catches them once for a
    /// batch.
    #[inline(always)]
    pub(super) fn call_read(
        &mut self,
        id: ConnectionId,
        mut on_read: OnRead<P, S>,
        packet: P::In,
    ) -> Result<(), HandlerError> {
        let result = on_read(&mut self.state, &mut Connection::new(&mut self.registry, id), packet);
        let conn = &mut self.registry.conns[id.slot()];
        if !conn.duty.replaced {
            conn.handlers.on_read = Some(on_read);
        }
        result
    }

    /// Calls one of the rarer handlers, if it is set: `pick` says which, `call` how. Says whether it was.
    fn call_rare<H>(
        &mut self,
        id: ConnectionId,
        pick: fn(&mut Rare<P, S>) -> &mut Option<H>,
        call: impl FnOnce(&mut H, &mut S, &mut Connection<'_, P, S>),
    ) -> bool {
        let Some(conn) = self.registry.get_mut(id) else { return false };
        let Some(mut handler) = conn.handlers.rare_mut().and_then(|rare| pick(rare).take()) else {
            return false;
        };
        conn.duty.replaced = false;
        let called = catch_unwind(AssertUnwindSafe(|| {
            call(&mut handler, &mut self.state, &mut Connection::new(&mut self.registry, id));
        }));
        if let Err(panic) = called {
            self.panicked(id, &*panic);
        } else if let Some(conn) = self.registry.get_mut(id)
            && !conn.duty.replaced
            && let Some(rare) = conn.handlers.rare_mut()
        {
            *pick(rare) = Some(handler);
            return true;
        }
        self.registry.shed(id, handler);
        true
    }

    pub(super) fn call_error(&mut self, id: ConnectionId, error: Error) {
        self.call_rare(id, |rare| &mut rare.on_error, |f, s, conn| f(s, conn, error));
    }

    pub(super) fn call_closed(&mut self, id: ConnectionId, reason: CloseReason) {
        self.call_rare(id, |rare| &mut rare.on_closed, |f, s, conn| f(s, conn, reason));
    }

    pub(super) fn call_stop(&mut self, id: ConnectionId) -> bool {
        self.call_rare(id, |rare| &mut rare.on_stop, |f, s, conn| f(s, conn))
    }

    pub(super) fn call_drain(&mut self, id: ConnectionId) {
        self.call_rare(id, |rare| &mut rare.on_drain, |f, s, conn| f(s, conn));
    }

    pub(super) fn call_end(&mut self, id: ConnectionId) {
        self.call_rare(id, |rare| &mut rare.on_end, |f, s, conn| f(s, conn));
    }

    pub(super) fn call_connect(&mut self, id: ConnectionId) {
        self.call_rare(id, |rare| &mut rare.on_connect, |f, s, conn| f(s, conn));
    }

    /// Calls a connection's timer. Says whether it returned.
    pub(super) fn call_timer(
        &mut self,
        id: ConnectionId,
        call: impl FnOnce(&mut S, &mut Connection<'_, P, S>),
    ) -> bool {
        let called = catch_unwind(AssertUnwindSafe(|| {
            call(&mut self.state, &mut Connection::new(&mut self.registry, id));
        }));
        called.inspect_err(|panic| self.panicked(id, &**panic)).is_ok()
    }

    /// Calls what belongs to no connection: a timer of the server's, or a command. Says whether it returned.
    pub(super) fn call_server(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut S, &mut ServerRef<'_, P, S>),
    ) -> bool {
        let called = catch_unwind(AssertUnwindSafe(|| {
            call(&mut self.state, &mut ServerRef::new(&mut self.registry));
        }));
        called.inspect_err(|panic| self.registry.panicked_alone(what, &**panic)).is_ok()
    }

    #[cold]
    pub(super) fn panicked(&mut self, id: ConnectionId, panic: &(dyn Any + Send)) {
        self.registry.panicked(id, panic);
    }

    /// Tells `on_error` what came up where no handler could be called.
    pub(super) fn tell_errors(&mut self, id: ConnectionId) {
        while self.registry.get(id).is_some_and(|conn| conn.handlers.has_on_error()) {
            let Some(error) = self.registry.take_error(id) else { return };
            self.call_error(id, error);
        }
    }

    /// Something failed: `on_error` hears of it, and the connection ends in the way that fits.
    #[cold]
    pub(super) fn fail(&mut self, id: ConnectionId, error: Error) {
        let Some(conn) = self.registry.get(id) else { return };
        let peer = conn.peer;
        let listened_to = conn.handlers.has_on_error();
        match error.blame() {
            Blame::Peer => note!(self.registry.logger, Info, "{id} from {peer}: {error}"),
            Blame::System => note!(self.registry.logger, Warn, "{id} from {peer}: {error}"),
            Blame::Caller => note!(self.registry.logger, Error, "{id} from {peer}: {error}"),
        }
        let end = end_for(&error);
        self.registry.stats.count(error.blame());
        if matches!(end, Event::Abort { reason: CloseReason::SlowConsumer, .. }) {
            self.registry.stats.slow_consumers += 1;
        }
        if listened_to {
            self.call_error(id, error);
        } else {
            self.registry.queue_error(id, error);
        }
        if matches!(end, Event::Abort { reason: CloseReason::ProtocolError, .. }) {
            // Late, but it may hear why: what `on_error` wrote goes out as far as the socket takes it, and so do the
            // protocol's own words.
            self.registry.take_leave(id, CloseReason::ProtocolError);
            self.flush(id);
        }
        self.registry.transition(id, end);
    }
}

/// How a connection ends for want of what.
fn end_for(error: &Error) -> Event {
    use crate::error::Late;
    let abort = |reason, reset| Event::Abort { reason, reset };
    match error {
        Error::Io { .. } => abort(CloseReason::IoError, false),
        Error::Late(Late::Connect(_)) => abort(CloseReason::IoError, false),
        Error::Late(Late::Output(_)) | Error::SlowConsumer { .. } => {
            abort(CloseReason::SlowConsumer, true)
        }
        // Whoever spins out one packet is not given the time of a linger as well.
        Error::Late(Late::Packet(_)) => abort(CloseReason::ProtocolError, false),
        Error::Protocol(_) | Error::Truncated { .. } => Event::Close(CloseReason::ProtocolError),
        Error::Handler(_) => Event::Close(CloseReason::HandlerError),
        Error::StalledDecoder { .. } => Event::Close(CloseReason::HandlerError),
        Error::Panic(_) => abort(CloseReason::HandlerPanic, true),
    }
}
