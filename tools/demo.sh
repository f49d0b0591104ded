#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every example under every start method and shows what it prints: demo.sh BUILD_DIR
set -u

[ $# -eq 1 ] && [ -d "$1/examples/c" ] || {
    echo "usage: $0 BUILD_DIR" >&2
    exit 2
}
MULTIPROC_EXAMPLE_SECONDS=${MULTIPROC_EXAMPLE_SECONDS:-0.2}
export MULTIPROC_EXAMPLE_SECONDS
status=0
for program in hello hello_info square_and_cube workers do_stuff do_stuff_many daemon_child \
    global_number global_inherited start_methods pipe_hello queue_hello queue_context \
    queue_workers joinable_jobs barrier_rounds pool_square pool_checksums pool_imap remote_jobs \
    plain_functions host_hooks cxx_hello; do
    path=$1/examples/c/$program
    if [ ! -x "$path" ]; then
        case $program in # built where there is a C++ compiler, or libcrypto
        cxx_hello | remote_jobs) continue ;;
        esac
        echo "$program: not built" >&2
        status=1
        continue
    fi
    for method in fork spawn forkserver; do
        printf '\n== %s, %s\n' "$program" "$method"
        "$path" "$method" || {
            echo "$program $method: exit status $?" >&2
            status=1
        }
    done
done
printf '\n== remote_jobs between two hosts\n'
"$(dirname "$0")/demo_hosts.sh" "$1" || {
    echo "remote_jobs between two hosts: exit status $?" >&2
    status=1
}
exit $status
