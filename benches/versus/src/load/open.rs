//! The open loop: message `k` is due at `k / rate`, whatever became of those before it, and its latency counts from
//! there. So a server that stalls for a second is charged with every message of that second, not with one.

use std::time::{Duration, Instant};

use super::{Load, PATIENCE, Tally, events, look};
use crate::Outcome;

/// Sends on every connection in turn, then waits for the answers that are missing.
pub(super) fn round(load: &mut Load, rate: u64, length: Duration) -> Outcome<Tally> {
    let Load { epoll, connections, wire, buffer, .. } = load;
    let mut tally = Tally::new()?;
    let count = connections.len() as u64;
    let before: Vec<u64> = connections.iter().map(|connection| connection.answered).collect();
    let total = u64::try_from(u128::from(rate) * length.as_nanos() / 1_000_000_000)?;
    let begun = Instant::now();
    let due = |message: u64| Duration::from_nanos(message * 1_000_000_000 / rate);
    let mut sent = 0;
    let mut last_news = begun;
    let mut events = events();
    while tally.messages < total {
        let elapsed = begun.elapsed();
        while sent < total && due(sent) <= elapsed {
            connections[(sent % count) as usize].ask(wire)?;
            sent += 1;
        }
        look(epoll, &mut events)?;
        for event in &events {
            let at = event.data.u64() as usize;
            let connection = &mut connections[at];
            connection.send(wire)?;
            connection.receive(wire, buffer, |batch| {
                let message = (batch - before[at]) * count + at as u64;
                last_news = Instant::now();
                tally.record((last_news - begun).saturating_sub(due(message)));
                tally.messages += 1;
            })?;
        }
        if events.is_empty() && sent == total && last_news.elapsed() > PATIENCE {
            let missing = total - tally.messages;
            return Err(format!("{missing} of {total} messages were never answered").into());
        }
    }
    Ok(tally)
}
