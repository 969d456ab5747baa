//! What follows from a panic in users' code. It is caught where that code was called; here it is named, counted and laid
//! at the door of the connection that it belongs to.
//!
//! A value's `Drop` is users' code, too. So what they left behind is dropped here, and each thing by itself: of two that
//! panic in one drop, the second takes the process down.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::conn::Cold;
use super::{Conn, Registry};
use crate::codec::Protocol;
use crate::config::PanicPolicy;
use crate::connection::state::Event;
use crate::error::{CloseReason, Error};
use crate::handlers::{Handlers, Rare};
use crate::id::ConnectionId;
use crate::logging::note;

impl<P: Protocol, S> Registry<P, S> {
    /// A handler or a codec of this connection panicked: it ends here, and the others go on.
    pub(crate) fn panicked(&mut self, id: ConnectionId, panic: &(dyn Any + Send)) {
        let message = panic_message(panic);
        self.log_panic(&id.to_string(), &message);
        self.leave_error(id, Error::Panic(message));
        let reason = CloseReason::HandlerPanic;
        self.transition(id, Event::Abort { reason, reset: true });
    }

    /// What belongs to no connection panicked.
    pub(crate) fn panicked_alone(&mut self, what: &str, panic: &(dyn Any + Send)) {
        self.stats.caller_errors += 1;
        self.log_panic(what, &panic_message(panic));
    }

    /// Does what may drop something of a connection's.
    pub(crate) fn guard<T>(
        &mut self,
        id: ConnectionId,
        work: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.panicked(id, &*panic);
                None
            }
        }
    }

    /// Drops something of a connection's.
    pub(crate) fn shed<T>(&mut self, id: ConnectionId, left: T) {
        if std::mem::needs_drop::<T>() {
            self.guard(id, |_| drop(left));
        }
    }

    pub(crate) fn shed_each<T>(&mut self, id: ConnectionId, left: impl IntoIterator<Item = T>) {
        left.into_iter().for_each(|each| self.shed(id, each));
    }

    /// Drops what belongs to no connection.
    pub(crate) fn shed_alone<T>(&mut self, what: &str, left: T) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(left))) {
            self.panicked_alone(what, &*panic);
        }
    }

    pub(crate) fn shed_handlers(&mut self, id: ConnectionId, mut handlers: Handlers<P, S>) {
        self.shed(id, handlers.on_read.take());
        let Some(rare) = handlers.into_rare() else { return };
        let Rare { on_error, on_closed, on_stop, on_drain, on_end, on_connect } = *rare;
        self.shed(id, on_error);
        self.shed(id, on_closed);
        self.shed_each(id, [on_stop, on_drain, on_end, on_connect]);
    }

    /// Drops a connection that has left its slot.
    pub(super) fn shed_connection(&mut self, id: ConnectionId, conn: Conn<P, S>) {
        let Conn { codec, handlers, cold, .. } = conn;
        self.shed(id, codec);
        self.shed_handlers(id, handlers);
        let Some(cold) = cold else { return };
        let Cold { user_data, errors, inbox, link, stalled, .. } = *cold;
        self.shed(id, user_data);
        self.shed_each(id, errors);
        self.shed_each(id, inbox);
        self.shed(id, stalled);
        self.shed(id, link);
    }

    fn log_panic(&self, who: &str, message: &str) {
        let aborting = self.config.panic_policy == PanicPolicy::AbortProcess;
        let end = if aborting { "; the process goes down with it, as configured" } else { "" };
        note!(self.logger, Error, "{who}: a handler or codec panicked: {message}{end}");
        if aborting {
            std::process::abort();
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> Cow<'static, str> {
    if let Some(message) = panic.downcast_ref::<&'static str>() {
        Cow::Borrowed(message)
    } else if let Some(message) = panic.downcast_ref::<String>() {
        Cow::Owned(message.clone())
    } else {
        Cow::Borrowed("(a panic without a message)")
    }
}
