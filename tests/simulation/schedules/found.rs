//! What once found something, played again: seeds of the random schedules, and scripts of the fuzz target `reactor`.

use super::{STEP, Schedule, Script};

/// What a script without a byte is: it accepts nobody, and stops.
#[test]
fn a_script_of_nothing_is_a_server_that_starts_and_stops() {
    for speaks in [false, true] {
        for steps in [vec![], vec![[0; STEP]; 300], vec![[255; STEP]; 300]] {
            Script { speaks, seed: 0, settings: vec![], inside: vec![], steps }.play();
        }
    }
}

/// A loop that had overslept and was to look once more, before it asked a silent peer; and a peer that was dropped for
/// memory while it was closing, with the packets in its inbox. Both were right, and the rules of these tests were not.
#[test]
fn rare_schedules_keep_the_rules() {
    for seed in [898_410, 981_954] {
        Schedule::<true>::seeded(seed).play();
    }
}
