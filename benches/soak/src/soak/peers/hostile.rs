//! Bytes that are no protocol: wrong lengths, HTTP where none is spoken, text that is none, frames that may not be. Whoever
//! sends them has to be got rid of.

use std::io::Write;
use std::net::TcpStream;

use super::{Life, Peer, echo as good, raw, said};
use crate::serve::{LONGEST, Service};
use crate::soak::field::Count;

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// To the echo servers.
pub(super) fn echo(peer: &mut Peer) -> Life {
    let stream = peer.connect_from_anywhere()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    let kind = peer.random.u8(..4);
    let attack = match (peer.service, kind) {
        // `GET ` is a length of over a thousand million.
        (Service::Length, 0) => HTTP.to_vec(),
        (Service::Length, 1) => (LONGEST as u32 + 1).to_be_bytes().to_vec(),
        (Service::Length, 2) => u32::MAX.to_be_bytes().to_vec(),
        (Service::Length, _) => [b"\x00\x00\x00\x02ok".as_slice(), &[0xff; 64]].concat(),
        // These are two lines and an empty one, so they come back: a good peer, after all.
        (_, 0) => {
            (&stream).write_all(HTTP).map_err(said)?;
            good::hear(&stream, &HTTP.iter().copied().filter(|b| *b != b'\r').collect::<Vec<_>>())?;
            good::part(&stream)?;
            b"".to_vec()
        }
        (_, 1) => b"caf\xe9\n".to_vec(),
        (_, 2) => vec![b'x'; LONGEST + 2],
        _ => b"\xff\xfe\xf0\x28\x8c\x28\n".to_vec(),
    };
    attack_with(peer, &stream, &attack)
}

/// To the chat, before and after the handshake.
pub(super) fn chat(peer: &mut Peer) -> Life {
    let stream = peer.connect_from_anywhere()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    let kind = peer.random.u8(..10);
    if kind >= 3 {
        raw::upgrade(&stream)?;
    }
    let attack = match kind {
        0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what TLS begins with\r\n\r\n".to_vec(),
        1 => b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
            .to_vec(),
        2 => [b"GET /".as_slice(), &vec![b'a'; 64 * 1024]].concat(),
        3 => b"\x81\x02hi".to_vec(),                       // not masked
        4 => b"\x83\x80\x00\x00\x00\x00".to_vec(),         // no such opcode
        5 => b"\xc1\x80\x00\x00\x00\x00".to_vec(),         // a bit that was not agreed on
        6 => raw::text(b"\xff\xff\xff"),                   // no text
        7 => b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00".to_vec(), // exabytes
        8 => b"\x09\x80\x00\x00\x00\x00".to_vec(),         // half a ping
        _ => b"\x80\x80\x00\x00\x00\x00".to_vec(),         // the rest of nothing
    };
    attack_with(peer, &stream, &attack)
}

fn attack_with(peer: &mut Peer, mut stream: &TcpStream, attack: &[u8]) -> Life {
    if !attack.is_empty() {
        drop(stream.write_all(attack)); // or it was dropped in the middle
        if !peer.wait_for_the_end(stream)? {
            return Ok(());
        }
        peer.field.count(Count::Hostile, 1);
    }
    peer.pause_between(50, 250);
    Ok(())
}
