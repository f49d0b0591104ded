#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the Python package, runs bench/bench_python.py, and makes docs/bench/python.svg and
# docs/bench/python.md from what it saw; with --only, from this and what it saw before.
# bench_python.sh [--quick] [--only PATTERN].  PYTHON names the interpreter; without it, Debian's own is
# taken, for which setup.sh installs the peers.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-$(test -x /usr/bin/python3 && echo /usr/bin/python3 || echo python3)}
site=$(tools/python.sh "$python" | tail -n 1)
mkdir -p build-bench
results=build-bench/python.json
status=0
"$python" bench/bench_python.py --json "$results" "$@" "$site" || status=$?
python3 tools/bench_picture.py --python "$results"
exit $status
