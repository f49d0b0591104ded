#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks the formatting with clang-format 14, whose idea of .clang-format the tree follows.
cd "$1" || exit 1
version=$(clang-format --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
if [ "$version" != 14 ]; then
    echo "skipped: clang-format is ${version:-missing}, not 14"
    exit 77
fi
find src include tests examples bench fuzz python \( -name '*.[ch]' -o -name '*.cc' \) ! -name printable.h \
    -print0 | xargs -0 clang-format --dry-run -Werror
