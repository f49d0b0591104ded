#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds and tests every configuration: gcc (with all checks), ASAN and UBSAN, clang, a debug build,
# musl, aarch64 under qemu-user, and the Python package.  The last line counts the tests.
set -u
cd "$(dirname "$0")/.."
meson=$(test -x /usr/bin/meson && echo /usr/bin/meson || echo meson)
passed=0
failed=0
skipped=0

note() {
    printf '\n== %s\n' "$*"
}

count() { # the closing lines of meson test
    passed=$((passed + $(awk '/^Ok:/ {print $2}' "$1" | tail -1)))
    failed=$((failed + $(awk '/^(Fail|Timeout|Unexpected Pass):/ {n += $NF} END {print n + 0}' "$1")))
    skipped=$((skipped + $(awk '/^Skipped:/ {print $2}' "$1" | tail -1)))
}

# configure DIR OPTIONS...: once; build; complain about either.
build() {
    dir=$1
    shift
    if [ ! -f "$dir/build.ninja" ] && ! "$meson" setup "$dir" "$@" >"$dir.log" 2>&1; then
        cat "$dir.log"
        return 1
    fi
    rm -f "$dir.log"
    if ! ninja -C "$dir" >"$dir/ninja.log" 2>&1; then
        grep -E 'error|warning|FAILED|undefined' "$dir/ninja.log" || cat "$dir/ninja.log"
        return 1
    fi
}

# run NAME DIR "MESON TEST ARGUMENTS" OPTIONS...
run() {
    name=$1
    dir=$2
    arguments=$3
    shift 3
    note "$name"
    if ! build "$dir" "$@"; then
        echo "$name: does not build"
        failed=$((failed + 1))
        return
    fi
    # shellcheck disable=SC2086
    "$meson" test -C "$dir" --no-rebuild --print-errorlogs $arguments >"$dir/test.log" 2>&1
    grep -vE '^(ninja|Full log|$)' "$dir/test.log"
    count "$dir/test.log"
}

have() {
    command -v "$1" >/dev/null 2>&1 && return 0
    echo "skipped: there is no $1"
    skipped=$((skipped + 1))
    return 1
}

common="-Dtests=true -Dwerror_ci=true"
run "gcc, release" build-test "" $common
run "gcc, ASAN and UBSAN" build-asan "--suite unit --suite system --suite fault" $common \
    -Db_sanitize=address,undefined -Db_lundef=false --buildtype=debugoptimized
note "gcc, debug" && build build-debug $common --buildtype=debug && echo "builds" ||
    failed=$((failed + 1))
if have clang; then
    run "clang, release" build-clang "--suite unit --suite system" $common \
        --native-file tools/clang.ini
fi
if have musl-gcc; then
    run "musl" build-musl "--suite unit --suite system --suite fault" $common -Dcheck=disabled \
        -Dcrypto=disabled \
        --native-file tools/musl.ini
fi
if have aarch64-linux-gnu-gcc && have qemu-aarch64; then
    run "aarch64 under qemu-user" build-aarch64 "--suite unit --suite emulated" $common \
        -Dcrypto=disabled \
        -Dcheck=disabled --cross-file tools/aarch64.ini
fi

# The Python package: our tests of it, and CPython's own.
python_tests() {
    python=$1
    if ! site=$(tools/python.sh "$python" | tail -1) || [ ! -d "$site" ]; then
        echo "the package does not build for $python"
        failed=$((failed + 1))
        return
    fi
    if "$python" -c 'import pytest' 2>/dev/null; then
        MULTIPROC_SITE=$site "$python" -B -m pytest -q -p no:cacheprovider \
            tests/conformance/test_package.py tests/python >"$site/../pytest.log" 2>&1 || cat "$site/../pytest.log"
        tail -1 "$site/../pytest.log"
        passed=$((passed + $(sed -n 's/^\([0-9]*\) passed.*/\1/p;s/.* \([0-9]*\) passed.*/\1/p' "$site/../pytest.log" | tail -1)))
        tail -1 "$site/../pytest.log" | grep -qE '(^| )[0-9]+ (failed|error)' && failed=$((failed + 1))
    fi
    tools/check_wheel.sh "$python" >"$site/../wheel.log" 2>&1
    case $? in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    cat "$site/../wheel.log"
    "$python" tools/python_suite.py "$python" "$site" tests/conformance/deviations.txt \
        test_multiprocessing_fork test_multiprocessing_spawn test_multiprocessing_forkserver \
        test_multiprocessing_main_handling test_concurrent_futures >"$site/../suite.log" 2>&1
    case $? in
    0) passed=$((passed + $(sed -n 's/^\([0-9]*\) tests, .*/\1/p' "$site/../suite.log" | tail -1))) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) && tail -n 200 "$site/../suite.log" ;;
    esac
    grep -E '^(test_|skipped|[0-9]+ tests)' "$site/../suite.log" | grep -E 'deviations|skipped'
}

python=$(test -x /usr/bin/python3 && echo /usr/bin/python3 || command -v python3)
note "Python package, $("$python" --version 2>&1)"
python_tests "$python"
if [ -n "${MULTIPROC_TEST_LONG:-}" ]; then
    for python in ${MULTIPROC_PYTHONS:-python3.9 python3.10 python3.12 python3.13}; do
        command -v "$python" >/dev/null 2>&1 || continue
        note "Python package, $("$python" --version 2>&1)"
        python_tests "$(command -v "$python")"
    done
fi

printf '\n%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
