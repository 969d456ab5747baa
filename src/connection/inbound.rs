//! From bytes to packets, one step at a time: what one connection holds of its input.
//!
//! An idle connection holds nothing here. While its input is decoded, a connection holds what came; what the decoder then
//! leaves unconsumed is owned by the connection, never a slice of the loop's read buffer, so that half a packet of ten bytes
//! does not keep 64 KiB alive.

use std::io;

use bytes::BytesMut;

use crate::buffer::{Filled, own_rest};
use crate::clock::Tick;
use crate::codec::Decoder;
use crate::error::Error;

/// Packets that a decoder may yield in a row without consuming a byte. More than any batch that a codec could have set
/// aside from bytes consumed before, and far less than for ever.
const BARREN_LIMIT: u32 = 1_000;

/// What is known of the socket's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// Empty, until an event says otherwise.
    Drained,
    /// There may be bytes.
    Ready,
    /// An event told the end, or an error: it is read until the end is really there.
    Ending,
    /// The end has been read. What is held is all there will ever be.
    Ended,
}

/// What the bytes that are held are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    /// The decoder has seen them and wants more.
    Unfinished,
    /// There may be whole packets among them: decoding was broken off.
    Undecoded,
}

/// Why nothing is decoded for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    None,
    /// `pause_read` was called.
    Paused,
    /// The outbox was over its high mark when the next packet was due, and has not been under its low mark since.
    Choked,
    PausedAndChoked,
}

#[derive(Debug)]
pub(crate) struct Inbound {
    held: BytesMut,
    /// What is held is a slice of the loop's read buffer: only for the time of its decoding.
    is_cut: bool,
    rest: Rest,
    source: Source,
    stop: Stop,
    barren: u32,
    /// When the first byte of the unfinished packet came.
    unfinished_since: Option<Tick>,
}

/// What one step of decoding found.
#[derive(Debug)]
pub(crate) enum Step<Packet> {
    Packet {
        packet: Packet,
        /// Bytes that it was made of.
        size: usize,
    },
    NeedsBytes,
    /// The stream has ended, and everything in it has been decoded.
    Finished,
    Failed(Error),
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            held: BytesMut::new(),
            is_cut: false,
            rest: Rest::Unfinished,
            source: Source::Drained,
            stop: Stop::None,
            barren: 0,
            unfinished_since: None,
        }
    }
}

impl Inbound {
    // What events and reads tell.

    #[inline]
    pub(crate) fn note_readable(&mut self) {
        if self.source == Source::Drained {
            self.source = Source::Ready;
        }
    }

    #[inline]
    pub(crate) fn note_ending(&mut self) {
        if self.source != Source::Ended {
            self.source = Source::Ending;
        }
    }

