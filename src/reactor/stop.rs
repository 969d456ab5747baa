//! The graceful end: stop listening, let the connections finish, force what is left.

use std::io;
use std::time::Duration;

use super::accept::Acceptor;
use super::{Reactor, StopReport};
use crate::codec::Protocol;
use crate::connection::state::Event;
use crate::error::CloseReason;
use crate::handle::Phase;
use crate::logging::note;
use crate::registry::{Lifecycle, Stopping, Task};

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: begins a stop that was asked for, and forces what its deadline finds.
    #[inline(never)]
    pub(super) fn advance_stop(&mut self) {
        if let Lifecycle::Asked { grace } = self.registry.lifecycle {
            self.begin_stop(grace);
        }
        let Lifecycle::Stopping(stopping) = self.registry.lifecycle else { return };
        if self.registry.clock.now() >= stopping.deadline {
            self.force_all();
        } else if self.stop_armed.is_none_or(|armed| stopping.deadline < armed) {
            // A second stop may have brought the deadline forward.
            self.registry.timers.insert(stopping.deadline, Task::StopDeadline);
            self.stop_armed = Some(stopping.deadline);
        }
    }

    fn begin_stop(&mut self, grace: Duration) {
        let since = self.registry.clock.now();
        let deadline = since + grace;
        self.registry.lifecycle =
            Lifecycle::Stopping(Stopping { since, deadline, closed: 0, forced: 0 });
        self.registry.shared.notice.set_phase(Phase::Stopping);
        self.driver.close_listener();
        self.acceptor = Acceptor::Closed;
        let open = self.registry.conns.len();
        note!(self.registry.logger, Info, "stopping: {open} connections, {grace:?} of grace");
        if grace.is_zero() {
            return;
        }
        for id in self.registry.live_ids() {
            let closing = self.registry.get(id).is_none_or(|conn| conn.state.is_closing());
            if !closing && !self.call_stop(id) {
                self.registry.transition(id, Event::Close(CloseReason::Shutdown));
            }
        }
    }

    fn force_all(&mut self) {
        for id in self.registry.live_ids() {
            let forced = Event::Abort { reason: CloseReason::Forced, reset: true };
            self.registry.transition(id, forced);
        }
    }

    /// After the reaping: the stop is over when the last connection is.
    #[inline(never)]
    pub(super) fn finish_stop(&mut self) {
        let Lifecycle::Stopping(stopping) = self.registry.lifecycle else { return };
        if !self.registry.conns.is_empty() {
            return;
        }
        self.registry.clock.forget();
        let report = StopReport {
            closed: stopping.closed,
            forced: stopping.forced,
            elapsed: self.registry.clock.now().since(stopping.since),
        };
        self.registry.lifecycle = Lifecycle::Stopped;
        note!(self.registry.logger, Info, "{report}");
        self.report = Some(report);
        self.registry.shared.end(&Ok(report));
        while let Ok(unrun) = self.registry.shared.commands.try_pop() {
            self.registry.shed_alone("a command", unrun.item);
        }
    }

    /// The reactor is being dropped: every connection that `on_accept` saw gets its `on_closed`, here too.
    pub(super) fn stop_at_once(&mut self) {
        if self.registry.lifecycle == Lifecycle::Stopped {
            return;
        }
        self.registry.request_stop(Duration::ZERO);
        self.advance_stop();
        self.reap();
        self.finish_stop();
    }

    /// Whatever has gone wrong: nobody is to wait for a loop that is no more.
    pub(super) fn leave_nobody_waiting(&self) {
        for (_, conn) in &self.registry.conns {
            if let Some(link) = conn.link() {
                link.end();
            }
        }
        let shared = &self.registry.shared;
        shared.end(&Err(io::Error::other("the loop panicked")));
        shared.commands.close_and_clear();
    }

    /// The first signal stops with the grace that was configured, the second at once. A stop that is under way already was
    /// asked for by somebody else: it goes on, and the first signal can only shorten it, as any second stop.
    pub(super) fn stop_by_signal(&mut self) {
        #[cfg(feature = "signals")]
        {
            let configured = self.registry.config.signal_grace.unwrap_or_default();
            let again = std::mem::replace(&mut self.signalled, true);
            let grace = if again { Duration::ZERO } else { configured };
            note!(self.registry.logger, Info, "a signal to stop");
            self.registry.request_stop(grace);
        }
    }
}
