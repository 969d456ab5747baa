#!/usr/bin/env bash
# Where the instructions of one 64-byte echo go, function by function: two runs of the server under callgrind, of 1,024 and
# of 6,144 messages, subtracted, so that start and end cancel out.
#
#     benches/profile.sh bytes 1          # bytes, length or websocket; messages under way; lines of at least 2 (MIN=2)
#
# Needs valgrind and Python 3. What is in line is told by the file and function that it stands in.

set -euo pipefail
cd "$(dirname "$0")/.."

codec=${1:-bytes}
pipeline=${2:-1}
work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

bench=$(CARGO_PROFILE_BENCH_DEBUG=true cargo bench --bench cost --no-run 2>&1 | sed -n 's/.*cost.rs (\(.*\))$/\1/p')
for messages in 1024 6144; do
    valgrind --tool=callgrind --callgrind-out-file="$work/raw" "$bench" serve "$codec" >"$work/port" 2>/dev/null &
    server=$!
    for _ in $(seq 200); do
        [ -s "$work/port" ] && break
        sleep 0.05
    done
    "$bench" load "$(grep -oE '[0-9]+$' "$work/port" | head -n 1)" "$messages" "$pipeline" "$codec"
    wait "$server"
    server=
    callgrind_annotate --threshold=100 --auto=no --tree=none "$work/raw" 2>/dev/null >"$work/$messages"
done
python3 - "$work" "${MIN:-2}" <<'PYTHON'
import collections
import os
import re
import sys

work, least = sys.argv[1], float(sys.argv[2])


def costs(messages):
    found = collections.Counter()
    for line in open(f"{work}/{messages}"):
        if match := re.match(r"\s*([\d,]+) \([ \d.]+%\)\s+(\S.*)", line):
            name = re.sub(r" \[.*", "", match[2]).removeprefix(os.getcwd() + "/")
            name = re.sub(r"^\S*/(registry/src/[^/]*|rustc/\w*/library)/", "", name)
            found[name] += int(match[1].replace(",", ""))
    return found


few, many = costs(1024), costs(6144)
each = {name: (many[name] - few[name]) / 5120 for name in many if ":" in name}
print(f"{sum(each.values()):8.1f} in all")
for name, cost in sorted(each.items(), key=lambda item: -item[1]):
    if cost >= least:
        print(f"{cost:8.1f} {name[:150]}")
PYTHON
