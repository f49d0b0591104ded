#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the packages that are missing, with apt: "setup.sh build", "setup.sh test", "setup.sh bench",
# "setup.sh python".
# Prints what it installs, and nothing when everything is there.
set -eu

packages="gcc libc6-dev libssl-dev meson ninja-build pkg-config python3"
commands="cc meson ninja python3"
case "${1:-build}" in
test | bench)
    packages="$packages g++ clang clang-format check libsubunit-dev python3-pytest python3-hypothesis
        musl-tools spin gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
        python3-mesonpy python3-pip python3-venv
        python3-joblib python3-pebble python3-cloudpickle python3-coverage mypy"
    ;;
esac
case "${1:-build}:${PYTHON:-python3}" in
test:* | python:python3 | bench:python3) packages="$packages python3-dev" ;;
esac
case "${1:-build}" in
test) # CPython's own tests, where Debian has them apart
    for v in 3.11 3.12 3.13; do
        if apt-cache show "libpython$v-testsuite" >/dev/null 2>&1; then
            packages="$packages libpython$v-testsuite"
            break
        fi
    done
    ;;
bench)
    packages="$packages libboost-dev libzmq3-dev libnng-dev python3-numpy python3-joblib
        python3-mpi4py openmpi-bin redis-server libhiredis-dev"
    ;;
esac

if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    for c in $commands; do
        if ! command -v "$c" >/dev/null 2>&1; then
            echo "There is no apt here, and '$c' is missing. Install the equivalents of these" \
                "Debian packages, then run make again:" >&2
            echo "  $packages" | tr -s ' \n' ' ' >&2
            echo >&2
            exit 1
        fi
    done
    exit 0
fi

missing=""
for p in $packages; do
    status=$(dpkg-query -W -f='${Status}' "$p" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $p"
done
# The sanitizer and fuzzer runtimes of clang are in a package named after its version.
if [ "${1:-build}" != build ] && command -v clang >/dev/null 2>&1; then
    version=$(clang -dumpversion | cut -d. -f1)
    dpkg-query -W "libclang-rt-$version-dev" >/dev/null 2>&1 ||
        missing="$missing libclang-rt-$version-dev"
fi
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "These packages are missing, and neither are you root nor is there sudo:$missing" >&2
        exit 1
    fi
    sudo="sudo"
fi
echo "Installing:$missing"
install="env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
if ! $sudo $install $missing >/dev/null 2>&1; then
    $sudo apt-get update -qq
    $sudo $install $missing >/dev/null
fi
