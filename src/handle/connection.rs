//! One connection, driven from any thread: Go's three channels, with Go's rules.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Notice;
use crate::clock::system_now;
use crate::codec::Protocol;
use crate::error::{Error, WriteError};
use crate::id::ConnectionId;
use crate::queue::{Bounded, PopError, Popped, PushError};

/// The queues between one connection and its handles.
pub(crate) struct Link<P: Protocol> {
    id: ConnectionId,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    pub(crate) incoming: Bounded<P::In>,
    pub(crate) outgoing: Bounded<P::Out>,
    pub(crate) errors: Bounded<Error>,
    /// It stands in the loop's list of connections to look at.
    called: AtomicBool,
    wish: AtomicU8,
    notice: Arc<Notice>,
}

/// What a handle wants done with its connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Wish {
    Nothing,
    Close,
    Abort,
}

impl<P: Protocol> Link<P> {
    pub(crate) fn new(
        id: ConnectionId,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        notice: Arc<Notice>,
        (inbox, writes, errors): (usize, usize, usize),
    ) -> Self {
        Self {
            id,
            peer,
            local,
            incoming: Bounded::new(inbox),
            outgoing: Bounded::new(writes),
            errors: Bounded::new(errors),
            called: AtomicBool::new(false),
            wish: AtomicU8::new(Wish::Nothing as u8),
            notice,
        }
    }

    /// The loop is about to look: whatever is queued from here on calls again.
    ///
    /// A swap, so that it takes in what the callers before it had done.
    pub(crate) fn attended(&self) {
        self.called.swap(false, Ordering::SeqCst);
    }

    pub(crate) fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Acquire) {
            0 => Wish::Nothing,
            1 => Wish::Close,
            _ => Wish::Abort,
        }
    }

    /// The connection is over: what has come can still be read, nothing can be written. What was taken for writing is left
    /// to be counted and dropped.
    pub(crate) fn end(&self) {
        self.incoming.close();
        self.errors.close();
        self.outgoing.close();
    }

    /// Asks the loop to look at this connection's queues, unless it is about to.
    pub(crate) fn call_loop(&self) {
        if !self.called.swap(true, Ordering::SeqCst) {
            self.notice.call_for(self.id);
        }
    }

    fn want(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::AcqRel);
        self.outgoing.close();
        self.call_loop();
    }

    /// The rest of a read: a queue that was full has room again, and the loop may go on filling it.
    fn taken<T>(&self, popped: Popped<T>) -> T {
        if popped.was_full {
            self.call_loop();
        }
        popped.item
    }
}

/// A connection, from any thread.
///
/// Its channels are Go's: `write` blocks while 100 packets wait for the loop (`Config::handle_writes`), `read` blocks until
/// a packet has come, and what came before the end is still read after it. Clones share the channels.
///
/// Packets come here only while the connection has no `on_read`. To read from a thread as a goroutine would:
///
/// ```no_run
/// # fn serve(handle: wheelhouse::ConnectionHandle<wheelhouse::codec::BytesCodec>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// for packet in handle.packets() {
///     handle.write(packet)?;
/// }
/// # Ok(()) }
/// ```
///
/// Dropping the last handle closes nothing.
pub struct ConnectionHandle<P: Protocol> {
    link: Arc<Link<P>>,
}

impl<P: Protocol> ConnectionHandle<P> {
    pub(crate) fn new(link: Arc<Link<P>>) -> Self {
        Self { link }
    }

