#!/bin/sh
# Stops what scripts/run.sh started: the clients' panes, then the cluster, in order. Data stays.
set -eu
cd "$(dirname "$0")/.."
run="${FASTCHAT_RUN:-$PWD/target/quick-look}" port="${FASTCHAT_PORT:-9000}"
bin="${CARGO_TARGET_DIR:-$PWD/target}/release"
tmux kill-session -t "fastchat-$port" 2>/dev/null || true
cd "$run"
exec "$bin/load_balancer" stop
