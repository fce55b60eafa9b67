#!/bin/sh
# The table "How much load a cluster carries" of docs/PERFORMANCE.md, measured on this machine with
# target/release/bench and python3 (build first: cargo build --release). Takes about three minutes.
#
#   scripts/bench.sh [SECONDS]     seconds per run, 10 by default
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-10}
bench=${FASTCHAT_BENCH:-target/release/bench}

cell() { # servers, words for the table, then the arguments of bench run
    servers=$1 what=$2
    shift 2
    "$bench" run --servers "$servers" --sealed pre --duration "${seconds}s" --limits --json "$@" |
        python3 -c '
import json, sys
r = json.load(sys.stdin)
d, m = r["ceilings"]["durable"], r["ceilings"]["memory"]
faults = r["lost"] + r["doubled"] + r["reordered"] + r["damaged"] + r["broken"]
two = lambda ratio: f"{ratio:.2f}"
cells = [
    sys.argv[1], sys.argv[2],
    format(round(r["delivered_per_s"]), ","),
    two(r["sent"]["p50_ms"]), two(r["delivered"]["p99_ms"]), two(r["cpu_ms_per_1000"]),
    two(r["delivered_per_s"] / d["per_s"]), two(r["delivered_per_s"] / m["per_s"]),
    two(r["sent"]["p50_ms"] / d["sent"]["p50_ms"]),
    two(r["delivered"]["p99_ms"] / d["delivered"]["p99_ms"]),
    two(r["cpu_ms_per_1000"] / d["cpu_ms_per_1000"]),
    str(faults),
]
print("| " + " | ".join(cells) + " |")
' "$servers" "$what"
}

echo "| servers | load | msg/s | p50 on disk, ms | p99 delivered, ms | CPU ms / 1,000 | msg/s of durable relay | of relay in memory | p50 / durable relay | p99 / durable relay | CPU / durable relay | lost, doubled, ... |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
for servers in 1 3; do
    cell $servers "1 in flight each" --window 1
    cell $servers "10 in flight each" --window 10
    cell $servers "1,000 a second" --rate 1000
done
