//! Schedules as values, so that one that fails is made as small as it can be: fewer steps, smaller choices.
//!
//! `PROPTEST_CASES` says how many to play (100), `WHEELHOUSE_SEED` where their choices begin (1). What a failure prints last
//! is the small script, as it can stand in [`found`](super::found), and the seed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::{STEP, Script, number};

/// So many times a script is played to make it smaller, at most. The steps go first.
const SHRINKS: u32 = 20_000;

fn scripts() -> impl Strategy<Value = Script> {
    let bytes = |most| vec(any::<u8>(), 0..most);
    let steps = vec(any::<[u8; STEP]>(), 1..100);
    (any::<bool>(), any::<u16>(), bytes(40), bytes(400), steps).prop_map(
        |(speaks, seed, settings, inside, steps)| Script {
            speaks,
            seed: seed.into(),
            settings,
            inside,
            steps,
        },
    )
}

#[test]
fn a_script_that_breaks_a_rule_is_made_small() {
    let seed = number("WHEELHOUSE_SEED", 1);
    let config = ProptestConfig {
        cases: number("PROPTEST_CASES", 100).try_into().unwrap_or(u32::MAX),
        max_shrink_iters: SHRINKS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let played = TestRunner::new_with_rng(config, rng)
        .run(&scripts(), |script| script.try_play().map_err(TestCaseError::fail));
    match played {
        Ok(()) => {}
        Err(TestError::Fail(why, script)) => {
            panic!("{why}\nWHEELHOUSE_SEED={seed} finds this again:\n{script:?}.play();")
        }
        Err(error) => panic!("{error}"),
    }
}
