//! A single-threaded event-loop reactor for TCP servers.

pub mod codec;

mod buffer;
mod clock;
mod error;
mod handlers;
mod id;

pub use crate::error::{Blame, BoxError, CloseReason, Error, Late, WriteError};
pub use crate::handlers::HandlerError;
pub use crate::id::{ConnectionId, TimerId};