    /// The connection's name for as long as the server runs.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.link.id
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.link.peer
    }

    /// This side's address, where the connection was made when the handle was.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.link.local
    }

    /// Whether nothing can be written any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.outgoing.is_closed()
    }

    // Writing.

    /// Queues a packet; blocks while the queue is full.
    ///
    /// What was queued when the connection begins to close is sent first, as far as the outbox's hard cap allows; what is
    /// not sent is counted in `Stats::packets_dropped`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`] gives the packet back when the connection is over, also while this call waits;
    /// [`WriteError::WouldDeadlock`] on the loop's own thread.
    pub fn write(&self, packet: P::Out) -> Result<(), WriteError<P::Out>> {
        self.push(packet, None)
    }

    /// As [`write`](Self::write), for `limit` at most.
    ///
    /// # Errors
    ///
    /// Also [`WriteError::Full`], once `limit` is over.
    pub fn write_timeout(&self, packet: P::Out, limit: Duration) -> Result<(), WriteError<P::Out>> {
        // A limit beyond what the clock can express is no limit.
        self.push(packet, system_now().checked_add(limit))
    }

    /// Queues a packet if there is room now.
    ///
    /// # Errors
    ///
    /// [`WriteError::Full`] and [`WriteError::Closed`] give the packet back.
    pub fn try_write(&self, packet: P::Out) -> Result<(), WriteError<P::Out>> {
        self.pushed(self.link.outgoing.try_push(packet))
    }

    fn push(&self, packet: P::Out, until: Option<Instant>) -> Result<(), WriteError<P::Out>> {
        if self.link.notice.on_loop_thread() {
            return Err(WriteError::WouldDeadlock(packet));
        }
        self.pushed(self.link.outgoing.push(packet, until))
    }

    fn pushed(&self, pushed: Result<(), PushError<P::Out>>) -> Result<(), WriteError<P::Out>> {
        match pushed {
            Ok(()) => {
                self.link.call_loop();
                Ok(())
            }
            Err(PushError::Full(packet)) => Err(WriteError::Full(packet)),
            Err(PushError::Closed(packet)) => Err(WriteError::Closed(packet)),
        }
    }

    // Reading.

    /// Takes the next packet; blocks until there is one.
    ///
    /// # Errors
    ///
    /// [`ReadError::Closed`] when the connection is over and all that came has been read; [`ReadError::WouldDeadlock`] on
    /// the loop's own thread.
    pub fn read(&self) -> Result<P::In, ReadError> {
        self.pop(&self.link.incoming, None)
    }

    /// As [`read`](Self::read), for `limit` at most.
    ///
    /// # Errors
    ///
    /// Also [`ReadError::Empty`], once `limit` is over.
    pub fn read_timeout(&self, limit: Duration) -> Result<P::In, ReadError> {
        self.pop(&self.link.incoming, system_now().checked_add(limit))
    }

    /// Takes the next packet, if it is there now.
    ///
    /// # Errors
    ///
    /// [`ReadError::Empty`] and [`ReadError::Closed`].
    pub fn try_read(&self) -> Result<P::In, ReadError> {
        Ok(self.link.taken(self.link.incoming.try_pop()?))
    }

    /// The packets as they come, until the connection is over: `for packet in handle.packets()`.
    ///
    /// With `Config::half_open` it ends with the peer's stream, and what is still to be answered can be: then
    /// [`close`](Self::close). Without it, the connection closes of itself at the peer's end, and late answers are refused.
    #[must_use]
    pub fn packets(&self) -> Packets<P> {
        Packets { handle: self.clone() }
    }

    /// Takes the next error, where the connection has no `on_error`; blocks until there is one.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn error(&self) -> Result<Error, ReadError> {
        self.pop(&self.link.errors, None)
    }

    /// As [`error`](Self::error), for `limit` at most.
    ///
    /// # Errors
    ///
    /// As [`read_timeout`](Self::read_timeout).
    pub fn error_timeout(&self, limit: Duration) -> Result<Error, ReadError> {
        self.pop(&self.link.errors, system_now().checked_add(limit))
    }

    /// Takes the next error, if there is one now.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub fn try_error(&self) -> Result<Error, ReadError> {
        Ok(self.link.errors.try_pop()?.item)
    }

    fn pop<T>(&self, queue: &Bounded<T>, until: Option<Instant>) -> Result<T, ReadError> {
        if self.link.notice.on_loop_thread() {
            return Err(ReadError::WouldDeadlock);
        }
        Ok(self.link.taken(queue.pop(until)?))
    }

    // The end.

    /// Closes with nothing lost: what was written before is sent first. Writes are refused from here on.
    pub fn close(&self) {
        self.link.want(Wish::Close);
    }

    /// Closes at once: drops what is queued, and resets the connection.
    pub fn abort(&self) {
        self.link.want(Wish::Abort);
    }
}

impl<P: Protocol> Clone for ConnectionHandle<P> {
    fn clone(&self) -> Self {
        Self { link: Arc::clone(&self.link) }
    }
}

impl<P: Protocol> fmt::Debug for ConnectionHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("id", &self.id())
            .field("peer_addr", &self.peer_addr())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

/// Packets as they come: [`ConnectionHandle::packets`]. It ends when the connection is over, and at once on the loop's own
/// thread.
#[derive(Debug)]
pub struct Packets<P: Protocol> {
    handle: ConnectionHandle<P>,
}

impl<P: Protocol> Iterator for Packets<P> {
    type Item = P::In;

    fn next(&mut self) -> Option<P::In> {
        self.handle.read().ok()
    }
}

/// Why a read brought nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing is there now, or came in time.
    Empty,
    /// The connection is over, and all that came has been read.
    Closed,
    /// A blocking call on the loop's own thread would wait for itself for ever.
    WouldDeadlock,
}

impl From<PopError> for ReadError {
    fn from(error: PopError) -> Self {
        match error {
            PopError::Empty => Self::Empty,
            PopError::Closed => Self::Closed,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing has come yet",
            Self::Closed => "the connection is closed, and everything that came has been read",
            Self::WouldDeadlock => {
                "a blocking read on the loop's own thread would deadlock; \
                 use Connection::read there, or try_read"
            }
        })
    }
}

impl std::error::Error for ReadError {}
