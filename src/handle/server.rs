//! The server, from any thread.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{Command, ConnectionHandle, Phase, Shared, lock, wait};
use crate::codec::Protocol;
use crate::context::{Broadcast, ServerRef, SlowConsumers};
use crate::error::WriteError;
use crate::id::ConnectionId;
use crate::queue::PushError;
use crate::reactor::StopReport;
use crate::stats::Stats;

/// How a server ended, once it has.
#[derive(Default)]
pub(crate) struct Outcome {
    ended: Mutex<Option<Result<StopReport, Ended>>>,
    told: Condvar,
}

/// An `io::Error` that can be told more than once.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    kind: io::ErrorKind,
    message: String,
}

impl Outcome {
    /// The first outcome stands.
    pub(crate) fn set(&self, outcome: &io::Result<StopReport>) {
        lock(&self.ended).get_or_insert_with(|| match outcome {
            Ok(report) => Ok(*report),
            Err(error) => Err(Ended { kind: error.kind(), message: error.to_string() }),
        });
        self.told.notify_all();
    }

    fn wait(&self) -> io::Result<StopReport> {
        let mut ended = lock(&self.ended);
        loop {
            if let Some(outcome) = &*ended {
                return outcome.clone().map_err(|ended| io::Error::new(ended.kind, ended.message));
            }
            ended = wait(&self.told, ended);
        }
    }
}

/// A running server, from any thread. Clones speak of the same server; dropping them stops nothing.
pub struct ServerHandle<P: Protocol, S> {
    shared: Arc<Shared<P, S>>,
}

impl<P: Protocol, S> ServerHandle<P, S> {
    pub(crate) fn new(shared: Arc<Shared<P, S>>) -> Self {
        Self { shared }
    }

    /// The address that the server listens on, with the port that the system chose where port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    // The end.

    /// Stops the server and waits until it has: see [`ServerRef::stop`]. It returns as soon as the last connection is
    /// gone. When the server has stopped already, it returns the report of that.
    ///
    /// # Errors
    ///
    /// [`HandleError::WouldDeadlock`] on the loop's own thread (the stop is under way all the same);
    /// [`HandleError::Failed`] when the loop ended by an error of the system.
    pub fn stop(&self, grace: Duration) -> Result<StopReport, HandleError> {
        self.request_stop(grace);
        self.join()
    }

    /// Begins to stop the server, and does not wait.
    pub fn request_stop(&self, grace: Duration) {
        self.shared.notice.ask_to_stop(grace);
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop).
    pub fn join(&self) -> Result<StopReport, HandleError> {
        if self.shared.notice.on_loop_thread() && self.shared.notice.phase() != Phase::Stopped {
            return Err(HandleError::WouldDeadlock);
        }
        self.shared.outcome.wait().map_err(HandleError::Failed)
    }

    // Status.

    /// Whether the server takes connections: no stop has been asked for.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.notice.phase() == Phase::Running
    }

    /// Whether a stop has been asked for and is not over.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shared.notice.phase() == Phase::Stopping
    }

    /// Whether the server has stopped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.notice.phase() == Phase::Stopped
    }

    /// Connections there are, in whatever state.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.shared.notice.connections()
    }

    // Work on the loop.

    fn command(&self, command: Command<P, S>) -> Result<(), HandleError> {
        if self.shared.notice.on_loop_thread() {
            return Err(HandleError::WouldDeadlock);
        }
        match self.shared.commands.push(command, None) {
            Ok(()) => {
                self.shared.notice.ring();
                Ok(())
            }
            Err(_) => Err(HandleError::Stopped),
        }
    }
}

