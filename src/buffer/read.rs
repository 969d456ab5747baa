//! The loop's one read buffer: always initialised, handed out in slices, topped up when little is left.
//!
//! Each read goes into the free part; what it filled is split off and becomes the decoder's, and the next read goes on
//! behind it. When little is left, the buffer takes its whole block back if all packets cut from it are gone, or a fresh
//! zeroed one if some are still held: one allocation at most for each block of input, and no zero-fill for each read.

use std::io;

use bytes::BytesMut;

/// One block. A read is never given more than is left of it.
pub(crate) const BLOCK: usize = 64 * 1024;

/// With less than this left, the next block begins.
const LOW: usize = 4 * 1024;

/// The longest unfinished packet that is moved in front of the bytes behind it; a longer one grows where it is.
const HEADROOM: usize = BLOCK / 4;

#[derive(Debug)]
pub(crate) struct ReadBuffer {
    /// Initialised and free: its *length* is what can be read into.
    free: BytesMut,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self { free: BytesMut::zeroed(BLOCK) }
    }

    /// Reads once, at most `limit` bytes, and returns how many came and how many were asked for.
    ///
    /// The bytes, with those of `partial` before them, are in `partial` afterwards: by moving the shorter of the two, so
    /// that a packet that comes in any number of pieces is copied a constant number of times in all.
    ///
    /// # Errors
    ///
    /// Those of `read`; `partial` is then as it was.
    pub(crate) fn fill(
        &mut self,
        partial: &mut BytesMut,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        self.make_room();
        let held = partial.len();
        let headroom = if held <= HEADROOM.min(self.free.len() / 2) { held } else { 0 };
        let asked = limit.min(self.free.len() - headroom);
        let got = read(&mut self.free[headroom..headroom + asked])?;
        debug_assert!(got <= asked, "a stream said that it read more than it was asked for");
        let placed = if got == 0 {
            Placed::Nowhere
        } else if held == 0 {
            *partial = self.free.split_to(got);
            Placed::InBlock
        } else if headroom == held && got >= held {
            self.free[..held].copy_from_slice(partial);
            *partial = self.free.split_to(held + got);
            Placed::InBlock
        } else {
            partial.extend_from_slice(&self.free[headroom..headroom + got]);
            Placed::Appended
        };
        Ok(Filled { got, asked, placed })
    }

    /// Reads once into the free part and forgets what came: for a peer whose input no longer matters.
    pub(crate) fn discard(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        self.make_room();
        let asked = self.free.len();
        Ok(Filled { got: read(&mut self.free)?, asked, placed: Placed::Nowhere })
    }

    fn make_room(&mut self) {
        if self.free.len() >= LOW {
            return;
        }
        self.free.clear();
        if self.free.try_reclaim(BLOCK) {
            self.free.resize(BLOCK, 0);
        } else {
            self.free = BytesMut::zeroed(BLOCK);
        }
    }
}

/// What one read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filled {
    /// 0 is the end of the stream.
    pub(crate) got: usize,
    pub(crate) asked: usize,
    pub(crate) placed: Placed,
}

/// Where the bytes are now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    /// Cut from the loop's block, which they keep alive.
    InBlock,
    /// Behind the unfinished packet, in its own memory.
    Appended,
    Nowhere,
}

impl Filled {
    /// The socket gave less than it was asked for: it is empty now.
    pub(crate) fn drained(self) -> bool {
        self.got < self.asked
    }
}
