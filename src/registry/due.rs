//! How a connection comes to stand in the lists of what is due. The loop takes it off them, in the phase that they are for.

use super::Registry;
use crate::codec::Protocol;
use crate::id::ConnectionId;

impl<P: Protocol, S> Registry<P, S> {
    /// There may be input to read or decode.
    pub(crate) fn enqueue_ready(&mut self, id: ConnectionId) {
        let Some(conn) = self.conns.get_mut(id.slot()) else { return };
        debug_assert_eq!(conn.generation, id.generation());
        if conn.duty.may_list_ready() {
            self.ready.push(id);
        }
    }

    /// There is output to flush, or an empty outbox to be told of.
    pub(crate) fn enqueue_dirty(&mut self, id: ConnectionId) {
        let Some(conn) = self.conns.get_mut(id.slot()) else { return };
        if conn.duty.may_list_dirty() {
            self.dirty.push(id);
        }
    }
}
