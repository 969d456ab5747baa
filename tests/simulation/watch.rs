//! A state that notes every call of a handler, and handlers that fill it.

use bytes::Bytes;
use wheelhouse::codec::Protocol;
use wheelhouse::{CloseReason, Connection, ConnectionId, Handlers};

#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) accepted: Vec<ConnectionId>,
    pub(crate) packets: Vec<(ConnectionId, Bytes)>,
    pub(crate) errors: Vec<String>,
    pub(crate) drained: usize,
    pub(crate) closed: Vec<(ConnectionId, CloseReason)>,
}

impl Watch {
    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        self.closed.iter().map(|(_, reason)| *reason).collect()
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.packets.iter().map(|(_, packet)| packet.len()).collect()
    }
}

/// Notes everything but packets, which are left to wait in the inbox.
pub(crate) fn aloof<P>(watch: &mut Watch, conn: &mut Connection<'_, P, Watch>) -> Handlers<P, Watch>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    watch.accepted.push(conn.id());
    conn.handlers()
        .on_error(|watch: &mut Watch, _, error| watch.errors.push(error.to_string()))
        .on_drain(|watch, _| watch.drained += 1)
        .on_closed(|watch, conn, reason| watch.closed.push((conn.id(), reason)))
}

/// Notes everything, and answers each packet with itself.
pub(crate) fn echo<P>(watch: &mut Watch, conn: &mut Connection<'_, P, Watch>) -> Handlers<P, Watch>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    aloof(watch, conn).on_read(|watch, conn, packet| {
        watch.packets.push((conn.id(), packet.clone()));
        Ok(conn.write(packet)?)
    })
}

/// Notes everything, and answers nothing.
pub(crate) fn listen<P>(
    watch: &mut Watch,
    conn: &mut Connection<'_, P, Watch>,
) -> Handlers<P, Watch>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    aloof(watch, conn).on_read(|watch, conn, packet| {
        watch.packets.push((conn.id(), packet));
        Ok(())
    })
}
