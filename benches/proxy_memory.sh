#!/bin/sh
# The memory of examples/proxy.rs while a fast sender meets a slow reader. It fails where the peak passes 16 MiB.
#
#   benches/proxy_memory.sh                      128 MiB at 10 MB/s: some 13 seconds
#   benches/proxy_memory.sh --mib 1024           the full run: some 108 seconds
#   benches/proxy_memory.sh --mib 64 --rate 50   with a quicker reader, in MB/s
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release --example proxy
exec cargo bench --quiet --bench proxy_memory -- "$@"
