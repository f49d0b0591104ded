#!/bin/sh
# SPDX-License-Identifier: MIT
# A program of a user, outside of the tree: installs, compiles with pkg-config, runs.
# check_install.sh BUILD_DIR CC
set -eu
build=$1
cc=$2
meson=$(test -x /usr/bin/meson && echo /usr/bin/meson || echo meson)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
DESTDIR="$dir/root" "$meson" install -C "$build" --no-rebuild >/dev/null
pc=$(find "$dir/root" -name multiproc.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR="$dir/root"
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
cat >"$dir/prog.c" <<'EOF'
#include <multiproc.h>
#include <stdio.h>
MP_TARGET(child, (mp_connection *, c), (int, n))
{
    return mp_connection_send(c, mp_list_of(mp_v(n), mp_value_none(), mp_v("hello")), MP_FOREVER);
}
int main(int argc, char **argv)
{
    mp_main(argc, argv);
    mp_connection *ours, *theirs;
    mp_value *v;
    if (mp_pipe(1, &ours, &theirs) < 0)
        return 1;
    mp_process *p = MP_PROCESS_IN(mp_get_context("spawn"), child, theirs, 42);
    if (!p || mp_process_start(p) < 0 || mp_connection_recv(ours, &v, MP_SECONDS(10)) < 0)
        return 1;
    char *text = mp_value_repr(v);
    puts(text);
    return mp_process_join(p, MP_SECONDS(10)) < 0;
}
EOF
# shellcheck disable=SC2046
$cc "$dir/prog.c" -o "$dir/prog" $(pkg-config --cflags --libs multiproc)
LD_LIBRARY_PATH=$(dirname "$(find "$dir/root" -name 'libmultiproc.so' | head -1)") "$dir/prog" >"$dir/out"
cat "$dir/out"
[ "$(cat "$dir/out")" = "[42, None, 'hello']" ]
