#!/usr/bin/env bash
# The tests again, under those who watch memory and descriptors: what safe code cannot do wrong, the unsafe code of its
# dependencies could.
#
#   tests/sanitizers.sh address             # AddressSanitizer, leaks included; needs a nightly compiler
#   tests/sanitizers.sh thread              # ThreadSanitizer over what threads share; needs its rust-src, too
#   tests/sanitizers.sh valgrind            # leaks, and descriptors that are open at the end; needs valgrind
#   tests/sanitizers.sh address stop seed   # those test files alone; `lib` is the unit tests, `chat` the chat's
#
# A run takes some ten minutes, of which most is compiling. What each has found is in docs/reliability.md, "Soundness".

set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:?address, thread or valgrind}
shift
target=x86_64-unknown-linux-gnu
built=${CARGO_TARGET_DIR:-$PWD/target}

# Every test file, but for those that look at the sources (style, api) and those that attack programs (chat, examples,
# faults), whose processes would not be watched.
integration=(broadcast channels client closed_channels deadlines facts handlers handles http lifecycle limits logging mid_batch
    outbound panics reasons seed simulation stats stop timers websocket)

# It builds an example, and waits for a compiler.
skip=(a_signal_stops_the_echo_example)

case $mode in
address)
    export RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$built/address
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    cargo=(cargo +nightly)
    tests=(lib "${integration[@]}" chat)
    ;;
thread)
    # The standard library has to be built along, or what it orders looks like a race.
    export RUSTFLAGS=-Zsanitizer=thread CARGO_TARGET_DIR=$built/thread
    cargo=(cargo +nightly -Zbuild-std)
    tests=(channels closed_channels handles stop)
    [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ] || {
        echo "there is no rust-src: rustup +nightly component add rust-src" >&2
        exit 2
    }
    ;;
valgrind)
    export CARGO_TARGET_DIR=$built/valgrind
    watch="valgrind -q --track-fds=yes --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=99"
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$watch
    cargo=(cargo)
    tests=("${integration[@]}")
    # Their megabytes and 100,000 packets take longer, fifty times as slow, than the tests have patience for.
    skip+=(many_wake_ups_are_few_turns what_was_left_between_two_turns_is_one_wake_up
        what_came_while_others_filled_the_outbox_is_handled_once_it_drains
        the_outboxs_marks_spare_an_answering_handler_every_refusal every_packet_of_64_threads_arrives_once_and_in_order)
    ;;
*)
    echo "there is address, thread and valgrind; not $mode" >&2
    exit 2
    ;;
esac
[ $# -eq 0 ] || tests=("$@")

# Few schedules: each costs many times what it does otherwise.
export WHEELHOUSE_SCHEDULES=${WHEELHOUSE_SCHEDULES:-500}

failed=()
for test in "${tests[@]}"; do
    began=$SECONDS
    case $test in
    lib) what=(-p wheelhouse --lib) ;;
    chat) what=(-p wheelhouse-chat --bins) ;;
    *) what=(-p wheelhouse --test "$test") ;;
    esac
    log=$(mktemp)
    "${cargo[@]}" test --quiet --target "$target" --all-features "${what[@]}" -- "${skip[@]/#/--skip=}" >"$log" 2>&1 ||
        failed+=("$test")
    grep -E '^test result|panicked|ERROR: |SUMMARY|definitely lost' "$log" || true
    if [ "$mode" = valgrind ]; then
        # Not those inherited; a server that a test leaves running has some.
        open=$(grep -A 1 -E 'Open (file descriptor|AF_)' "$log" | grep -cE '(at|by) 0x' || true)
        printf 'descriptors of its own, open at the end: %s\n' "$open"
    fi
    [[ " ${failed[*]-} " != *" $test "* ]] || cat "$log"
    rm "$log"
    printf -- '-- %s, %s: %d s\n' "$mode" "$test" "$((SECONDS - began))"
done
[ ${#failed[@]} -eq 0 ] || {
    printf 'failed under %s: %s\n' "$mode" "${failed[*]}"
    exit 1
}
