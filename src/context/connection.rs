//! A handler's view of one connection.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::ServerRef;
use crate::codec::Protocol;
use crate::error::{Error, WriteError};
use crate::handle::ConnectionHandle;
use crate::handlers::Handlers;
use crate::id::{ConnectionId, TimerId};
use crate::registry::{Conn, EachFor, OnceFor, Registry, Repeat};

/// One connection, as its handlers see it.
///
/// It is a view for the time of one call. To name the connection later, keep its [`id`](Self::id); to use it from another
/// thread, take a [`handle`](Self::handle).
pub struct Connection<'a, P: Protocol, S> {
    registry: &'a mut Registry<P, S>,
    id: ConnectionId,
}

impl<'a, P: Protocol, S> Connection<'a, P, S> {
    /// The connection must exist, and does for as long as the view lives: slots are freed between calls of handlers.
    pub(crate) fn new(registry: &'a mut Registry<P, S>, id: ConnectionId) -> Self {
        debug_assert!(registry.get(id).is_some(), "a view of a connection that is not there");
        Self { registry, id }
    }

    fn conn(&self) -> &Conn<P, S> {
        &self.registry.conns[self.id.slot()]
    }

    fn conn_mut(&mut self) -> &mut Conn<P, S> {
        &mut self.registry.conns[self.id.slot()]
    }

    /// The connection's name for as long as the server runs.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.conn().peer
    }

    /// This side's address.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`; `NotConnected` while an outbound connection is being made.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.conn().socket {
            Some(socket) => socket.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Everything else: other connections, timers, the server itself.
    pub fn server(&mut self) -> ServerRef<'_, P, S> {
        ServerRef::new(self.registry)
    }

    /// Empty handlers of this server's types, to set closures on.
    pub fn handlers(&self) -> Handlers<P, S> {
        Handlers::new()
    }

    /// Replaces all handlers, also from inside one of them: the next packet goes to the new ones.
    ///
    /// Packets that waited in the inbox for want of an `on_read` go to the new one first.
    pub fn set_handlers(&mut self, handlers: Handlers<P, S>) {
        let conn = self.conn_mut();
        conn.handlers = handlers;
        conn.duty.replaced = true;
        let id = self.id;
        self.registry.enqueue_ready(id);
    }

    // Packets.

    /// Queues a packet for the peer. The loop sends it when the handler has returned.
    ///
    /// # Errors
    ///
    /// - [`WriteError::Full`] gives the packet back when it would take the outbox over its hard cap. A packet that is
    ///   larger than the cap goes when nothing else waits.
    /// - [`WriteError::Closed`] gives it back when the connection is closing or its write side has been ended.
    /// - [`WriteError::Encode`] when the codec refuses it.
    #[inline]
    pub fn write(&mut self, packet: P::Out) -> Result<(), WriteError<P::Out>> {
        self.registry.write(self.id, packet)
    }

    /// Takes the oldest packet from the inbox, where packets wait when no `on_read` is set. `None` when there is none now.
    ///
    /// A full inbox stops the reading from the peer; this starts it again.
    pub fn read(&mut self) -> Option<P::In> {
        self.registry.unshelve(self.id)
    }

    /// Takes the oldest error, where errors wait when no `on_error` is set.
    pub fn take_error(&mut self) -> Option<Error> {
        self.registry.take_error(self.id)
    }

    /// Stops reading from the peer, which slows it down through TCP. Packets decoded already may wait until
    /// [`resume_read`](Self::resume_read), too. While paused, the end of the peer's stream is not noticed.
    pub fn pause_read(&mut self) {
        self.conn_mut().inbound.pause();
    }

    /// Reads again, beginning with what waits.
    pub fn resume_read(&mut self) {
        self.conn_mut().inbound.resume();
        self.registry.enqueue_ready(self.id);
    }

    /// Bytes that wait to be sent, with their overhead.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.conn().outbound.queued()
    }

    // The end.

    /// Closes with nothing lost: no more packets, what is queued is sent, then this side of the stream ends, and what the
    /// peer still sends is thrown away until it ends its side or `Config::linger` is over. Then `on_closed`.
    pub fn close(&mut self) {
        self.registry.close(self.id);
    }

    /// Closes at once: drops what is queued, and resets the connection.
    pub fn abort(&mut self) {
        self.registry.abort(self.id);
    }

    /// Ends this side of the stream once what is queued has been sent. Packets are still read; the connection closes when
    /// the peer has ended its side.
    pub fn finish(&mut self) {
        self.registry.finish(self.id);
    }

    /// Whether packets can be written: not yet closed, aborted or finished.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.conn().state.is_writable()
    }

    /// Whether an outbound connection has yet to be made.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        self.conn().state.is_connecting()
    }

    /// Whether the connection is over, and only `on_closed` is left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.conn().state.is_closed()
    }

    // The user's own data.

    /// Keeps a value with the connection, in the place of one kept before.
    pub fn set_user_data<T: Any>(&mut self, data: T) {
        self.conn_mut().cold().user_data = Some(Box::new(data));
    }

    /// The value kept with the connection, if it is a `T`.
    #[must_use]
    pub fn user_data<T: Any>(&self) -> Option<&T> {
        self.conn().cold_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// The value kept with the connection, to be changed, if it is a `T`.
    pub fn user_data_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.conn_mut().cold_mut()?.user_data.as_mut()?.downcast_mut()
    }

    // Timers, which die with the connection.

    /// Calls `then` once, not earlier than `delay` from now (to the millisecond).
    pub fn after<F>(&mut self, delay: Duration, then: F) -> TimerId
    where
        F: FnOnce(&mut S, &mut Connection<'_, P, S>) + 'static,
    {
        self.keep_timer(delay, Repeat::Once(Box::new(then)))
    }

    /// Calls `each` every `period`, without drift: a call that comes late does not delay the next, and calls that were
    /// missed altogether are left out. A period under 1 ms is taken as 1 ms.
    pub fn every<F>(&mut self, period: Duration, each: F) -> TimerId
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) + 'static,
    {
        let period = period.max(super::server::SHORTEST_PERIOD);
        self.keep_timer(period, Repeat::Every(period, Box::new(each)))
    }

    fn keep_timer(
        &mut self,
        delay: Duration,
        repeat: Repeat<OnceFor<P, S>, EachFor<P, S>>,
    ) -> TimerId {
        self.registry.add_connection_timer(self.id, delay, repeat)
    }

    /// Cancels a timer. Says whether it was still to fire.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.registry.forget_timer(self.id, timer);
        self.registry.timers.cancel(timer)
    }

    /// The connection's view from other threads.
    ///
    /// Packets that come while no `on_read` is set can be read there, and packets written there are sent by the loop.
    #[must_use]
    pub fn handle(&mut self) -> ConnectionHandle<P> {
        let link = self.registry.link(self.id);
        ConnectionHandle::new(link.expect("a view's connection is there"))
    }
}

impl<P: Protocol, S> fmt::Debug for Connection<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("peer_addr", &self.peer_addr())
            .field("state", &self.conn().state)
            .field("queued", &self.queued())
            .finish()
    }
}
