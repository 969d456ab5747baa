//! Operations on the reactor, one after the other, on the simulated network: peers that connect, send, end, reset and stop
//! reading; handlers that write, close, abort, pause, broadcast, dial, set timers, fail and panic; handles, commands, stops,
//! faults of the network and of the system, and time that passes. After each of them the rules are checked that
//! `tests/simulation/schedules` holds random schedules to; this is the same code, with the fuzzer's choices in it.

#![no_main]

#[path = "../../tests/simulation/frames.rs"]
mod frames;
#[expect(dead_code, reason = "what chooses from a seed is for the tests")]
#[path = "../../tests/simulation/schedules/mod.rs"]
mod schedules;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use schedules::{STEP, Script};

#[derive(Arbitrary, Debug)]
struct Operations {
    speaks: bool,
    /// What the network's faults are drawn from.
    seed: u16,
    settings: [u8; 32],
    /// An operation a piece.
    steps: Vec<[u8; STEP]>,
    /// What the handlers do.
    inside: Vec<u8>,
}

fuzz_target!(|operations: Operations| {
    let Operations { speaks, seed, settings, steps, inside } = operations;
    Script { speaks, seed: seed.into(), settings: settings.to_vec(), inside, steps }.play();
});
