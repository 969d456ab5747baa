//! The loop's own read memory, shared by all connections.
//!
//! A read goes into a block that stays initialised. What came is then handed to the decoder in one of three places, by what
//! is cheapest to keep:
//!
//! - A few bytes for a connection that holds none are copied behind the few bytes of the read before, where packets are
//!   split off them. That memory need not be initialised, and the block is as good as new for the next read.
//! - Many are cut off the block, which goes on behind them: nothing is copied. Where an unfinished packet waits for them,
//!   the read leaves room in front, and the shorter piece moves there.
//! - A few bytes of a long unfinished packet are appended to it, in memory of the connection's own.
//!
//! When little of the block is left, it takes its whole length back if all packets cut from it are gone, or a fresh zeroed
//! one if some are held; the memory of few bytes does the same, without the zeros. So no read is zero-filled, no byte is
//! moved more than a constant number of times however the peer slices its stream, and 64 KiB of input whose packets have
//! gone cost no allocation.

use std::io;

use bytes::BytesMut;

/// The block that is read into. A read is never given more than is left of it.
const BLOCK: usize = 64 * 1024;

/// With less than this left, the block begins anew.
const LOW: usize = 16 * 1024;

/// The longest unfinished packet that is put in front of the bytes behind it; a longer one grows where it is.
const HEADROOM: usize = BLOCK / 4;

/// Up to here a copy is cheaper than a share of the block and the zeros that renew it.
const FEW: usize = 4 * 1024;

#[derive(Debug)]
pub(crate) struct ReadBuffer {
    /// Initialised and free: its *length* is what can be read into.
    block: BytesMut,
    /// The few bytes that are being decoded, with free memory behind them; empty between two connections.
    few: BytesMut,
}

/// What one read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filled {
    /// 0 is the end of the stream.
    pub(crate) got: usize,
    pub(crate) asked: usize,
    /// What is held now is cut from the block, which it keeps alive; otherwise it is in memory of the connection's own.
    pub(crate) is_cut: bool,
}

impl Filled {
    /// The socket gave less than it was asked for: it is empty now.
    #[inline]
    pub(crate) fn drained(self) -> bool {
        self.got < self.asked
    }

    /// Few bytes, and all that there were.
    #[inline]
    pub(crate) fn is_few(self) -> bool {
        self.drained() && (1..=FEW).contains(&self.got)
    }
}

/// Makes a connection own what its decoder has left, out of `fed` bytes that it was given.
///
/// That moves to memory of its own where it would keep a larger piece alive: no more bytes than were consumed or read, so
/// the cost stays linear.
#[inline]
pub(crate) fn own_rest(held: &mut BytesMut, is_cut: bool, fed: usize) {
    if held.is_empty() {
        *held = BytesMut::new();
    } else if is_cut || fed - held.len() >= held.len() {
        *held = BytesMut::from(&held[..]);
    }
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self { block: BytesMut::zeroed(BLOCK), few: BytesMut::with_capacity(BLOCK) }
    }

    /// Reads once, at most `limit` bytes, for a connection that holds none. What came is to be taken by
    /// [`take_few`](Self::take_few) or by [`cut`](Self::cut) before the next read.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if self.block.len() < LOW {
            self.renew_block();
        }
        let asked = limit.min(self.block.len());
        let got = read(&mut self.block[..asked])?;
        Ok(Filled { got, asked, is_cut: true })
    }

    /// The first bytes that the last read brought, cut off the block.
    pub(crate) fn cut(&mut self, got: usize) -> BytesMut {
        if got == 0 {
            return BytesMut::new(); // a share of nothing would keep the block from being renewed
        }
        self.block.split_to(got)
    }

    /// Makes the `got` bytes that the last read brought [`few`](Self::few), in the place of any that a panic left there.
    #[inline(always)]
    pub(crate) fn take_few(&mut self, got: usize) {
        self.few.clear();
        self.few.extend_from_slice(&self.block[..got]);
    }

    /// The few bytes that are being decoded.
    #[inline(always)]
    pub(crate) fn few(&mut self) -> &mut BytesMut {
        &mut self.few
    }

    /// What the decoder has left of the few bytes, in memory of its own.
    #[cold]
    pub(crate) fn keep_few(&mut self) -> BytesMut {
        let kept = BytesMut::from(&self.few[..]);
        if self.few.capacity() > BLOCK {
            self.few = BytesMut::with_capacity(BLOCK); // the decoder has reserved for a whole packet
        } else {
            self.few.clear();
        }
        kept
    }

    /// Reads once, at most `limit` bytes, and puts what came behind what is in `held`.
    ///
    /// # Errors
    ///
    /// Those of `read`; `held` is then as it was.
    #[inline]
    pub(crate) fn fill(
        &mut self,
        held: &mut BytesMut,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if !held.is_empty() {
            return self.fill_behind(held, limit, read);
        }
        let filled = self.read(limit, read)?;
        *held = self.cut(filled.got);
        Ok(filled)
    }

    /// The shorter of what is held and what comes moves to the other.
    #[inline(never)]
    fn fill_behind(
        &mut self,
        held: &mut BytesMut,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if self.block.len() < LOW {
            self.renew_block();
        }
        let fits_in_front = held.len() <= HEADROOM.min(self.block.len() / 2);
        let headroom = if fits_in_front { held.len() } else { 0 };
        let asked = limit.min(self.block.len() - headroom);
        let got = read(&mut self.block[headroom..headroom + asked])?;
        let is_cut = fits_in_front && held.len() <= got;
        if is_cut {
            self.block[..headroom].copy_from_slice(held);
            *held = self.block.split_to(headroom + got);
        } else {
            // A slice of the block has no room behind it: this moves it to memory of its own, which then grows by doubling.
            held.extend_from_slice(&self.block[headroom..headroom + got]);
        }
        Ok(Filled { got, asked, is_cut })
    }

    /// Reads once, at most `limit` bytes, and forgets what came: for a peer whose input no longer matters.
    pub(crate) fn discard(
        &mut self,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if self.block.len() < LOW {
            self.renew_block();
        }
        let asked = self.block.len().min(limit);
        Ok(Filled { got: read(&mut self.block[..asked])?, asked, is_cut: false })
    }

    #[cold]
    fn renew_block(&mut self) {
        self.block.clear();
        if self.block.try_reclaim(BLOCK) {
            self.block.resize(BLOCK, 0);
        } else {
            self.block = BytesMut::zeroed(BLOCK);
        }
    }
}

#[cfg(test)]
mod tests;
