#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the Python package for an interpreter and prints, as the last line, the folder to put on
# PYTHONPATH: python.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
python=$(command -v "${1:-python3}") || {
    echo "$0: there is no interpreter '${1:-python3}'" >&2
    exit 1
}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
3.9 | 3.1[0-9]) ;;
*)
    echo "$0: the package needs Python 3.9 or newer, and $python is $version" >&2
    exit 1
    ;;
esac
meson=$(test -x /usr/bin/meson && echo /usr/bin/meson || echo meson)
build=build-python-$version
if [ ! -f "$build/build.ninja" ]; then
    "$meson" setup "$build" -Dpython="$python" -Dtests=false -Dcrypto=disabled -Dbenchmarks=false \
        --prefix="$PWD/$build/root" -Dpython_site="$PWD/$build/site" >"$build.log" 2>&1 || {
        cat "$build.log"
        exit 1
    }
    mv "$build.log" "$build/setup.log"
fi
ninja -C "$build" >"$build/ninja.log" || {
    cat "$build/ninja.log"
    exit 1
}
"$meson" install -C "$build" --no-rebuild >"$build/install.log"
"$python" -m compileall -q "$build/site" || true # fresh processes import it again and again
echo "$PWD/$build/site"
