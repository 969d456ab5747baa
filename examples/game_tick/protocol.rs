//! What goes over the wire, from either side.
//!
//! A move is two signed bytes, dx and dy. A snapshot is, big-endian, the length of what follows (u32), the tick (u32), and
//! for each player its number (u32), x and y (i16 each).

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use wheelhouse::codec::{Decoder, Encoder, Protocol, WriteBuffer};

// The world's side.

pub(crate) struct Game;

#[derive(Clone, Copy)]
pub(crate) struct GameCodec;

#[derive(Clone, Copy)]
pub(crate) struct Move {
    pub(crate) dx: i8,
    pub(crate) dy: i8,
}

/// The tick and the players, without the length in front.
#[derive(Clone)]
pub(crate) struct Snapshot(pub(crate) Bytes);

impl Protocol for Game {
    type In = Move;
    type Out = Snapshot;
    type Codec = GameCodec;

    fn codec(&mut self) -> GameCodec {
        GameCodec
    }
}

impl Decoder for GameCodec {
    type Packet = Move;
    type Error = std::convert::Infallible;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Move>, Self::Error> {
        if src.len() < 2 {
            return Ok(None);
        }
        Ok(Some(Move { dx: src.get_i8(), dy: src.get_i8() }))
    }
}

impl Encoder<Snapshot> for GameCodec {
    type Error = io::Error;

    fn encode(&mut self, Snapshot(seen): Snapshot, dst: &mut WriteBuffer) -> io::Result<()> {
        let length = u32::try_from(seen.len()).map_err(io::Error::other)?;
        dst.put_u32(length);
        dst.put_shared(seen);
        Ok(())
    }

    fn frame_len(&self, Snapshot(seen): &Snapshot) -> usize {
        4 + seen.len()
    }

    fn is_stateless(&self, _packet: &Snapshot) -> bool {
        true // one encoding serves all players
    }
}

// A player's side.

pub(crate) struct Play;

/// Looks at a snapshot's length and tick, and skips the rest.
#[derive(Default)]
pub(crate) struct PlayCodec {
    to_skip: usize,
}

/// No world has so many players.
const LONGEST_SNAPSHOT: u32 = 1 << 20;

impl Protocol for Play {
    type In = u32;
    type Out = Move;
    type Codec = PlayCodec;

    fn codec(&mut self) -> PlayCodec {
        PlayCodec::default()
    }
}

impl Decoder for PlayCodec {
    type Packet = u32;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<u32>> {
        let skipped = self.to_skip.min(src.len());
        src.advance(skipped);
        self.to_skip -= skipped;
        if src.len() < 8 {
            return Ok(None);
        }
        let length = src.get_u32();
        if !(4..=LONGEST_SNAPSHOT).contains(&length) {
            return Err(io::Error::other(format!("a snapshot of {length} bytes")));
        }
        self.to_skip = length as usize - 4;
        Ok(Some(src.get_u32()))
    }
}

impl Encoder<Move> for PlayCodec {
    type Error = std::convert::Infallible;

    fn encode(&mut self, Move { dx, dy }: Move, dst: &mut WriteBuffer) -> Result<(), Self::Error> {
        dst.put_i8(dx);
        dst.put_i8(dy);
        Ok(())
    }
}
