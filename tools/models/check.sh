#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks the models with spin: what must hold holds, and planted errors are found.
set -u
command -v spin >/dev/null 2>&1 || {
    echo "skipped: there is no spin"
    exit 77
}
models=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

# expect ERRORS MODEL OPTIONS...: 0 none, 1 at least one
expect() {
    wanted=$1
    model=$2
    shift 2
    rm -f pan*
    if ! spin "$@" -a "$models/$model" >spin.log 2>&1 || ! ${CC:-cc} -O2 -w -DCOLLAPSE -DMEMLIM=4096 -DSAFETY \
        -o pan pan.c; then
        cat spin.log
        failed=1
        return
    fi
    ./pan -m2000000 >pan.log 2>&1
    found=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
    states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
    printf '%s %s: %s errors, %s states\n' "$model" "$*" "$found" "$states"
    if grep -q 'too small\|out of memory' pan.log || { [ "$wanted" = 0 ] && [ "$found" != 0 ]; } ||
        { [ "$wanted" = 1 ] && [ "$found" = 0 ]; }; then
        echo "  expected: $wanted"
        failed=1
    fi
}

expect 0 wordlock.pml -DN=2 -DKILLS=0
expect 0 wordlock.pml -DN=3 -DKILLS=0
expect 0 wordlock.pml -DN=3 -DKILLS=1
expect 0 wordlock.pml -DN=3 -DKILLS=2 -DROUNDS=1
expect 1 wordlock.pml -DN=2 -DKILLS=0 -DPLANTED=1
expect 1 wordlock.pml -DN=2 -DKILLS=0 -DPLANTED=2
exit $failed
