#!/bin/sh
# The long campaign of the simulator: SEEDS seeds from FIRST on, in a release build.
#   scripts/simulate.sh [SEEDS] [FIRST]
# Prints seeds, simulated seconds, crashes and texts; a failing seed is named and can be repeated
# with  scripts/simulate.sh 1 SEED
set -eu
cd "$(dirname "$0")/.."
FASTCHAT_SIM_SEEDS="${1:-1000}" FASTCHAT_SIM_FIRST="${2:-1}" \
    cargo test --release --test sim what_is_promised -- --nocapture
