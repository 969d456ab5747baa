//! From packets to bytes: what waits for one peer, with its marks and its cap.
//!
//! A connection borrows a buffer from the loop's pool while it has unsent bytes, and owns none otherwise.

use std::io;

use bytes::Bytes;

use crate::buffer::{BufferPool, Mark, WriteBuffer};
use crate::clock::Tick;
use crate::codec::{Decoder, Encoder};
use crate::config::Marks;
use crate::error::WriteError;

#[derive(Debug)]
pub(crate) struct Outbound {
    buffer: Option<Box<WriteBuffer>>,
    /// What the buffer costs: its bytes, and the overhead of keeping track of them.
    queued: usize,
    level: Level,
    /// The socket has not refused bytes since it last said that it can take some.
    open: bool,
    /// Since when the peer has taken nothing of what waits.
    stuck_since: Option<Tick>,
}

/// Where the outbox stands between its marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    /// It has not been at the high mark since it was last at the low one.
    Normal,
    /// Nor has it here, but a packet was refused that had no room under the cap: `on_drain` is owed to its writer.
    Refused,
    /// It has; `on_drain` is owed for the fall.
    High,
}

/// What one flush did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flushed {
    pub(crate) written: usize,
    /// Nothing is left.
    pub(crate) drained: bool,
    /// It fell to the low mark from the high one, or from where it had no room for a packet: `on_drain` is due.
    pub(crate) fell: bool,
}

/// A packet that is being encoded: what stands of it is taken back unless it becomes whole, also when the codec panics, so
/// that what is queued is always what was accounted for.
struct Attempt<'a> {
    buffer: &'a mut WriteBuffer,
    mark: Mark,
    whole: bool,
}

impl Drop for Attempt<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.whole {
            self.buffer.roll_back(self.mark);
        }
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self { buffer: None, queued: 0, level: Level::Normal, open: true, stuck_since: None }
    }
}

