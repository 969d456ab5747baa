//! What waits to be written to one peer, in order: small packets copied together, large ones by reference.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::{Deref, DerefMut};

use bytes::{Buf, Bytes, BytesMut};

use super::seams::Seams;

/// A `Bytes` of at least this length is queued by reference; a shorter one is cheaper to copy than to track, and a slice
/// of the read buffer that waits here then keeps at most four times its length alive.
const SHARE_FROM: usize = 16 * 1024;

/// Bytes that many connections share are copied up to here: a slice takes a count of its own, a place in the list of slices,
/// and a write that gathers.
const COPY_UP_TO: usize = 256;

/// What a queued slice costs beside its bytes, for the accounting of limits.
const SEGMENT_OVERHEAD: usize = size_of::<Bytes>();

/// The most slices that one vectored write is given.
pub(crate) const MAX_SLICES: usize = 64;

/// A capacity that is kept when the buffer is emptied; what grew beyond goes back to the allocator.
const KEEP_CAPACITY: usize = 16 * 1024;

/// A capacity that is small.
const SMALL_CAPACITY: usize = 1_024;

/// An append-only queue of bytes that an [`Encoder`](crate::codec::Encoder) writes into and the loop takes from.
///
/// It dereferences to the `BytesMut` at its end, so that `put_u32`, `put_slice`, `extend_from_slice`, `reserve` and
/// everything else of `bytes::BufMut` work on it, and `&mut **dst` serves where a generic function wants a `BufMut`.
/// Only ever append: what stands there already belongs to earlier packets.
///
/// ```
/// use bytes::{BufMut, Bytes};
/// use wheelhouse::codec::WriteBuffer;
///
/// let mut dst = WriteBuffer::new();
/// dst.put_u32(100_000);
/// dst.put_shared(Bytes::from(vec![7; 100_000])); // large: queued as it is, not copied
/// assert_eq!(dst.queued(), 100_004);
/// ```
#[derive(Default)]
pub struct WriteBuffer {
    /// Slices that come before `tail`, oldest first. None is empty.
    segments: VecDeque<Bytes>,
    /// Bytes in `segments`.
    segment_bytes: usize,
    /// Copied bytes, still growing.
    tail: BytesMut,
    /// Where packets begin; kept for protocols that have a word to put in between.
    seams: Seams,
}

/// Where a buffer ended, so that a half-encoded packet can be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    segments: usize,
    tail: usize,
}

impl WriteBuffer {
    /// An empty buffer, which owns no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that wait to be written.
    #[must_use]
    #[inline]
    pub fn queued(&self) -> usize {
        self.segment_bytes + self.tail.len()
    }

