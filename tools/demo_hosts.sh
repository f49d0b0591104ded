#!/bin/sh
# SPDX-License-Identifier: MIT
# Jobs between two hosts: a manager serves a queue on one, workers connect from the other, one of them is
# killed with a job, which another one does.  The hosts are two network namespaces where the rights allow
# that, else this machine's loopback.  demo_hosts.sh BUILD_DIR
set -u

program=$1/examples/c/remote_jobs
[ -x "$program" ] || {
    echo "remote_jobs: not built (it needs libcrypto)"
    exit 0
}
here="" there="" address=127.0.0.1
a=mpa$$ b=mpb$$

cleanup() {
    ip netns del "$a" 2>/dev/null
    ip netns del "$b" 2>/dev/null
}

two_hosts() {
    command -v ip >/dev/null 2>&1 || return 1
    ip netns add "$a" 2>/dev/null && ip netns add "$b" 2>/dev/null &&
        ip -n "$a" link add veth0 type veth peer name veth0 netns "$b" 2>/dev/null &&
        ip -n "$a" addr add 10.77.0.1/24 dev veth0 && ip -n "$b" addr add 10.77.0.2/24 dev veth0 &&
        ip -n "$a" link set veth0 up && ip -n "$b" link set veth0 up &&
        ip -n "$a" link set lo up
}

trap cleanup EXIT
if two_hosts; then
    here="ip netns exec $a" there="ip netns exec $b" address=10.77.0.1
    echo "two hosts: 10.77.0.1 serves, 10.77.0.2 works"
else
    cleanup
    echo "one host (no right to make network namespaces): all on 127.0.0.1"
fi
out=$(mktemp)
$here "$program" serve "$address:0" "a secret" >"$out" &
server=$!
for _ in $(seq 1 100); do
    grep -q listening "$out" && break
    sleep 0.1
done
at=$(sed -n 's/listening at //p' "$out")
$there "$program" work "$at" "another secret" 2>&1 | sed 's/^/a worker with another key: /'
$there "$program" work "$at" "a secret" die >/dev/null 2>&1 # killed in the middle of its third job
echo "a worker was killed with a job (status $?)"
$there "$program" work "$at" "a secret" &
first=$!
$there "$program" work "$at" "a secret" &
second=$!
wait "$server"
status=$?
wait "$first"
wait "$second"
cat "$out"
rm -f "$out"
exit $status
