#!/bin/sh
# SPDX-License-Identifier: MIT
# Compiles every public header alone, as C99 and as C++11: check_headers.sh ROOT CC [CXX]
set -eu
root=$1
cc=$2
cxx=${3:-}
for header in "$root"/include/multiproc.h "$root"/include/multiproc/*.h; do
    echo "#include \"$header\"" | $cc -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$root/include" \
        -fsyntax-only -x c -
    if [ -n "$cxx" ] && command -v "$cxx" >/dev/null 2>&1; then
        echo "#include \"$header\"" | "$cxx" -std=c++11 -Wall -Wextra -Wpedantic -Werror \
            -I"$root/include" -fsyntax-only -x c++ -
    fi
done
echo "all headers compile alone"
