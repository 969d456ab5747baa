//! One connection speaks and all hear, itself among them; the next word comes when everyone has heard the last.
//!
//! A delivery is what is counted, and a latency is the time until the last of them.

use std::time::{Duration, Instant};

use super::{Load, Tally, await_news, events};
use crate::Outcome;

pub(super) fn round(load: &mut Load, length: Duration) -> Outcome<Tally> {
    let Load { epoll, connections, wire, buffer, .. } = load;
    let mut tally = Tally::new()?;
    let everyone = connections.len() as u64;
    let end = Instant::now() + length;
    let mut events = events();
    let mut now = Instant::now();
    while now < end {
        let begun = now;
        let mut heard = 0;
        connections[0].ask(wire)?;
        while heard < everyone {
            await_news(epoll, &mut events)?;
            for event in &events {
                let connection = &mut connections[event.data.u64() as usize];
                connection.receive(wire, buffer, |_| heard += 1)?;
            }
        }
        now = Instant::now();
        tally.record(now - begun);
        tally.messages += everyone;
    }
    Ok(tally)
}
