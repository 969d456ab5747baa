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

/// Last words that were stuck without a deadline. And what was right, where the rules of these tests were not: a loop that
/// had overslept and was to look once more, before it asked a silent peer; a peer that was dropped for reading too slowly
/// and given its time anew; deadlines that were over at once, each looked at twice.
#[test]
fn rare_schedules_keep_the_rules() {
    for seed in [295_646, 320_750, 394_086, 19_112, 744_009, 1_040_671, 1_110_635] {
        if seed % 2 == 0 {
            Schedule::<true>::seeded(seed).play();
        } else {
            Schedule::<false>::seeded(seed).play();
        }
    }
}
