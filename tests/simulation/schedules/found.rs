//! Scripts that the fuzz target `reactor` found something with, played again.

use super::{STEP, Script};

/// What a script without a byte is: it accepts nobody, and stops.
#[test]
fn a_script_of_nothing_is_a_server_that_starts_and_stops() {
    for speaks in [false, true] {
        for steps in [vec![], vec![[0; STEP]; 300], vec![[255; STEP]; 300]] {
            Script { speaks, seed: 0, settings: vec![], inside: vec![], steps }.play();
        }
    }
}
