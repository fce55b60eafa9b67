#!/bin/sh
# The quick look: a cluster and some clients, in tmux panes where there is tmux.
#   scripts/run.sh [SERVERS] [CLIENTS] [STRATEGY]      stop: scripts/stop.sh
# Data lies in $FASTCHAT_RUN (default: target/quick-look), the port is $FASTCHAT_PORT (9000).
set -eu
cd "$(dirname "$0")/.."
servers="${1:-3}" clients="${2:-2}" strategy="${3:-random}"
run="${FASTCHAT_RUN:-$PWD/target/quick-look}" port="${FASTCHAT_PORT:-9000}"
session="fastchat-$port"
cargo build --release --bins
bin="${CARGO_TARGET_DIR:-$PWD/target}/release"
mkdir -p "$run"
cd "$run"
if [ -n "$("$bin/load_balancer" status --server "127.0.0.1:$port" 2>/dev/null)" ]; then
    echo "A cluster runs on port $port already. Stop it first:  scripts/stop.sh" >&2
    exit 3
fi
# Emptied first: the lines of an earlier run would be taken for those of this one.
: >balancer.log
nohup "$bin/load_balancer" "$servers" "$port" --strategy "$strategy" >balancer.log 2>&1 &
balancer=$!
until grep -q 'Join:' balancer.log; do
    kill -0 "$balancer" 2>/dev/null || { cat balancer.log >&2; exit 3; }
    sleep 0.1
done
head -n 2 balancer.log
ca="$(sed -n 's/.*--ca \([0-9a-f]*\).*/\1/p' balancer.log)"
one() { echo "'$bin/client' 127.0.0.1 $port --ca $ca --data-dir '$run/client$1'"; }
if command -v tmux >/dev/null && [ -t 0 ] && [ "$clients" -gt 0 ]; then
    tmux new-session -d -s "$session" "$(one 1)"
    for n in $(seq 2 "$clients"); do
        tmux split-window -t "$session" "$(one "$n")"
        tmux select-layout -t "$session" tiled
    done
    exec tmux attach -t "$session"
fi
echo "Each of these in a terminal of its own:"
for n in $(seq 1 "$clients"); do echo "  $(one "$n")"; done
echo "State:  (cd '$run' && '$bin/load_balancer' status)      Stop:  scripts/stop.sh"
