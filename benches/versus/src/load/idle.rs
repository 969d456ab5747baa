//! Connections that have echoed one message each and stay: what they take of the server's memory.
//!
//! What the kernel keeps for a socket, and for a thread, is not in it.

use serde::{Deserialize, Serialize};

use super::Load;
use crate::plan::Cell;
use crate::{Outcome, os};

/// Connections that warm the server up: its buffers, its code, the allocator's first pages.
const WARM_UP: usize = 100;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) connections: usize,
    /// Resident bytes of the server, with the connections that warm it up.
    pub(crate) before: u64,
    pub(crate) after: u64,
}

impl Memory {
    pub(crate) fn for_each(&self) -> f64 {
        self.after.saturating_sub(self.before) as f64 / self.connections as f64
    }
}

pub(crate) fn measure(cell: &Cell, port: u16, pid: u32) -> Outcome<Memory> {
    let warm_up = Load::connect(&Cell { connections: WARM_UP, ..*cell }, port)?;
    let before = os::resident(pid)?;
    let all = Load::connect(cell, port)?;
    let after = os::resident(pid)?;
    drop((warm_up, all));
    Ok(Memory { connections: cell.connections, before, after })
}
