#!/bin/sh
# Lines of code per room of src/, tests inside the rooms included; and of tests/ and bin/.
set -eu
cd "$(dirname "$0")/.."
for room in $(ls src | sed 's/\.rs$//' | sort -u) ; do
    files=$(find src -path "src/$room/*" -name '*.rs' -o -path "src/$room.rs")
    printf '%6d  %s\n' "$(cat $files | wc -l)" "$room"
done
printf '%6d  bin\n%6d  tests\n' "$(cat bin/*.rs | wc -l)" "$(find tests -name '*.rs' -exec cat {} + | wc -l)"
