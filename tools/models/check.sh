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

expect 0 queue.pml -DPUTS=4 -DEARLY=1
expect 0 queue.pml -DNP=2 -DEARLY=1
expect 0 queue.pml -DNP=2 -DCAP=2
expect 0 queue.pml -DNC=2 -DPUTS=4 -DEARLY=1
expect 0 queue.pml -DNP=2 -DNC=2
expect 0 queue.pml -DPUTS=4 -DCAP=2 -DKILLS=1
expect 0 queue.pml -DNP=2 -DKILLS=1
expect 0 queue.pml -DNC=2 -DPUTS=4 -DKILLS=1
expect 0 queue.pml -DNP=2 -DNC=2 -DPUTS=1 -DKILLS=1
expect 0 queue.pml -DNP=2 -DPUTS=1 -DKILLS=2
expect 0 queue.pml -DNP=2 -DCAP=2 -DPUTS=3 -DGETS=1 -DBYTES=1
expect 0 queue.pml -DNP=2 -DCAP=2 -DPUTS=3 -DGETS=1 -DBYTES=1 -DKILLS=1
expect 1 queue.pml -DPLANTED=1
expect 1 queue.pml -DPLANTED=2
expect 1 queue.pml -DPLANTED=3
expect 1 queue.pml -DPLANTED=4 -DNC=2
expect 1 queue.pml -DPLANTED=5
expect 1 queue.pml -DPLANTED=6 -DNP=2 -DCAP=2 -DPUTS=3 -DGETS=1 -DBYTES=1
expect 1 queue.pml -DPLANTED=7 -DNP=2 -DKILLS=1

expect 0 semaphore.pml -DN=3 -DEARLY=1
expect 0 semaphore.pml -DN=4
expect 0 semaphore.pml -DN=3 -DKILLS=2
expect 0 semaphore.pml -DN=4 -DKILLS=1
expect 1 semaphore.pml -DPLANTED=1
expect 1 semaphore.pml -DPLANTED=2 -DROUNDS=1
expect 1 semaphore.pml -DPLANTED=3

expect 0 event.pml -DWAITS=2 -DEARLY=1
expect 0 event.pml -DS=2 -DCLEAR=1
expect 0 event.pml -DKILLS=2
expect 0 event.pml -DS=2 -DWAITS=2 -DKILLS=1
expect 1 event.pml -DPLANTED=1
expect 1 event.pml -DPLANTED=2 -DCLEAR=1
expect 1 event.pml -DPLANTED=3 -DCLEAR=1

expect 0 condition.pml -DW=3 -DS=2 -DTIMEOUT=1
expect 0 condition.pml -DTIMEOUT=1 -DKILLS=2
expect 0 condition.pml -DS=2 -DKILLS=2
expect 0 condition.pml -DW=3 -DKILLS=2
expect 1 condition.pml -DPLANTED=1
expect 1 condition.pml -DPLANTED=2 -DKILLS=1
expect 1 condition.pml -DPLANTED=3 -DKILLS=2
expect 1 condition.pml -DPLANTED=4 -DKILLS=1
expect 1 condition.pml -DPLANTED=5 -DKILLS=1
expect 1 condition.pml -DPLANTED=6 -DTIMEOUT=1
exit $failed