    /// What a failed read means for the decoding; `None`: it is to be tried again.
    #[cold]
    pub(crate) fn note_read_error<Packet>(&mut self, error: io::Error) -> Option<Step<Packet>> {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.note_would_block();
                Some(Step::NeedsBytes)
            }
            io::ErrorKind::Interrupted => None,
            _ => Some(Step::Failed(Error::Io { during: "read", source: error })),
        }
    }

    /// The socket has given all that it had.
    #[inline]
    pub(crate) fn note_drained(&mut self) {
        self.source = Source::Drained;
    }

    pub(crate) fn note_would_block(&mut self) {
        if self.source != Source::Ended {
            self.source = Source::Drained;
        }
    }

    /// A read that gave less than it was asked for has emptied the socket: the next bytes are a new event. Not so where
    /// the end has been told already, for it will not be told again.
    #[inline]
    pub(crate) fn note_filled(&mut self, filled: Filled) {
        self.is_cut = filled.is_cut;
        if filled.got == 0 && filled.asked > 0 {
            self.source = Source::Ended;
            return;
        }
        // Decoding may be broken off before it has begun.
        self.rest = Rest::Undecoded;
        if filled.drained() && self.source == Source::Ready {
            self.source = Source::Drained;
        }
    }

    #[inline]
    pub(crate) fn may_read(&self) -> bool {
        matches!(self.source, Source::Ready | Source::Ending)
    }

    /// Whether the end of the stream has been read.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.source == Source::Ended
    }

    /// Whether there is something to do here without another event.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.source != Source::Drained || self.rest == Rest::Undecoded
    }

    /// Whether it may be read, and nothing is held that would have to be decoded with what comes.
    #[inline(always)]
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.source, Source::Drained | Source::Ready)
            && self.rest == Rest::Unfinished
            && self.held.is_empty()
            && !self.is_stopped()
    }

    /// Whether the next thing to do is to decode what is held, rather than to read.
    #[inline]
    pub(crate) fn may_decode(&self) -> bool {
        self.rest == Rest::Undecoded || self.source == Source::Ended
    }

    // Pauses.

    // Nobody is late whose bytes this side does not read: the unfinished packet's time begins anew with the reading.

    pub(crate) fn pause(&mut self) {
        self.unfinished_since = None;
        self.stop = match self.stop {
            Stop::None | Stop::Paused => Stop::Paused,
            Stop::Choked | Stop::PausedAndChoked => Stop::PausedAndChoked,
        };
    }

    pub(crate) fn resume(&mut self) {
        self.stop = if self.is_choked() { Stop::Choked } else { Stop::None };
    }

    pub(crate) fn choke(&mut self) {
        self.unfinished_since = None;
        self.stop = if self.is_paused() { Stop::PausedAndChoked } else { Stop::Choked };
    }

    /// Says whether it was choked.
    pub(crate) fn unchoke(&mut self) -> bool {
        let was_choked = self.is_choked();
        self.stop = if self.is_paused() { Stop::Paused } else { Stop::None };
        was_choked
    }

    fn is_paused(&self) -> bool {
        matches!(self.stop, Stop::Paused | Stop::PausedAndChoked)
    }

    fn is_choked(&self) -> bool {
        matches!(self.stop, Stop::Choked | Stop::PausedAndChoked)
    }

    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop != Stop::None
    }

    // Decoding.

    /// What is held, to be read into.
    #[inline]
    pub(crate) fn held_mut(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// One step of the decoder over what is held.
    #[inline]
    pub(crate) fn step<D: Decoder>(&mut self, codec: &mut D) -> Step<D::Packet> {
        let src = &mut self.held;
        let before = src.len();
        let ended = self.source == Source::Ended;
        let decoded = if ended { codec.decode_eof(src) } else { codec.decode(src) };
        let size = before.saturating_sub(src.len());
        match decoded {
            Ok(Some(packet)) => {
                if let Err(error) = self.note_packet(size) {
                    return Step::Failed(error);
                }
                self.rest = Rest::Undecoded;
                Step::Packet { packet, size }
            }
            Ok(None) if !ended => {
                self.rest = Rest::Unfinished;
                Step::NeedsBytes
            }
            Ok(None) if src.is_empty() && !codec.holds_partial() => Step::Finished,
            Ok(None) => Step::Failed(Error::Truncated { bytes: src.len() }),
            Err(error) => Step::Failed(Error::Protocol(Box::new(error))),
        }
    }

    /// One step of the decoder over bytes that are held elsewhere, of a stream that has not ended.
    ///
    /// # Errors
    ///
    /// The decoder's, and its yielding packets from nothing.
    #[inline(always)]
    pub(crate) fn step_over<D: Decoder>(
        &mut self,
        src: &mut BytesMut,
        codec: &mut D,
    ) -> Result<Option<D::Packet>, Error> {
        let before = src.len();
        let packet = match codec.decode(src) {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(None),
            Err(error) => return Err(is_broken(error)),
        };
        self.note_packet(before.saturating_sub(src.len()))?;
        Ok(Some(packet))
    }

    /// Keeps account of a packet that was decoded from `size` bytes.
    ///
    /// # Errors
    ///
    /// When too many in a row came from nothing.
    #[inline(always)]
    pub(crate) fn note_packet(&mut self, size: usize) -> Result<(), Error> {
        self.unfinished_since = None;
        if size > 0 {
            self.barren = 0;
            return Ok(());
        }
        self.note_barren()
    }

    #[cold]
    fn note_barren(&mut self) -> Result<(), Error> {
        self.barren += 1;
        if self.barren < BARREN_LIMIT {
            return Ok(());
        }
        Err(Error::StalledDecoder { packets: self.barren })
    }

    /// Holds what was left over elsewhere, in memory of its own. It may be whole packets.
    pub(crate) fn hold(&mut self, rest: BytesMut) {
        self.held = rest;
        self.rest = Rest::Undecoded;
    }

    /// Holds what the decoder has seen and wants more of.
    pub(crate) fn hold_unfinished(&mut self, rest: BytesMut) {
        self.held = rest;
        self.rest = Rest::Unfinished;
    }

    /// Nothing is held, here or in the decoder.
    #[inline]
    pub(crate) fn owes_nothing(&mut self) {
        self.unfinished_since = None;
    }

    /// Takes what a read brought, where nothing was held.
    pub(crate) fn take_filled(&mut self, filled: Filled, came: BytesMut) {
        self.held = came;
        self.note_filled(filled);
    }

    /// Ends the decoding for this time: what is left of the `fed` bytes that were there is owned from here on.
    #[inline]
    pub(crate) fn own_rest(&mut self, fed: usize) {
        own_rest(&mut self.held, self.is_cut, fed);
        self.is_cut = false;
    }

    /// Drops everything that is held: the connection decodes no more.
    pub(crate) fn clear(&mut self) {
        self.held = BytesMut::new();
        self.rest = Rest::Unfinished;
        self.unfinished_since = None;
    }

    /// Keeps account of when the unfinished packet began; `now` is asked only where there is one. Says since when.
    #[inline]
    pub(crate) fn watch_unfinished(
        &mut self,
        holds_partial: bool,
        now: impl FnOnce() -> Tick,
    ) -> Option<Tick> {
        let owes_nothing = self.held.is_empty() && !holds_partial;
        if self.is_stopped() || self.rest == Rest::Undecoded || owes_nothing {
            self.unfinished_since = None;
        } else if self.unfinished_since.is_none() {
            self.unfinished_since = Some(now());
        }
        self.unfinished_since
    }

    #[inline]
    pub(crate) fn unfinished_since(&self) -> Option<Tick> {
        self.unfinished_since
    }

    /// Bytes held back undecoded.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}

/// What the decoder has to say against the bytes.
#[cold]
fn is_broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Protocol(Box::new(error))
}

#[cfg(test)]
mod tests;
