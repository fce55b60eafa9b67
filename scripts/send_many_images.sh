#!/bin/sh
# Sends every file of a folder to each of these people or groups, and waits until all are sent.
#   scripts/send_many_images.sh DIR WHO...
set -eu
client=${FASTCHAT_CLIENT:-$(dirname "$0")/../target/release/client}
dir=$1 first=$2
shift 2
for who in "$@"; do
    set -- "$@" --also "$who"
    shift
done
exec "$client" send "$first" "$@" -f "$dir"/*
