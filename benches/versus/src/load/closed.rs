//! The closed loop: each active connection has one batch under way, and sends the next when the last is answered.
//!
//! So the server has as much to do as it can do, and the round says how much that was. The time of each batch is kept,
//! too, but a server that stalls is asked less while it does: latency is the open loop's to tell.

use std::time::{Duration, Instant};

use super::{Load, Tally, await_news, events};
use crate::Outcome;

/// Ends when every batch that was sent within `length` is answered.
pub(super) fn round(load: &mut Load, length: Duration) -> Outcome<Tally> {
    let Load { epoll, connections, wire, buffer, .. } = load;
    let mut tally = Tally::new()?;
    let end = Instant::now() + length;
    for connection in &mut *connections {
        connection.since = Instant::now();
        connection.ask(wire)?;
    }
    let mut under_way = connections.len();
    let mut events = events();
    while under_way > 0 {
        await_news(epoll, &mut events)?;
        for event in &events {
            let Some(connection) = connections.get_mut(event.data.u64() as usize) else {
                return Err("a connection that is silent has heard something, or was closed".into());
            };
            connection.send(wire)?;
            let mut is_answered = false;
            connection.receive(wire, buffer, |_| is_answered = true)?;
            if !is_answered {
                continue;
            }
            let now = Instant::now();
            tally.record(now - connection.since);
            tally.messages += wire.pipeline() as u64;
            if now < end {
                connection.since = now;
                connection.ask(wire)?;
            } else {
                under_way -= 1;
            }
        }
    }
    Ok(tally)
}
