#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the wheel, installs it into a fresh environment, and runs programs there, all without a network:
# check_wheel.sh [PYTHON [KEEP]].  KEEP is a folder to keep the wheel in.
# Exits with 77 where the interpreter has no meson-python.
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
for module in mesonpy pip venv ensurepip; do
    "$python" -c "import $module" 2>/dev/null || {
        echo "skipped: $python has no module '$module'"
        exit 77
    }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset PYTHONPATH
mkdir "$dir/source"
tar -cf - --exclude=./build --exclude='./build-*' --exclude=./.git . | tar -xf - -C "$dir/source"

run() { # what a step says is of interest only when it fails
    "$@" >"$dir/log" 2>&1 || {
        cat "$dir/log"
        exit 1
    }
}

run "$python" -m pip wheel --quiet --no-index --no-build-isolation --no-deps --wheel-dir "$dir" \
    "$dir/source"
rm -rf "$dir/source"
run "$python" -m venv "$dir/venv"
run "$dir/venv/bin/python" -m pip install --quiet --no-index --no-deps "$dir"/multiproc-*.whl

ls "$dir"/venv/lib/python*/site-packages/multiproc/py.typed >/dev/null
extension=$("$dir/venv/bin/python" -c 'import multiproc; print(multiproc._core.__file__)')
exported=$(nm -D --defined-only "$extension" | awk '{print $3}')
[ "$exported" = PyInit__core ] || {
    echo "the extension exports other names than PyInit__core:" $exported
    exit 1
}

cat >"$dir/prog.py" <<'PROGRAM'
import multiprocessing as mp
import sys


def double(q, n):
    q.put(2 * n)


def square(n):
    return n * n


if __name__ == "__main__":
    import multiproc
    assert multiproc.__file__.startswith(sys.prefix), multiproc.__file__
    for method in ["fork", "spawn", "forkserver"]:
        context = mp.get_context(method)
        q = context.Queue()
        p = context.Process(target=double, args=(q, 21))
        p.start()
        p.join(60)
        with context.Pool(2) as pool:
            print(method, q.get(timeout=60), p.exitcode, pool.map(square, range(4)), type(q).__module__)
PROGRAM
cat >"$dir/expected" <<'EXPECTED'
fork 42 0 [0, 1, 4, 9] multiproc.queues
spawn 42 0 [0, 1, 4, 9] multiproc.queues
forkserver 42 0 [0, 1, 4, 9] multiproc.queues
EXPECTED
"$dir/venv/bin/python" -m multiproc "$dir/prog.py" | diff "$dir/expected" -
path=$("$dir/venv/bin/python" -m multiproc --path)
PYTHONPATH=$path "$dir/venv/bin/python" "$dir/prog.py" | diff "$dir/expected" -
[ -z "${2:-}" ] || cp "$dir"/multiproc-*.whl "$2"
echo "$(basename "$dir"/multiproc-*.whl) works"
