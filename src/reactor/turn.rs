//! One turn of the loop: the phases, in the order that they run.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use super::{Reactor, Turn};
use crate::codec::Protocol;
use crate::io::Timeout;
use crate::registry::Lifecycle;

impl<P: Protocol, S> Reactor<P, S> {
    /// Takes one turn: waits for something to do, for `timeout` at most (`None`: without limit), and does it.
    ///
    /// # Errors
    ///
    /// When the system's poll fails, which no peer can bring about.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<Turn> {
        if self.registry.lifecycle == Lifecycle::Stopped {
            return Ok(Turn::Stopped);
        }
        self.registry.clock.forget();
        let timeout = self.sleep_limit(timeout);

        // Sleep comes first, so that every turn ends with all lists as the phases left them, and the length of the sleep
        // can be read off them: whatever a budget left behind is on a list, and then there is no sleep.
        if let Err(error) = self.driver.poll(timeout, &mut self.news) {
            return Err(self.poll_failed(&error));
        }
        self.registry.clock.forget(); // the sleep took time
        if self.news.is_of_server() {
            self.note_own_news();
        }

        // Commands before input: a stop, or a write from another thread, has waited for the whole sleep.
        // The bell is looked at before the queues: what is queued after this look rings again.
        if self.registry.shared.notice.was_rung() || self.commands_left {
            self.run_commands();
        }
        if !self.registry.dialing.is_empty() {
            self.dial();
        }

        // Newcomers before input, so that a busy connection cannot keep them out; they bring nothing to read yet.
        if self.acceptor.is_ready() {
            self.accept();
        }

        // The work itself. A connection's own answers are flushed here, right after its batch.
        self.serve_due();

        // Timers after input: what has come in time is not late because the loop was.
        if !self.registry.timers.is_empty() {
            self.fire_timers();
        }

        // A stop asked for by any of the phases above begins here, once; what `on_stop` writes is flushed below.
        if self.registry.lifecycle != Lifecycle::Running {
            self.advance_stop();
        }

        // What was written to connections other than the one being served, all of it in one write for each.
        if !self.registry.dirty.is_empty() {
            self.flush_dirty();
        }

        // Last, because only here do slots come free: until now an id from this turn's news could not meet a stranger.
        if !self.registry.doomed.is_empty() {
            self.reap();
        }
        if self.registry.lifecycle == Lifecycle::Running {
            return Ok(Turn::Running);
        }
        self.finish_stop();
        Ok(match self.registry.lifecycle {
            Lifecycle::Stopped => Turn::Stopped,
            _ => Turn::Running,
        })
    }

    #[cold]
    fn poll_failed(&self, error: &io::Error) -> io::Error {
        let error = io::Error::new(error.kind(), format!("the system's poll failed: {error}"));
        self.registry.shared.outcome.set(&Err(io::Error::new(error.kind(), error.to_string())));
        error
    }

    /// How long the poll may sleep: not at all while anything is due. Where there is no timer, nobody asks for the time.
    fn sleep_limit(&mut self, asked: Option<Duration>) -> Option<Timeout> {
        let registry = &mut self.registry;
        let listed = registry.ready.len()
            | registry.dirty.len()
            | registry.doomed.len()
            | registry.dialing.len();
        let due = listed != 0
            || self.commands_left
            || self.acceptor.is_ready()
            || match registry.lifecycle {
                Lifecycle::Asked { .. } => true,
                // A second stop, since the phase that arms its deadline, has brought it forward.
                Lifecycle::Stopping(stopping) => {
                    self.stop_armed.is_none_or(|armed| stopping.deadline < armed)
                }
                Lifecycle::Running | Lifecycle::Stopped => false,
            };
        if due || asked == Some(Duration::ZERO) {
            return Some(Timeout::NONE);
        }
        let next = if registry.timers.is_empty() { None } else { registry.timers.next_deadline() };
        let asked = asked.map(|asked| registry.clock.now() + asked);
        let at = [next, asked].into_iter().flatten().min()?;
        Some(Timeout { span: at.since(registry.clock.now()), at })
    }

    /// Notes what the poll told of the server itself. News of connections wait for the phase that serves them.
    #[cold]
    fn note_own_news(&mut self) {
        if std::mem::take(&mut self.news.of_listener) {
            self.acceptor.note_ready();
        }
        if std::mem::take(&mut self.news.of_signals) {
            self.take_signals();
        }
    }

    fn take_signals(&mut self) {
        for _ in 0..self.driver.stop_signals() {
            self.stop_by_signal();
        }
    }
}

impl<P: Protocol, S> Drop for Reactor<P, S> {
    fn drop(&mut self) {
        let was_panicking = thread::panicking();
        if was_panicking {
            let outcome = &self.registry.shared.outcome;
            outcome.set(&Err(io::Error::other("the loop's thread panicked")));
        }
        // Caught, so that a panic in the one does not keep the other from being done.
        let stopped = catch_unwind(AssertUnwindSafe(|| self.stop_at_once()));
        let told = catch_unwind(AssertUnwindSafe(|| self.leave_nobody_waiting()));
        if let Err(panic) = stopped.and(told)
            && !was_panicking
        {
            resume_unwind(panic);
        }
    }
}
