//! This project's reactor: as its first example has it, and the same with `busy_poll`.

use std::time::Duration;

use bytes::Bytes;
use wheelhouse::codec::websocket::{Incoming, Upgrade, WebSocket};
use wheelhouse::codec::{BytesCodec, LengthDelimitedCodec, Protocol};
use wheelhouse::{Config, Server, SlowConsumers};

use super::{LONGEST, announce};
use crate::Outcome;
use crate::plan::Work;

/// For how long the one that looks before it sleeps does so: longer than the gap between messages in the cells of latency.
pub(crate) const BUSY_POLL: Duration = Duration::from_micros(100);

pub(crate) fn serve(work: Work, busy_poll: Duration) -> Outcome<()> {
    let config = Config::default().busy_poll(busy_poll);
    match work {
        Work::Bytes => echo(BytesCodec::new(), config),
        Work::Length => echo(LengthDelimitedCodec::new(LONGEST), config),
        Work::Broadcast => broadcast(LengthDelimitedCodec::new(LONGEST)),
        Work::WebSocket => websocket(config),
    }
}

fn echo<P>(protocol: P, config: Config) -> Outcome<()>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    let server = Server::bind("127.0.0.1:0", protocol)?.config(config);
    announce(server.local_addr().port())?;
    server.run(|_, conn| conn.handlers().on_read(|_, conn, packet| Ok(conn.write(packet)?)))?;
    Ok(())
}

fn broadcast<P>(protocol: P) -> Outcome<()>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    let server = Server::bind("127.0.0.1:0", protocol)?;
    announce(server.local_addr().port())?;
    server.run(|_, conn| {
        conn.handlers().on_read(|_, conn, packet| {
            conn.server().broadcast(packet, SlowConsumers::Disconnect);
            Ok(())
        })
    })?;
    Ok(())
}

/// With the codec's own handshake; that of the peers without one is in `upgrade.rs`. Neither is within what is measured.
fn websocket(config: Config) -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0", WebSocket::new().max_message(LONGEST))?.config(config);
    announce(server.local_addr().port())?;
    server.run(|_, conn| {
        conn.handlers().on_read(|_, conn, incoming| {
            match incoming {
                Incoming::Message(message) => conn.write(message.into())?,
                Incoming::Request(request) => match Upgrade::from_request(&request) {
                    Ok(upgrade) => conn.write(upgrade.accept().into())?,
                    Err(refusal) => conn.write(refusal.response().into())?,
                },
                _ => {}
            }
            Ok(())
        })
    })?;
    Ok(())
}
