//! The floor for WebSocket: frames are unmasked while they are copied into one shared buffer, and go back from there.
//!
//! As much of the protocol as a load of whole binary messages needs: no fragments, no ping, no check of anything.

use std::net::TcpListener;

use rustix::io::Errno;

use super::floor::Sockets;
use super::upgrade;
use crate::Outcome;

const FIN_BINARY: u8 = 0x82;
const LENGTH_BITS: u8 = 0x7f;
const MASK_LEN: usize = 4;

/// What is kept for a connection.
#[derive(Default)]
struct Kept {
    is_upgraded: bool,
    /// The request, and later a frame's beginning.
    held: Vec<u8>,
}

pub(crate) fn serve(listener: &TcpListener) -> Outcome<()> {
    let mut out = Vec::new();
    Sockets::<Kept>::new(listener)?.run(listener, move |sockets, slot, bytes| {
        let Some(open) = sockets.get(slot) else { return Ok(()) };
        let kept = &mut open.kept;
        out.clear();
        if !kept.is_upgraded {
            kept.held.extend_from_slice(bytes);
            if let Some(answer) = upgrade::answer(&kept.held).map_err(|_| Errno::PROTO)? {
                out.extend_from_slice(answer.as_bytes());
                kept.held = Vec::new();
                kept.is_upgraded = true;
            }
        } else if kept.held.is_empty() {
            let done = echo(bytes, &mut out)?;
            kept.held.extend_from_slice(&bytes[done..]);
        } else {
            kept.held.extend_from_slice(bytes);
            let done = echo(&kept.held, &mut out)?;
            kept.held.drain(..done);
        }
        if out.is_empty() { Ok(()) } else { open.send(&out) }
    })
}

/// Appends the answers to all whole frames, and returns how many bytes those frames have.
fn echo(input: &[u8], out: &mut Vec<u8>) -> rustix::io::Result<usize> {
    let mut done = 0;
    while let Some((payload_at, len)) = head(&input[done..])? {
        let end = done + payload_at + len;
        if end > input.len() {
            break;
        }
        let (frame, payload) = input[done..end].split_at(payload_at);
        let (head, mask) = frame.split_at(payload_at - MASK_LEN);
        out.extend_from_slice(head);
        let answer = out.len();
        out[answer - head.len() + 1] &= LENGTH_BITS; // a server's frames are not masked
        out.extend_from_slice(payload);
        unmask(&mut out[answer..], [mask[0], mask[1], mask[2], mask[3]]);
        done = end;
    }
    Ok(done)
}

/// Where the payload begins and how long it is; `None` while the head is not whole.
fn head(input: &[u8]) -> rustix::io::Result<Option<(usize, usize)>> {
    let &[first, second, ..] = input else { return Ok(None) };
    if first != FIN_BINARY {
        return Err(Errno::PROTO);
    }
    let (length_len, len) = match second & LENGTH_BITS {
        126 => match input {
            &[_, _, a, b, ..] => (2, usize::from(u16::from_be_bytes([a, b]))),
            _ => return Ok(None),
        },
        127 => return Err(Errno::MSGSIZE),
        len => (0, usize::from(len)),
    };
    Ok(Some((2 + length_len + MASK_LEN, len)))
}

fn unmask(payload: &mut [u8], mask: [u8; MASK_LEN]) {
    let (words, rest) = payload.as_chunks_mut::<MASK_LEN>();
    let word_mask = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ word_mask).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_message_unmasked() {
        // "Hello", as the standard masks it; then half a frame.
        let hello = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let mut input = hello.to_vec();
        input.extend_from_slice(&hello[..9]);
        let mut out = Vec::new();
        assert_eq!(echo(&input, &mut out), Ok(11));
        assert_eq!(out, b"\x82\x05Hello");
    }
}
