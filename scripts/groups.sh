#!/bin/sh
# The tables of "What a message to a group costs" in docs/PERFORMANCE.md, measured on this machine with
# target/release/bench and python3 (build first: cargo build --release). Takes about five minutes.
#
#   scripts/groups.sh [SECONDS]     seconds per row, 10 by default
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-10}
bench=${FASTCHAT_BENCH:-target/release/bench}

echo "| servers | members | messages/s | deliveries/s | p50 on disk, ms | p50 delivered, ms | p99 delivered, ms | CPU ms / 1,000 deliveries | lost, doubled, ... |"
echo "|---|---|---|---|---|---|---|---|---|"
for servers in 1 3; do
    "$bench" fanout --servers $servers --duration "${seconds}s" --json | python3 -c '
import json, sys
t = json.load(sys.stdin)
for r in t["rows"]:
    cells = [
        str(t["servers"]), str(r["members"]),
        format(round(r["messages_per_s"]), ","), format(round(r["deliveries_per_s"]), ","),
        format(r["sent"]["p50_ms"], ".2f"), format(r["delivered"]["p50_ms"], ".2f"),
        format(r["delivered"]["p99_ms"], ".2f"), format(r["cpu_ms_per_1000"], ".2f"),
        str(r["lost"] + r["faults"] + r["broken"]),
    ]
    print("| " + " | ".join(cells) + " |")
'
done

row() { # servers, words for the table, then the arguments of bench run
    servers=$1 what=$2
    shift 2
    "$bench" run --servers "$servers" --sealed pre --duration "${seconds}s" --limits --json "$@" |
        python3 -c '
import json, sys
r = json.load(sys.stdin)
d = r["ceilings"]["durable"]
faults = r["lost"] + r["doubled"] + r["reordered"] + r["damaged"] + r["broken"]
two = lambda ratio: f"{ratio:.2f}"
cells = [
    sys.argv[1], sys.argv[2],
    format(round(r["sent_per_s"]), ","), format(round(r["delivered_per_s"]), ","),
    two(r["sent"]["p50_ms"]), two(r["delivered"]["p99_ms"]), two(r["cpu_ms_per_1000"]),
    two(r["delivered_per_s"] / d["per_s"]),
    two(r["delivered"]["p99_ms"] / d["delivered"]["p99_ms"]),
    two(r["cpu_ms_per_1000"] / d["cpu_ms_per_1000"]),
    str(faults),
]
print("| " + " | ".join(cells) + " |")
' "$servers" "$what"
}

echo
echo "| servers | load | messages/s | deliveries/s | p50 on disk, ms | p99 delivered, ms | CPU ms / 1,000 deliveries | deliveries/s of durable relay | p99 / durable relay | CPU / durable relay | lost, doubled, ... |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
for servers in 1 3; do
    row $servers "6 groups of 16, 1 in flight each" --clients 96 --pattern group --window 1
    row $servers "6 groups of 16, 200 messages a second" --clients 96 --pattern group --rate 200
    row $servers "the same people, half to a partner, 1 in flight each" --clients 96 --pattern mix --window 1
done
