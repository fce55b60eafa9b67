#!/bin/sh
# Sends one picture, or any other file, and waits until it is on disk at the recipient's server.
#   scripts/send_image.sh FILE WHO [OPTION...]     options of `client send`: -m CAPTION, --fit, -p NAME
set -eu
[ $# -ge 2 ] || { sed -n "3s/^#   /Usage: /p" "$0" >&2; exit 2; }
client=${FASTCHAT_CLIENT:-$(dirname "$0")/../target/release/client}
file=$1 who=$2
shift 2
exec "$client" send "$who" -f "$file" "$@"
