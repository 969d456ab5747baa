//! A single-threaded event-loop reactor for TCP servers.

pub mod codec;

mod buffer;
mod clock;
mod config;
mod connection;
mod context;
mod error;
mod handle;
mod handlers;
mod id;
mod io;
mod logging;
mod queue;
mod reactor;
mod registry;
mod server;
mod stats;
mod timers;

pub use crate::config::{Config, Overload, PanicPolicy};
pub use crate::context::{Broadcast, ConnectError, Connection, ServerRef, SlowConsumers};
pub use crate::error::{Blame, BoxError, CloseReason, Error, Late, WriteError};
pub use crate::handle::{ConnectionHandle, HandleError, Packets, ReadError, ServerHandle};
pub use crate::handlers::{HandlerError, Handlers};
pub use crate::id::{ConnectionId, TimerId};
pub use crate::io::Stream;
pub use crate::reactor::{Reactor, StopReport, Turn};
pub use crate::server::Server;
pub use crate::stats::Stats;
