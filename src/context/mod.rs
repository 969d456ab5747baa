//! What a handler may do: to its own connection by [`Connection`], to everything else by [`ServerRef`].
//!
//! Both are views on the loop's registry for the time of one call, with nothing borrowed that the handler could ask for
//! again. They touch queues and states only; the loop does the rest later in its turn.

mod connection;
mod server;

pub use self::connection::Connection;
pub use self::server::{Broadcast, ConnectError, ServerRef, SlowConsumers};
