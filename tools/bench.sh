#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds and runs the benchmarks, then makes docs/bench/speedup.svg and docs/bench/results.md from what
# they saw; then those of the Python package, see bench_python.sh.  bench.sh [--quick]
set -eu
cd "$(dirname "$0")/.."
meson=$(test -x /usr/bin/meson && echo /usr/bin/meson || echo meson)
[ -f build-bench/build.ninja ] || "$meson" setup build-bench -Dbenchmarks=true >/dev/null
ninja -C build-bench >build-bench/ninja.log || {
    cat build-bench/ninja.log
    exit 1
}
results=build-bench/results.json
for b in build-bench/bench/bench_*; do
    [ -f "$b" ] && [ -x "$b" ] && "$b" --json "$results" "$@"
done
python3 tools/bench_picture.py "$results"
tools/bench_python.sh "$@"
