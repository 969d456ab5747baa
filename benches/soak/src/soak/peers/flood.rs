//! More connects from one address than it may have: those over the limit are turned away, the others stay.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::{Life, Peer, said};
use crate::serve::PER_ADDRESS;
use crate::soak::field::{Count, PATIENCE};

/// Over the limit.
const TOO_MANY: usize = 64;

pub(super) fn flood(peer: &mut Peer) -> Life {
    let from = Ipv4Addr::new(127, 255, 6, peer.random.u8(1..250));
    let mut crowd = Vec::new();
    for _ in 0..PER_ADDRESS + TOO_MANY {
        let stream = peer.connect_from(from)?;
        stream.set_nonblocking(true).map_err(said)?;
        crowd.push(stream);
    }
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(crowd.len() as i64);
    let begun = Instant::now();
    loop {
        let still = crowd.iter().filter(|stream| is_open(stream)).count();
        if still < PER_ADDRESS {
            let limit = format!("an address may have {PER_ADDRESS}");
            return Err(format!("{still} of {} are still connected: {limit}", crowd.len()));
        }
        if still == PER_ADDRESS {
            peer.field.count(Count::Refused, TOO_MANY as u64);
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{still} connections of one address were let in"));
        }
        if !peer.field.pause(Duration::from_millis(20)) {
            return Ok(());
        }
    }
    drop(crowd);
    peer.pause_between(5_000, 15_000);
    Ok(())
}

fn is_open(mut stream: &TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
