//! The two buffers of the data path: what the loop reads into, and what waits to be written.
//!
//! Neither belongs to an idle connection. The read buffer is the loop's own, shared by all connections; a write buffer is
//! lent to a connection for as long as it has unsent bytes. No I/O happens here.

mod read;
mod seams;
mod write;

pub(crate) use self::read::{Filled, ReadBuffer, own_rest};
pub use self::write::WriteBuffer;
pub(crate) use self::write::{BufferPool, MAX_SLICES, Mark};
