//! Good peers of the echo servers: packets of all sizes, in batches and in pieces, and every byte that comes back compared.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use fastrand::Rng;

use super::{Life, Peer, said};
use crate::serve::{LONGEST, Service};
use crate::soak::field::{Count, Timed};

/// One packet with its frame, as it goes there and comes back.
pub(super) fn packet(random: &mut Rng, service: Service, out: &mut Vec<u8>) {
    // Mostly small, sometimes large.
    let most = if random.u8(..20) == 0 { LONGEST } else { 200 };
    let len = random.usize(1..=most);
    if service == Service::Length {
        out.extend((len as u32).to_be_bytes());
        out.extend((0..len).map(|_| random.u8(..)));
        return;
    }
    let end = out.len() + len;
    while out.len() < end {
        // No line ends, and letters of one and of two bytes.
        match random.u8(..) {
            letter @ b' '..=b'~' => out.push(letter),
            _ if end - out.len() >= 2 => out.extend("é".bytes()),
            _ => out.push(b'.'),
        }
    }
    out.push(b'\n');
}

/// Sends it, perhaps in pieces.
pub(super) fn send(random: &mut Rng, mut stream: &TcpStream, batch: &[u8]) -> Life {
    let cut = random.usize(..=batch.len());
    let (first, rest) = batch.split_at(cut);
    for piece in [first, rest].into_iter().filter(|piece| !piece.is_empty()) {
        stream.write_all(piece).map_err(|error| format!("a good peer cannot send: {error}"))?;
    }
    Ok(())
}

/// Reads as much as was sent, and compares.
pub(super) fn hear(mut stream: &TcpStream, sent: &[u8]) -> Life {
    let mut heard = vec![0; sent.len()];
    let mut have = 0;
    while have < heard.len() {
        match stream.read(&mut heard[have..]) {
            Ok(0) => return Err(format!("closed after {have} of {} bytes of an echo", sent.len())),
            Ok(count) => have += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(format!("{have} of {} bytes of an echo, then: {error}", sent.len()));
            }
        }
    }
    match heard.iter().zip(sent).position(|(heard, sent)| heard != sent) {
        None => Ok(()),
        Some(at) => Err(format!(
            "a wrong reply: byte {at} of {} is {:#04x}, not {:#04x}",
            sent.len(),
            heard[at],
            sent[at]
        )),
    }
}

/// Ends this side, and asserts that nothing comes but the server's end.
pub(super) fn part(mut stream: &TcpStream) -> Life {
    stream.shutdown(Shutdown::Write).map_err(said)?;
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(()),
        Ok(count) => Err(format!("{count} bytes that nobody asked for")),
        Err(error) => Err(format!("no proper end: {error}")),
    }
}

/// Some hundred batches, a few a second, on one connection.
pub(super) fn steady(peer: &mut Peer) -> Life {
    let stream = peer.connect()?;
    let field = std::sync::Arc::clone(&peer.field);
    let _open = field.opened(1);
    let mut batch = Vec::new();
    for _ in 0..peer.random.u32(100..1_000) {
        batch.clear();
        let packets = peer.random.u64(1..=6);
        (0..packets).for_each(|_| packet(&mut peer.random, peer.service, &mut batch));
        let asked = Instant::now();
        send(&mut peer.random, &stream, &batch)?;
        hear(&stream, &batch)?;
        field.time(Timed::Echo, asked.elapsed());
        field.count(Count::Echoes, packets);
        if !peer.pause_between(30, 220) {
            break;
        }
    }
    part(&stream)
}
