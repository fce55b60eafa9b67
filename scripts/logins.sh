#!/bin/sh
# USERS people log in and out ROUNDS times as fast as they can while a fifth of them stays on, once
# for each strategy of the balancer; prints who landed where. Fails when anybody is refused.
#   scripts/logins.sh [USERS] [ROUNDS]
set -eu
cd "$(dirname "$0")/.."
FASTCHAT_LOGINS_USERS="${1:-100}" FASTCHAT_LOGINS_ROUNDS="${2:-10}" \
    cargo test --test logins -- --nocapture
