//! The loop's own read memory, shared by all connections.
//!
//! A read goes into one block that stays initialised. What came is then handed to the decoder in one of three places, by
//! what is cheapest to keep:
//!
//! - A few bytes are copied to a second, small block, behind those of earlier reads. The first block is untouched and
//!   stays in the cache, and a packet that is kept holds on to little.
//! - Many bytes are split off the block itself, which goes on behind them. When little of it is left, it takes its whole
//!   length back if all packets cut from it are gone, or a fresh zeroed one if some are held.
//! - What belongs to a long unfinished packet is appended to it, in memory of the connection's own.
//!
//! So no read is zero-filled, no byte is moved more than a constant number of times however the peer slices its stream,
//! and 64 KiB of input cost one allocation at most.

use std::io;

use bytes::BytesMut;

/// The block that is read into. A read is never given more than is left of it.
const BLOCK: usize = 64 * 1024;

/// With less than this left, the block begins anew.
const LOW: usize = 16 * 1024;

/// A read of at least so many bytes is split off rather than copied.
const MANY: usize = 4 * 1024;

/// The longest unfinished packet that is put in front of the bytes behind it; a longer one grows where it is.
const HEADROOM: usize = BLOCK / 4;

#[derive(Debug)]
pub(crate) struct ReadBuffer {
    /// Initialised and free: its *length* is what can be read into.
    block: BytesMut,
    /// Takes the copies. Empty, but for the time that a chunk lies here.
    small: BytesMut,
}

/// Bytes on their way to a decoder.
#[derive(Debug)]
pub(crate) struct Chunk {
    place: Place,
    /// How many bytes were ever put in; what is not there any more was consumed.
    fed: usize,
}

/// Where the bytes of a chunk are.
#[derive(Debug)]
enum Place {
    /// In the loop's small block.
    Small,
    /// Cut from the loop's large block, which they keep alive.
    Cut(BytesMut),
    /// In memory of the connection's own.
    Own(BytesMut),
}

/// What one read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filled {
    /// 0 is the end of the stream.
    pub(crate) got: usize,
    pub(crate) asked: usize,
}

impl Filled {
    /// The socket gave less than it was asked for: it is empty now.
    pub(crate) fn drained(self) -> bool {
        self.got < self.asked
    }
}

impl Chunk {
    /// What a connection held, on its way to the decoder again.
    #[inline]
    pub(crate) fn of(held: BytesMut) -> Self {
        let fed = held.len();
        Self { place: if fed == 0 { Place::Small } else { Place::Own(held) }, fed }
    }
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self { block: BytesMut::zeroed(BLOCK), small: BytesMut::with_capacity(BLOCK) }
    }

    /// The bytes themselves.
    #[inline]
    pub(crate) fn bytes<'a>(&'a mut self, chunk: &'a mut Chunk) -> &'a mut BytesMut {
        match &mut chunk.place {
            Place::Small => &mut self.small,
            Place::Cut(bytes) | Place::Own(bytes) => bytes,
        }
    }

    /// Reads once, at most `limit` bytes, and puts what came behind what is in `chunk`.
    ///
    /// # Errors
    ///
    /// Those of `read`; `chunk` is then as it was.
    #[inline]
    pub(crate) fn fill(
        &mut self,
        chunk: &mut Chunk,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if self.block.len() < LOW {
            self.renew_block();
        }
        let held = self.bytes(chunk).len();
        let headroom = if held <= HEADROOM.min(self.block.len() / 2) { held } else { 0 };
        let asked = limit.min(self.block.len() - headroom);
        let got = read(&mut self.block[headroom..headroom + asked])?;
        debug_assert!(got <= asked, "a stream said that it read more than it was asked for");
        chunk.fed += got;
        if got >= MANY && headroom == held {
            self.split_off(chunk, held, got);
        } else if got > 0 {
            if let Place::Small = chunk.place {
                self.small.extend_from_slice(&self.block[headroom..headroom + got]);
            } else {
                self.join(chunk, headroom, got);
            }
        }
        Ok(Filled { got, asked })
    }

    /// The bytes leave with the part of the block that they are in, those that were held in front.
    fn split_off(&mut self, chunk: &mut Chunk, held: usize, got: usize) {
        if held > 0 {
            let bytes = match &mut chunk.place {
                Place::Small => &mut self.small,
                Place::Cut(bytes) | Place::Own(bytes) => bytes,
            };
            self.block[..held].copy_from_slice(bytes);
            bytes.clear();
        }
        chunk.place = Place::Cut(self.block.split_to(held + got));
    }

    /// The shorter of what is held and what came moves to the other.
    fn join(&mut self, chunk: &mut Chunk, at: usize, got: usize) {
        let (Place::Cut(bytes) | Place::Own(bytes)) = &mut chunk.place else { return };
        let came = &self.block[at..at + got];
        if bytes.len() <= got {
            self.small.extend_from_slice(bytes);
            self.small.extend_from_slice(came);
            chunk.place = Place::Small;
        } else {
            // A slice of the large block has no room behind it: this moves it to memory of its own, which then grows by
            // doubling.
            bytes.extend_from_slice(came);
            chunk.place = Place::Own(std::mem::take(bytes));
        }
    }

    /// Takes a chunk back once decoding has stopped, and returns what of it the connection must hold.
    ///
    /// That moves to memory of its own where it would keep a larger piece alive: no more bytes than were consumed or read,
    /// so the cost stays linear.
    #[inline]
    pub(crate) fn put_back(&mut self, chunk: Chunk) -> BytesMut {
        let Chunk { place, fed } = chunk;
        match place {
            Place::Small if self.small.is_empty() => BytesMut::new(),
            Place::Small => {
                let held = BytesMut::from(&self.small[..]);
                self.small.clear();
                held
            }
            Place::Cut(bytes) => BytesMut::from(&bytes[..]),
            Place::Own(bytes) => {
                let consumed = fed - bytes.len();
                if consumed > 0 && consumed >= bytes.len() {
                    BytesMut::from(&bytes[..])
                } else {
                    bytes
                }
            }
        }
    }

    /// Forgets what lies here of a chunk whose connection decodes no more.
    pub(crate) fn reset(&mut self) {
        self.small.clear();
    }

    /// Drops the chunk that a panic took with it: its bytes must not meet the next connection's.
    pub(crate) fn drop_lost_chunk(&mut self) {
        self.small.clear();
    }

    /// Reads once and forgets what came: for a peer whose input no longer matters.
    pub(crate) fn discard(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if self.block.len() < LOW {
            self.renew_block();
        }
        let asked = self.block.len();
        Ok(Filled { got: read(&mut self.block)?, asked })
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
