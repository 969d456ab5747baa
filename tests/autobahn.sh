#!/usr/bin/env bash
# Holds the example ws_echo to the Autobahn test suite: every core case has to be OK.
#
#     tests/autobahn.sh              # the 301 core cases: half a minute
#     tests/autobahn.sh --deflate    # with the 216 of compression: half an hour
#
# Drives kosoku, a port of the suite to Python 3: `pip install kosoku==0.1.0` in a virtual environment, whose `kosoku` is
# found by PATH or named by KOSOKU. The cases that did not pass are listed; OUT names a directory to keep the whole report.

set -euo pipefail
cd "$(dirname "$0")/.."

kosoku=${KOSOKU:-kosoku}
server_args=(--addr 127.0.0.1:0)
suite_args=(-p 2)
limit=300
cases=301
case ${1:-} in
    --deflate)
        server_args+=(--deflate)
        limit=3600
        cases=517
        ;;
    '') suite_args+=(-x '12.*' -x '13.*') ;;
    *)
        echo "usage: tests/autobahn.sh [--deflate]" >&2
        exit 2
        ;;
esac
command -v "$kosoku" >/dev/null || {
    echo "no $kosoku here: see the head of this file" >&2
    exit 2
}

work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

cargo build --release --quiet --example ws_echo
"${CARGO_TARGET_DIR:-target}/release/examples/ws_echo" "${server_args[@]}" >"$work/log" 2>&1 &
server=$!
address=
for _ in $(seq 100); do
    address=$(sed -n 's/.*listening on //p' "$work/log")
    [ -n "$address" ] && break
    kill -0 "$server" || break
    sleep 0.1
done
[ -n "$address" ] || {
    echo "the server does not listen:" >&2
    cat "$work/log" >&2
    exit 1
}

out=${OUT:-$work/out}
began=$SECONDS
# Its exit code takes non-strict for passed, and it waits for ever on a peer that does not answer.
timeout "$limit" "$kosoku" "$address" "${suite_args[@]}" -o "$out" >"$work/suite" 2>&1 || {
    echo "kosoku ended with $? after $((SECONDS - began)) s:"
    tail -n 20 "$work/suite"
}
python3 - "$out/index.json" "$cases" "$((SECONDS - began))" <<'PYTHON'
import collections
import json
import sys

path, cases, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3]
try:
    agents = json.load(open(path))
except OSError as error:
    sys.exit(f"no report: {error}")
results = {case: result for agent in agents.values() for case, result in agent.items()}
tally = collections.Counter(result["behavior"] for result in results.values())
closes = collections.Counter(result["behaviorClose"] for result in results.values())
print(f"{len(results)} cases in {seconds} s:", ", ".join(f"{n} {name}" for name, n in tally.most_common()))
print("closing:", ", ".join(f"{n} {name}" for name, n in closes.most_common()))
good = {"OK", "INFORMATIONAL"}
bad = [
    (case, result)
    for case, result in results.items()
    if result["behavior"] not in good or result["behaviorClose"] not in good
]
for case, result in sorted(bad):
    print(f"{case}: {result['behavior']}, closing {result['behaviorClose']}")
if len(results) != cases:
    sys.exit(f"{len(results)} cases were run, not {cases}")
sys.exit(1 if bad else 0)
PYTHON
