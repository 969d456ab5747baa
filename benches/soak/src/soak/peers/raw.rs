//! WebSocket by hand, for peers that a proper client would not let do what they do.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Life, said};

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An answer that is longer is none.
const LONGEST_ANSWER: usize = 4 * 1024;

/// The handshake.
pub(super) fn upgrade(mut stream: &TcpStream) -> Life {
    stream.write_all(UPGRADE).map_err(said)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).map_err(said)? == 0 || answer.len() > LONGEST_ANSWER {
            break;
        }
        answer.extend(byte);
    }
    if answer.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    Err(format!("no WebSocket but {:?}", String::from_utf8_lossy(&answer)))
}

/// A proper text frame, masked, of at most 64 KiB.
pub(super) fn text(payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(len @ ..126) => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
