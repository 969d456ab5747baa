//! Peers that ask and never read. What waits for them is bounded, and after the write timeout they are dropped.
//!
//! They go on asking: with less than the buffers of both systems hold, nothing would ever wait in the server.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Life, Peer, is_timeout, raw, said};
use crate::serve::{CHAT_IDLE, Service};
use crate::soak::field::{Count, PATIENCE};

/// More than all buffers on the way hold.
const MOST: usize = 64 * 1024 * 1024;

/// Sends whenever something more is taken, reads nothing, and looks for the reset.
pub(super) fn echo(peer: &mut Peer) -> Life {
    let mut stream = peer.connect_with_little_room()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    stream.set_write_timeout(Some(Duration::from_millis(100))).map_err(said)?;
    let packet = match peer.service {
        Service::Length => [&8_192_u32.to_be_bytes()[..], &[7; 8_192]].concat(),
        _ => [&[b'x'; 8_191][..], b"\n"].concat(),
    };
    let mut sent = 0;
    let mut last = Instant::now();
    while !field.is_over() {
        match stream.write(&packet[sent % packet.len()..]) {
            Ok(count) => (sent, last) = (sent + count, Instant::now()),
            Err(error) if is_timeout(&error) => {}
            Err(_) => {
                field.count(Count::Unread, 1);
                drop(stream);
                peer.pause_between(500, 2_000);
                return Ok(());
            }
        }
        if sent > MOST {
            return Err(format!("{sent} bytes were taken of a peer that reads none"));
        }
        if last.elapsed() > PATIENCE {
            return Err(format!("not dropped {:.1?} after its last word", last.elapsed()));
        }
    }
    Ok(())
}

/// Enters a room and hears nothing of it: not even pings, so it is gone after the idle timeout.
pub(super) fn chat(peer: &mut Peer) -> Life {
    let stream = peer.connect_with_little_room()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    raw::upgrade(&stream)?;
    let name = format!("deaf{}", peer.number);
    let hello = format!(
        "{{\"type\":\"hello\",\"user\":\"{name}\",\"session\":\"session-of-{name}\",\"rooms\":{{\"room0\":0}}}}"
    );
    (&stream).write_all(&raw::text(hello.as_bytes())).map_err(said)?;
    if !peer.field.pause(CHAT_IDLE + Duration::from_secs(1)) {
        return Ok(());
    }
    if peer.wait_for_the_end(&stream)? {
        peer.field.count(Count::Unread, 1);
    }
    Ok(())
}
