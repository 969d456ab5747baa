#!/usr/bin/env bash
# The attacks of tests/faults at their full size, some ten minutes of them, and the figures in target/faults.txt.
#
#   tests/faults/full.sh                # all of them
#   tests/faults/full.sh sigterm        # those with that word in their name
#
# Nothing else should run meanwhile: the figures are times. strace, faketime, nft, tc and unshare are used where they are
# there, the last three as root; what is left out is said.

set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release --examples
cargo build --release -p wheelhouse-chat
WHEELHOUSE_FULL=1 cargo test --release --test faults -- "$@" --nocapture --test-threads=1 2>&1 |
    tee target/faults.txt
