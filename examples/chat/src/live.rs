//! The hub on the library's loop: its [`Wire`] is the loop itself, its handlers are four lines each.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wheelhouse::codec::websocket::{self, CloseFrame, Incoming, Outgoing, WebSocket};
use wheelhouse::{Blame, ConnectionId, Handlers, ServerRef, SlowConsumers};

use crate::event::Event;
use crate::hub::Hub;
use crate::message::CloseCode;
use crate::wire::Wire;

pub(crate) type Connection<'a> = wheelhouse::Connection<'a, WebSocket, Hub>;

/// The handlers of a connection that has become a WebSocket.
pub(crate) fn handlers(conn: &Connection<'_>) -> Handlers<WebSocket, Hub> {
    conn.handlers()
        .on_read(|hub, conn, incoming| {
            let id = conn.id();
            let Incoming::Message(message) = incoming else { return Ok(()) };
            match message.as_text() {
                Some(frame) => hub.hear(&mut conn.server(), id, frame),
                None => hub.hear_binary(&mut conn.server(), id),
            }
            Ok(())
        })
        .on_error(|_, conn, error| match error.blame() {
            Blame::Peer => log::info!("{}: {error}", conn.id()),
            Blame::System | Blame::Caller => log::error!("{}: {error}", conn.id()),
        })
        .on_stop(|hub, conn| {
            let id = conn.id();
            hub.stopping(&mut conn.server(), id);
        })
        .on_closed(|hub, conn, reason| {
            let id = conn.id();
            log::info!("{id}: {reason}");
            hub.gone(&mut conn.server(), id);
        })
}

impl Wire for ServerRef<'_, WebSocket, Hub> {
    fn now(&self) -> Instant {
        ServerRef::now(self)
    }

    #[expect(clippy::disallowed_methods, reason = "people want to know what time it was")]
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn is_stopping(&self) -> bool {
        self.is_shutting_down()
    }

    /// A client that does not read is dropped, with the close code 1013, so that the rest need not wait for it.
    fn publish(&mut self, to: impl Iterator<Item = ConnectionId>, event: &Event<'_>) {
        let mut to = to.peekable();
        if to.peek().is_some() {
            let frame = Outgoing::from(event.to_json());
            let told = self.broadcast_to(to, frame, SlowConsumers::Disconnect);
            log::trace!("{told:?}");
        }
    }

    fn close(&mut self, id: ConnectionId, code: CloseCode, reason: &str) {
        let Some(mut conn) = self.connection(id) else { return };
        let code = match code {
            CloseCode::Normal => websocket::CloseCode::NORMAL,
            CloseCode::GoingAway => websocket::CloseCode::GOING_AWAY,
            CloseCode::Policy => websocket::CloseCode::POLICY_VIOLATION,
        };
        let told = conn.write(CloseFrame::new(code, reason).into());
        if told.is_err_and(|error| error.is_full()) {
            conn.abort(); // it does not read, and so would not read this
        }
    }
}
