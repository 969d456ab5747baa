#!/usr/bin/env bash
# Runs the benchmark of the codecs several times over and sets each codec beside its peer: benches/codecs.sh [ROUNDS] [CORE]
#
# In one round each codec and its peer run within a second of each other, so what else the machine does meets both. The
# raw output goes to benches/results/codecs.txt, the table of the medians over the rounds to standard output.

set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-7}
core=${2:-0}
raw=benches/results/codecs.txt

mkdir -p benches/results
cargo bench --bench codecs --no-run
{
    printf '# %s\n' "$(rustc --version)"
    for ((round = 1; round <= rounds; round++)); do
        printf '\n# round %d of %d\n' "$round" "$rounds"
        taskset -c "$core" cargo bench --quiet --bench codecs 2>/dev/null
    done
} >"$raw"

# divan draws a tree: a codec at its first level, what is done at its second, the payload at its third. Its columns are
# the fastest sample, the slowest, the median and the mean.
awk '
    function nanoseconds(number, unit) {
        return number * (unit == "ns" ? 1 : unit == "µs" ? 1e3 : unit == "ms" ? 1e6 : 1e9)
    }
    function median_of(list, parts, count, i, j, swap) {
        count = split(list, parts, " ")
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && parts[j - 1] + 0 > parts[j] + 0; j--) {
                swap = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = swap
            }
        return count % 2 ? parts[(count + 1) / 2] : (parts[count / 2] + parts[count / 2 + 1]) / 2
    }
    /^(├|╰)─/ { codec = $2; next }
    {
        line = $0
        depth = match(line, /(├|╰)─ /)
        if (!depth) next
        sub(/^.*(├|╰)─ /, "", line)
        count = split(line, field, /[ │]+/)
        if (field[1] ~ /code_/) { action = field[1]; sub(/_.*/, "", action); who = field[1]; sub(/^[a-z]+_/, "", who); next }
        if (field[1] !~ /^[0-9]+$/) next
        row = codec " " action " " field[1]
        if (!(row in seen)) { seen[row] = ++rows; order[rows] = row }
        fastest[row, who] = nanoseconds(field[2], field[3])
        middle[row, who] = nanoseconds(field[6], field[7])
        medians[row, who] = medians[row, who] " " middle[row, who]
        ours = "wheelhouse"
        if (who == ours) {
            for (i = 1; i <= 2; i++) {
                peer = i == 1 ? "tokio_util" : "serde_json"
                if ((row, peer) in middle) {
                    ratios[row] = ratios[row] " " middle[row, ours] / middle[row, peer]
                    best[row] = best[row] " " fastest[row, ours] / fastest[row, peer]
                    name[row] = peer
                }
            }
        }
    }
    END {
        print "| codec | | payload | wheelhouse, ns a packet | peer, ns a packet | ratio of medians | of fastest |"
        print "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
        for (i = 1; i <= rows; i++) {
            row = order[i]
            split(row, key, " ")
            count = 65536 / key[3]
            printf "| %s | %s | %d | %.1f | ", key[1], key[2], key[3], median_of(medians[row, ours]) / count
            if (row in ratios)
                printf "%.1f | %.2f | %.2f |\n", median_of(medians[row, name[row]]) / count, median_of(ratios[row]), median_of(best[row])
            else
                print "| | |"
        }
    }
' "$raw"
