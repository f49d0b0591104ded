#!/bin/sh
# SPDX-License-Identifier: MIT
# Kills processes, checks what the others see, and prints it as a Markdown table:
#   kill_table.sh BUILD_DIR [--update FILE]
# With --update the table replaces what stands between the two "kill table" comments of FILE.
# KILL_TABLE_TRIALS says how often each line is tried (20).
set -eu

usage() {
    echo "usage: $0 BUILD_DIR [--update FILE]" >&2
    exit 2
}

case $# in
1) file= ;;
3) [ "$2" = --update ] && file=$3 || usage ;;
*) usage ;;
esac
build=$1
root=$(cd "$(dirname "$0")/.." && pwd)
if [ ! -f "$build/libmultiproc.a" ]; then
    echo "$0: there is no $build/libmultiproc.a" >&2
    exit 2
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -D_GNU_SOURCE -I"$root/include" \
    "$root/tests/support/kill_table.c" "$build/libmultiproc.a" -lpthread -lm -o "$dir/kill_table"
"$dir/kill_table" "${KILL_TABLE_TRIALS:-20}" >"$dir/table"
if [ -z "$file" ]; then
    cat "$dir/table"
    exit 0
fi
for mark in begin end; do
    if [ "$(grep -c "^<!-- kill table: $mark -->\$" "$file")" != 1 ]; then
        echo "$0: $file needs one line '<!-- kill table: $mark -->'" >&2
        exit 1
    fi
done
awk -v table="$dir/table" '
    /^<!-- kill table: end -->$/ { inside = 0 }
    !inside { print }
    /^<!-- kill table: begin -->$/ {
        inside = 1
        while ((getline line <table) > 0)
            print line
    }' "$file" >"$dir/new"
cat "$dir/new" >"$file"