    /// Bytes that wait, and what it costs to keep track of them: what limits count.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.queued() + self.segments.len() * SEGMENT_OVERHEAD + self.seams.cost()
    }

    /// Whether nothing waits.
    #[must_use]
    #[inline]
    pub fn is_drained(&self) -> bool {
        self.segments.is_empty() && self.tail.is_empty()
    }

    /// Appends bytes: without a copy where they are many (16 KiB and more), copied where they are few.
    #[inline]
    pub fn put_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_FROM {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.push_segment(bytes);
        }
    }

    /// Appends bytes that many connections share: by reference, but for so few that keeping track of them costs more than
    /// they do.
    #[inline]
    pub(crate) fn put_common(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPY_UP_TO {
            self.tail.extend_from_slice(bytes);
        } else {
            self.push_segment(bytes.clone());
        }
    }

    fn push_segment(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.seal_tail();
        self.segment_bytes += bytes.len();
        self.segments.push_back(bytes);
    }

    /// Takes everything that was put in, as one `Bytes` to be shared.
    pub(crate) fn take_shared(&mut self) -> Bytes {
        if self.segments.is_empty() {
            return self.tail.split().freeze();
        }
        self.seal_tail();
        let mut whole = BytesMut::with_capacity(self.segment_bytes);
        for segment in self.segments.drain(..) {
            whole.extend_from_slice(&segment);
        }
        self.segment_bytes = 0;
        whole.freeze()
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.segment_bytes += self.tail.len();
            self.segments.push_back(self.tail.split().freeze());
        }
    }

    // Between packets.

    /// A packet was put behind the first `queued` bytes.
    #[inline]
    pub(crate) fn note_seam(&mut self, queued: usize) {
        if queued > 0 {
            self.seams.note(queued);
        }
    }

    /// Puts bytes ahead of every packet of which nothing has been sent.
    #[cold]
    pub(crate) fn interject(&mut self, bytes: Bytes) {
        let at = self.seams.first(self.queued());
        self.seams.interject(at, bytes.len(), self.queued());
        let index = self.cut_at(at);
        self.segment_bytes += bytes.len();
        self.segments.insert(index, bytes);
    }

    /// Nothing is to be put ahead of what waits now, nor is it to be dropped for something else.
    pub(crate) fn pin(&mut self) {
        self.seams.pin(self.queued());
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.seams.is_pinned()
    }

    /// Whether what was put in between still waits, or would have to.
    #[inline]
    pub(crate) fn has_interjection(&self) -> bool {
        self.seams.has_interjection()
    }

    /// Drops every packet of which nothing has been sent. The rest of one that has been begun stays: without it, whatever
    /// came next would be taken for its end.
    #[cold]
    pub(crate) fn shed_unbegun(&mut self) {
        let at = self.seams.first(self.queued());
        let index = self.cut_at(at);
        self.segments.truncate(index);
        self.segment_bytes = at;
        self.seams.truncate(at);
    }

    /// Makes a segment begin at `at`, and returns its index.
    fn cut_at(&mut self, at: usize) -> usize {
        self.seal_tail();
        let mut left = at;
        for index in 0..self.segments.len() {
            let segment = &mut self.segments[index];
            if left == 0 {
                return index;
            }
            if left < segment.len() {
                let behind = segment.split_off(left);
                self.segments.insert(index + 1, behind);
                return index + 1;
            }
            left -= segment.len();
        }
        self.segments.len()
    }

    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        Mark { segments: self.segments.len(), tail: self.tail.len() }
    }

    /// Takes back all that was appended since `mark`; nothing may have been consumed in between.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        if self.segments.len() == mark.segments {
            self.tail.truncate(mark.tail);
            return;
        }
        // The tail of then was sealed into the first of the segments that came since. It becomes the tail again: so the
        // buffer costs what it did, whether or not anybody asks for that anew.
        self.segments.truncate(mark.segments + 1);
        self.tail.clear();
        if let Some(sealed) = self.segments.pop_back() {
            self.tail.extend_from_slice(&sealed[..mark.tail]);
        }
        self.segment_bytes = self.segments.iter().map(Bytes::len).sum();
    }

    /// The bytes to write next, where they are all in one place.
    #[inline(always)]
    pub(crate) fn contiguous(&self) -> Option<&[u8]> {
        if self.segments.is_empty() { Some(&self.tail) } else { self.only_segment() }
    }

    #[inline(never)]
    fn only_segment(&self) -> Option<&[u8]> {
        let is_alone = self.segments.len() == 1 && self.tail.is_empty();
        self.segments.front().filter(|_| is_alone).map(|bytes| &bytes[..])
    }

    /// Fills `slices` with what to write next and returns how many it filled.
    pub(crate) fn fill_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let waiting = self.segments.iter().map(|bytes| &bytes[..]).chain(tail);
        slices.iter_mut().zip(waiting).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count()
    }

    /// Drops the first `written` bytes.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[inline]
    pub(crate) fn consume(&mut self, mut written: usize) {
        self.seams.consume(written);
        if self.segment_bytes == 0 && written == self.tail.len() {
            self.tail.clear();
            return;
        }
        while let Some(front) = self.segments.front_mut() {
            if written < front.len() {
                front.advance(written);
                self.segment_bytes -= written;
                return;
            }
            written -= front.len();
            self.segment_bytes -= front.len();
            self.segments.pop_front();
        }
        if written == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(written);
        }
    }

    /// Whether it is worth keeping among many.
    fn is_small(&self) -> bool {
        self.segments.capacity() == 0 && self.tail.capacity() <= SMALL_CAPACITY
    }

    /// Empties the buffer for its next user; an unusually large one gives its memory back.
    #[inline(always)]
    pub(crate) fn recycle(&mut self) {
        self.tail.clear();
        self.seams.clear();
        if self.segments.capacity() > 0 || self.tail.capacity() > KEEP_CAPACITY {
            self.shed_memory();
        }
    }

    #[cold]
    #[inline(never)]
    fn shed_memory(&mut self) {
        self.segments.clear();
        self.segment_bytes = 0;
        if self.segments.capacity() > MAX_SLICES {
            self.segments = VecDeque::new();
        }
        if self.tail.capacity() > KEEP_CAPACITY {
            self.tail = BytesMut::new();
        }
    }
}

/// Write buffers that nobody needs at the moment, so that a connection with something to say need not allocate one.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    /// The one that goes from hand to hand where each connection answers in its turn.
    at_hand: Option<Box<WriteBuffer>>,
    #[expect(
        clippy::vec_box,
        reason = "a connection takes the box as it is: 8 bytes of it while it is idle"
    )]
    others: Vec<Box<WriteBuffer>>,
}

impl BufferPool {
    /// More than one at a time is in use only while a broadcast is under way, or peers lag.
    const OTHERS: usize = 64;

    /// So many are kept where they are small, as those of a broadcast of small packets are.
    const SMALL_OTHERS: usize = 1_024;

    #[inline(always)]
    pub(crate) fn lend(&mut self) -> Box<WriteBuffer> {
        match self.at_hand.take() {
            Some(buffer) => buffer,
            None => self.lend_other(),
        }
    }

    #[cold]
    fn lend_other(&mut self) -> Box<WriteBuffer> {
        self.others.pop().unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn give_back(&mut self, mut buffer: Box<WriteBuffer>) {
        buffer.recycle();
        if self.at_hand.is_none() {
            self.at_hand = Some(buffer);
        } else {
            self.keep_other(buffer);
        }
    }

    #[cold]
    fn keep_other(&mut self, buffer: Box<WriteBuffer>) {
        let limit = if buffer.is_small() { Self::SMALL_OTHERS } else { Self::OTHERS };
        if self.others.len() < limit {
            self.others.push(buffer);
        }
    }
}

impl Deref for WriteBuffer {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.tail
    }
}

impl DerefMut for WriteBuffer {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.tail
    }
}

impl fmt::Debug for WriteBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBuffer")
            .field("queued", &self.queued())
            .field("segments", &self.segments.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
