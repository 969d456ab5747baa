//! Peers that ask and never read. What waits for them is bounded, and after the write timeout they are dropped.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Life, Peer, is_timeout, raw, said};
use crate::serve::{CHAT_IDLE, Service};
use crate::soak::field::{Count, PATIENCE};

/// More than all buffers on the way hold.
const MOST: usize = 64 * 1024 * 1024;

/// Sends until nothing more is taken, then waits until it has been dropped.
pub(super) fn echo(peer: &mut Peer) -> Life {
    let stream = peer.connect_with_little_room()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    let packet = match peer.service {
        Service::Length => [&8_192_u32.to_be_bytes()[..], &[7; 8_192]].concat(),
        _ => [&[b'x'; 8_191][..], b"\n"].concat(),
    };
    fill(&stream, &packet)?;
    let begun = Instant::now();
    loop {
        // What a reset leaves behind, since reading would be what this peer does not do.
        if stream.take_error().map_err(said)?.is_some() {
            peer.field.count(Count::Unread, 1);
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("not dropped {:.1?} after its last word", begun.elapsed()));
        }
        if !peer.field.pause(Duration::from_millis(100)) {
            return Ok(());
        }
    }
    drop(stream);
    peer.pause_between(500, 2_000);
    Ok(())
}

fn fill(mut stream: &TcpStream, packet: &[u8]) -> Life {
    stream.set_write_timeout(Some(Duration::from_millis(500))).map_err(said)?;
    let mut sent = 0;
    while sent < MOST {
        match stream.write(&packet[sent % packet.len()..]) {
            Ok(count) => sent += count,
            Err(error) if is_timeout(&error) => return Ok(()),
            Err(_) => return Ok(()), // it has been dropped already
        }
    }
    Err(format!("{MOST} bytes were taken of a peer that reads none"))
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
