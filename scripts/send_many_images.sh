#!/bin/sh
# Sends every file of a folder to each of these people or groups, and waits until all are sent.
#   scripts/send_many_images.sh DIR WHO...
set -eu
[ $# -ge 2 ] || { sed -n "3s/^#   /Usage: /p" "$0" >&2; exit 2; }
client=${FASTCHAT_CLIENT:-$(dirname "$0")/../target/release/client}
dir=$1 first=$2
shift 2
for who in "$@"; do
    set -- "$@" --also "$who"
    shift
done
exec "$client" send "$first" "$@" -f "$dir"/*
