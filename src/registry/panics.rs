//! What follows from a panic in users' code. It is caught where that code was called; here it is named, counted and laid
//! at the door of the connection that it belongs to.

use std::any::Any;
use std::borrow::Cow;

use super::Registry;
use crate::codec::Protocol;
use crate::config::PanicPolicy;
use crate::connection::state::Event;
use crate::error::{CloseReason, Error};
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
