//! How a connection comes to stand in the lists of what is due. The loop takes it off them, in the phase that they are for.

use super::Registry;
use crate::codec::Protocol;
use crate::connection::state::{Input, State};
use crate::id::ConnectionId;
use crate::io::Readiness;

impl<P: Protocol, S> Registry<P, S> {
    /// Notes what the poll told of a connection, and lists it where that is due. News of one that has gone miss, by its
    /// generation.
    #[inline]
    pub(crate) fn note_news(&mut self, id: ConnectionId, news: &Readiness) {
        let Some(conn) = self.conns.get_mut(id.slot()) else { return };
        if conn.generation != id.generation() {
            return;
        }
        if news.readable {
            conn.inbound.note_readable();
        }
        if news.ending {
            conn.inbound.note_ending();
        }
        if news.writable {
            conn.outbound.note_writable();
        }
        let to_serve = match conn.state.input() {
            Input::Ignore => news.ending && conn.state == State::PeerEnded,
            Input::Decode | Input::Discard => news.readable || news.ending,
        };
        if to_serve && conn.duty.may_list_ready() {
            self.ready.push(id);
        }
        let decided = conn.state.is_connecting() && (news.writable || news.ending);
        if decided || (news.writable && !conn.outbound.is_empty()) {
            self.enqueue_dirty(id);
        }
    }

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
        if !conn.duty.dirty && !conn.duty.serving {
            conn.duty.dirty = true;
            self.dirty.push(id);
        }
    }
}