impl Outbound {
    /// Bytes that wait, with their overhead.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether it has no buffer. One that was lent for a packet whose codec panicked stays until the next flush, with
    /// nothing in it.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_none()
    }

    #[inline]
    pub(crate) fn is_high(&self) -> bool {
        self.level == Level::High
    }

    #[inline]
    pub(crate) fn stuck_since(&self) -> Option<Tick> {
        self.stuck_since
    }

    /// The socket can take bytes again.
    #[inline]
    pub(crate) fn note_writable(&mut self) {
        self.open = true;
    }

    /// Whether the socket has not refused bytes since it last said that it can take some.
    pub(crate) fn is_writable(&self) -> bool {
        self.open
    }

    /// Whether `more` bytes fit under the cap. Anything fits into an empty outbox, or a packet larger than the cap could
    /// never go.
    #[inline]
    pub(crate) fn admits(&self, more: usize, marks: &Marks) -> bool {
        self.is_empty() || self.queued.saturating_add(more) <= marks.cap || self.queued == 0
    }

    /// Encodes a packet behind what waits.
    #[inline(always)]
    pub(crate) fn write<Packet, E: Decoder + Encoder<Packet>>(
        &mut self,
        packet: Packet,
        codec: &mut E,
        marks: &Marks,
        pool: &mut BufferPool,
    ) -> Result<(), WriteError<Packet>> {
        if !self.is_empty() && !self.admits(codec.frame_len(&packet), marks) {
            return self.refuse(packet);
        }
        let buffer = self.buffer.get_or_insert_with(|| pool.lend());
        let before = buffer.queued();
        let mut attempt = Attempt { mark: buffer.mark(), buffer, whole: false };
        if let Err(error) = codec.encode(packet, attempt.buffer) {
            drop(attempt);
            self.settle(marks, pool);
            return is_refused(error);
        }
        attempt.whole = true;
        if E::SPEAKS {
            attempt.buffer.note_seam(before);
        }
        self.queued = attempt.buffer.cost();
        drop(attempt);
        if self.queued >= marks.high || self.queued == 0 {
            self.settle(marks, pool);
        }
        Ok(())
    }

    /// Queues bytes that are shared with other connections, behind what waits. Says whether there was room.
    #[inline]
    pub(crate) fn write_shared<D: Decoder>(
        &mut self,
        bytes: &Bytes,
        marks: &Marks,
        pool: &mut BufferPool,
    ) -> bool {
        if !self.admits(bytes.len(), marks) {
            self.note_refused();
            return false;
        }
        let buffer = self.buffer.get_or_insert_with(|| pool.lend());
        if D::SPEAKS {
            buffer.note_seam(buffer.queued());
        }
        buffer.put_common(bytes);
        self.queued = buffer.cost();
        if self.queued == 0 || self.queued >= marks.high {
            self.settle(marks, pool);
        }
        true
    }

    /// The packet back, for want of room.
    #[cold]
    fn refuse<Packet>(&mut self, packet: Packet) -> Result<(), WriteError<Packet>> {
        self.note_refused();
        Err(WriteError::Full(packet))
    }

    /// Whoever was refused waits for `on_drain`, however little it was that left no room for so large a packet.
    #[cold]
    fn note_refused(&mut self) {
        if self.level == Level::Normal {
            self.level = Level::Refused;
        }
    }

    /// Queues the protocol's own bytes ahead of every packet that has not been begun, whatever the cap says.
    pub(crate) fn interject(&mut self, bytes: Bytes, marks: &Marks, pool: &mut BufferPool) {
        self.buffer.get_or_insert_with(|| pool.lend()).interject(bytes);
        self.settle(marks, pool);
    }

    /// Nothing is to go ahead of what waits now.
    #[cold]
    pub(crate) fn pin(&mut self) {
        if let Some(buffer) = self.buffer.as_mut() {
            buffer.pin();
        }
    }

    /// Whether something waits that nothing is to go ahead of.
    pub(crate) fn is_pinned(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.is_pinned())
    }

    /// Whether the last interjection still waits for the peer, or the next would have to.
    #[inline]
    pub(crate) fn has_interjection(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.has_interjection())
    }

    /// Queues the protocol's own bytes behind what waits, whatever the cap says.
    pub(crate) fn append(&mut self, bytes: Bytes, marks: &Marks, pool: &mut BufferPool) {
        let buffer = self.buffer.get_or_insert_with(|| pool.lend());
        buffer.note_seam(buffer.queued());
        buffer.put_shared(bytes);
        self.settle(marks, pool);
    }

    /// Drops what waits and has not been begun.
    pub(crate) fn shed_unbegun(&mut self, marks: &Marks, pool: &mut BufferPool) {
        if let Some(buffer) = self.buffer.as_mut() {
            buffer.shed_unbegun();
            self.settle(marks, pool);
        }
    }

    /// After something was queued, or was to be.
    #[cold]
    fn settle(&mut self, marks: &Marks, pool: &mut BufferPool) {
        let Some(buffer) = &self.buffer else { return };
        self.queued = buffer.cost();
        if self.queued == 0 {
            self.release(pool);
        } else if self.queued >= marks.high {
            self.level = Level::High;
        }
    }

    /// What to write, where there is something and the socket can take it.
    #[inline(always)]
    pub(crate) fn to_send(&self) -> Option<&WriteBuffer> {
        self.buffer.as_deref().filter(|_| self.open)
    }

    /// Notes that the socket took so many bytes, if that is all there was and no mark was passed. Says whether that is so.
    #[inline(always)]
    pub(crate) fn note_sent(&mut self, taken: usize, pool: &mut BufferPool) -> bool {
        match self.buffer.take() {
            Some(buffer) if buffer.queued() == taken && self.level == Level::Normal => {
                pool.give_back(buffer);
                self.note_empty();
                true
            }
            buffer => {
                self.buffer = buffer;
                false
            }
        }
    }

    /// Writes as much as the socket takes, of which `first` was the first time.
    ///
    /// # Errors
    ///
    /// Those of the socket, but for would-block and interruption.
    pub(crate) fn flush(
        &mut self,
        first: io::Result<usize>,
        marks: &Marks,
        pool: &mut BufferPool,
        mut write: impl FnMut(&WriteBuffer) -> io::Result<usize>,
    ) -> io::Result<Flushed> {
        let mut written = 0;
        let mut last = first;
        while let Some(buffer) = self.buffer.as_mut() {
            match last {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    written += taken;
                    if taken == buffer.queued() {
                        self.release(pool);
                        break;
                    }
                    buffer.consume(taken);
                    self.queued = buffer.cost();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.open = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            last = write(buffer);
        }
        if written > 0 {
            self.stuck_since = None;
        }
        let fell = self.level != Level::Normal && written > 0 && self.queued <= marks.low;
        if fell {
            self.level = Level::Normal;
        }
        Ok(Flushed { written, drained: self.queued == 0, fell })
    }

    /// Keeps account of since when the peer has taken nothing; `now` is asked only where something waits.
    pub(crate) fn watch_stuck(&mut self, now: impl FnOnce() -> Tick) -> Option<Tick> {
        if self.queued == 0 {
            self.stuck_since = None;
        } else if self.stuck_since.is_none() {
            self.stuck_since = Some(now());
        }
        self.stuck_since
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self, pool: &mut BufferPool) {
        self.release(pool);
    }

    #[inline(always)]
    fn release(&mut self, pool: &mut BufferPool) {
        if let Some(buffer) = self.buffer.take() {
            pool.give_back(buffer);
        }
        self.note_empty();
    }

    #[inline(always)]
    fn note_empty(&mut self) {
        self.queued = 0;
        self.stuck_since = None;
    }
}

/// The codec's refusal.
#[cold]
fn is_refused<Packet>(
    error: impl std::error::Error + Send + Sync + 'static,
) -> Result<(), WriteError<Packet>> {
    Err(WriteError::Encode(Box::new(error)))
}

#[cfg(test)]
mod tests;
