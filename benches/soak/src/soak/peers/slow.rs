//! Slow senders: a byte a second, or half a packet and then nothing. The server has to drop each, and not before its time.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Life, Peer, raw, said};
use crate::serve::{CHAT_DEADLINE, DEADLINE, Service};
use crate::soak::field::{Count, PATIENCE};

/// Clocks of two processes are the same here, but a deadline is rounded.
const ROUNDING: Duration = Duration::from_millis(5);

fn deadline(service: Service) -> Duration {
    if service == Service::Chat { CHAT_DEADLINE } else { DEADLINE }
}

/// The beginning of something that promises more.
fn beginning(service: Service) -> &'static [u8] {
    match service {
        Service::Lines => b"a line without ",
        Service::Length => b"\x00\x00\x01\x00 but two hundred and fifty-six were promised",
        _ => b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso",
    }
}

/// A byte a second, for as long as the server listens.
pub(super) fn drip(peer: &mut Peer) -> Life {
    let mut stream = peer.connect_from_anywhere()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    let begun = Instant::now();
    for byte in beginning(peer.service).iter().cycle() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        if !peer.field.pause(Duration::from_secs(1)) {
            return Ok(());
        }
        if begun.elapsed() > deadline(peer.service) + PATIENCE {
            return Err(format!("still heard {:.1?} after its first byte", begun.elapsed()));
        }
    }
    dropped(peer, begun)
}

/// Half a packet, and silence.
pub(super) fn half(peer: &mut Peer) -> Life {
    let mut stream = peer.connect_from_anywhere()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    if peer.service == Service::Chat {
        raw::upgrade(&stream)?;
    }
    let begun = Instant::now();
    if peer.service == Service::Chat {
        // Its header promises a hundred bytes.
        stream.write_all(b"\x81\xe4\x01\x02\x03\x04 far fewer").map_err(said)?;
    } else {
        stream.write_all(beginning(peer.service)).map_err(said)?;
    }
    if !peer.wait_for_the_end(&stream)? {
        return Ok(());
    }
    dropped(peer, begun)
}

fn dropped(peer: &Peer, begun: Instant) -> Life {
    let (took, deadline) = (begun.elapsed(), deadline(peer.service));
    if took + ROUNDING < deadline {
        return Err(format!("dropped after {took:.1?}, before its deadline of {deadline:.1?}"));
    }
    peer.field.count(Count::Slow, 1);
    Ok(())
}
