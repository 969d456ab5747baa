//! What a server has done so far, in numbers.

use crate::error::Blame;

/// A snapshot of a server's counters. Everything but [`open`](Self::open) and [`queued_bytes`](Self::queued_bytes) only
/// grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Inbound connections that `on_accept` was called for.
    pub accepted: u64,
    /// Outbound connections that were made.
    pub connected: u64,
    /// Connections that exist now, in whatever state.
    pub open: usize,
    /// Peers turned away: over the connection limit, or over the limit of their address.
    pub rejected: u64,
    /// Failed calls of `accept`, for whatever reason.
    pub accept_failures: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Packets decoded.
    pub packets_in: u64,
    /// Packets taken for writing.
    pub packets_out: u64,
    /// Packets refused because an outbox was full.
    pub packets_refused: u64,
    /// Packets that were taken, or decoded, and then dropped with their connection.
    pub packets_dropped: u64,
    /// Errors dropped because more waited than `Config::errors` allows.
    pub errors_dropped: u64,
    /// Errors that a peer is to blame for.
    pub peer_errors: u64,
    /// Errors that the system is to blame for.
    pub system_errors: u64,
    /// Errors that a handler or a codec is to blame for.
    pub caller_errors: u64,
    /// Connections dropped because their peer read too slowly.
    pub slow_consumers: u64,
    /// Bytes waiting in all outboxes and inboxes, with their overhead.
    pub queued_bytes: usize,
    /// Timers pending, the loop's own among them.
    pub timers: usize,
}

impl Stats {
    pub(crate) fn count(&mut self, blame: Blame) {
        match blame {
            Blame::Peer => self.peer_errors += 1,
            Blame::System => self.system_errors += 1,
            Blame::Caller => self.caller_errors += 1,
        }
    }
}