impl<P: Protocol, S: 'static> ServerHandle<P, S> {
    /// Runs a closure on the loop, with the state and the server in hand, and returns its value. Blocks while the queue
    /// of commands is full (`Config::commands`), and until the closure has run.
    ///
    /// # Errors
    ///
    /// [`HandleError::Stopped`] when the loop has ended, or ends before the closure's turn; [`HandleError::Panicked`];
    /// [`HandleError::WouldDeadlock`] on the loop's own thread.
    pub fn run<R, F>(&self, work: F) -> Result<R, HandleError>
    where
        R: Send + 'static,
        F: FnOnce(&mut S, &mut ServerRef<'_, P, S>) -> R + Send + 'static,
    {
        let (reply, answer) = mpsc::sync_channel(1);
        self.command(Self::replying(work, reply))?;
        // The sender is dropped with the command, run or not; what it said last is what became of it.
        answer.recv().unwrap_or(Err(HandleError::Stopped))
    }

    /// Leaves a closure for the loop to run, if there is room now.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Stopped`]; the closure is dropped.
    pub fn try_run<F>(&self, work: F) -> Result<(), HandleError>
    where
        F: FnOnce(&mut S, &mut ServerRef<'_, P, S>) + Send + 'static,
    {
        match self.shared.commands.try_push(Box::new(work)) {
            Ok(()) => {
                self.shared.notice.ring();
                Ok(())
            }
            Err(PushError::Full(_)) => Err(HandleError::Full),
            Err(PushError::Closed(_)) => Err(HandleError::Stopped),
        }
    }

    fn replying<R, F>(work: F, reply: mpsc::SyncSender<Result<R, HandleError>>) -> Command<P, S>
    where
        R: Send + 'static,
        F: FnOnce(&mut S, &mut ServerRef<'_, P, S>) -> R + Send + 'static,
    {
        /// Says `Panicked` unless it was told that all is well.
        struct Alarm<R>(Option<mpsc::SyncSender<Result<R, HandleError>>>);
        impl<R> Drop for Alarm<R> {
            fn drop(&mut self) {
                if let Some(reply) = self.0.take() {
                    drop(reply.send(Err(HandleError::Panicked)));
                }
            }
        }
        Box::new(move |state, server| {
            let mut alarm = Alarm(Some(reply));
            let value = work(state, server);
            if let Some(reply) = alarm.0.take() {
                // Nobody listens where the asking thread has gone; then nobody misses the value.
                drop(reply.send(Ok(value)));
            }
        })
    }

    /// A handle of one connection; `None` when it is over.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn connection(&self, id: ConnectionId) -> Result<Option<ConnectionHandle<P>>, HandleError>
    where
        P::In: Send,
        P::Out: Send,
    {
        self.run(move |_, server| server.connection(id).map(|mut conn| conn.handle()))
    }

    /// Queues a packet for one connection, and says what became of it.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run) for the way there; inside, as [`Connection::write`](crate::Connection::write).
    pub fn send(
        &self,
        id: ConnectionId,
        packet: P::Out,
    ) -> Result<Result<(), WriteError<P::Out>>, HandleError>
    where
        P::Out: Send,
    {
        self.run(move |_, server| match server.connection(id) {
            Some(mut conn) => conn.write(packet),
            None => Err(WriteError::Closed(packet)),
        })
    }

    /// Leaves a packet for the loop to queue for one connection, if there is room among the commands now; never waits, so
    /// it also serves on the loop's own thread.
    ///
    /// What the connection then says to it is only counted: `Stats::packets_refused`, `Stats::packets_dropped`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Full`] when as many commands wait as may, and [`WriteError::Closed`] when the server has stopped, give
    /// the packet back.
    pub fn try_send(&self, id: ConnectionId, packet: P::Out) -> Result<(), WriteError<P::Out>>
    where
        P::Out: Send,
    {
        // The command may be refused with the packet in it, and is then a closure that nobody can look into.
        let packet = Arc::new(Mutex::new(Some(packet)));
        let parcel = Arc::clone(&packet);
        let left = self.try_run(move |_, server| {
            let Some(packet) = lock(&parcel).take() else { return };
            server.write_or_count(id, packet);
        });
        let Err(error) = left else { return Ok(()) };
        match (lock(&packet).take(), error) {
            (Some(packet), HandleError::Full) => Err(WriteError::Full(packet)),
            (Some(packet), _) => Err(WriteError::Closed(packet)),
            (None, _) => Ok(()), // it was taken by the loop after all
        }
    }

    /// Queues a packet for every connection: see [`ServerRef::broadcast`].
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn broadcast(&self, packet: P::Out, slow: SlowConsumers) -> Result<Broadcast, HandleError>
    where
        P::Out: Clone + Send,
    {
        self.run(move |_, server| server.broadcast(packet, slow))
    }

    /// What the server has done so far.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn stats(&self) -> Result<Stats, HandleError> {
        self.run(|_, server| server.stats())
    }
}

impl<P: Protocol, S> Clone for ServerHandle<P, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Protocol, S> fmt::Debug for ServerHandle<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("phase", &self.shared.notice.phase())
            .field("connections", &self.connection_count())
            .finish()
    }
}

/// Why a call on a [`ServerHandle`] came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandleError {
    /// The server has stopped.
    Stopped,
    /// As many commands wait as may.
    Full,
    /// Waiting on the loop's own thread would be waiting for oneself for ever.
    WouldDeadlock,
    /// The closure panicked; the server goes on.
    Panicked,
    /// The loop ended by an error of the system.
    Failed(io::Error),
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the server has stopped"),
            Self::Full => f.write_str("the server's queue of commands is full"),
            Self::WouldDeadlock => f.write_str(
                "a blocking call on the loop's own thread would deadlock; use the ServerRef there",
            ),
            Self::Panicked => f.write_str("the closure panicked on the loop"),
            Self::Failed(source) => write!(f, "the loop failed: {source}"),
        }
    }
}

impl std::error::Error for HandleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(source) => Some(source),
            _ => None,
        }
    }
}
