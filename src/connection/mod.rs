//! One connection as pure state: its life, what has come in and what waits to go out. No socket, no clock, no handler.
//!
//! - [`state`]: the life of a connection, every transition of it, with the diagram.
//! - [`inbound`]: from bytes to packets, one step at a time.
//! - [`outbound`]: from packets to bytes, with the marks and the cap.

pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod state;
