#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the sources: layers, file and function lengths, heads, banned functions, documented exports.

check_source.py ROOT: prints every breach and exits with 1 if there is one.
"""
import pathlib
import re
import sys

LAYERS = {"base": 0, "os": 1, "arena": 2, "sync": 3, "value": 4, "channel": 4, "process": 5,
          "pool": 6, "manager": 6}
# Folders of one layer that may include each other in one direction.
ALLOWED = {("channel", "value")}
MAX_FILE = 800
MAX_FUNCTION = 60
# One switch over the opcodes of pickle: a table in all but name.
LONG_FUNCTIONS = {"opcode"}
BANNED = {
    r"\bwaitpid\s*\(\s*-1": "waits for children of others: wait on a pidfd",
    r"\bsystem\s*\(": "runs a shell",
    r"(?<![\w.>])signal\s*\(": "changes a disposition of the host",
    r"\bstrtok\s*\(": "keeps state: strtok_r",
    r"\b(strcpy|strcat|sprintf|gets)\s*\(": "knows no size: snprintf, memcpy",
    r"\bsleep\s*\(|\busleep\s*\(": "guesses a time: wait for the event",
}


def strip(text):
    """Blanks comments and strings, keeping lines."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def check_layers(path, folder, text, problems):
    for line, included in re.findall(r'^(#include "([^"]+)")', text, flags=re.M):
        other = included.split("/")[0]
        if other == folder or other not in LAYERS:
            if "/" not in included:
                problems.append(f"{path}: {line}: name the folder")
            continue
        if LAYERS[other] > LAYERS[folder] or (
                LAYERS[other] == LAYERS[folder] and (folder, other) not in ALLOWED):
            problems.append(f"{path}: {line}: layer {folder} may not include {other}")


def check_lengths(path, code, problems):
    lines = code.split("\n")
    if len(lines) > MAX_FILE:
        problems.append(f"{path}: {len(lines)} lines, at most {MAX_FILE}")
    start = name = None
    for i, line in enumerate(lines):
        if line == "{" and i:
            head = " ".join(lines[max(0, i - 3):i])
            found = re.findall(r"(\w+)\s*\(", head)
            start, name = i, (found[0] if found else "?")
        elif line == "}" and start is not None:
            if i - start - 1 > MAX_FUNCTION and name not in LONG_FUNCTIONS:
                problems.append(f"{path}: {name}() has {i - start - 1} lines, at most {MAX_FUNCTION}")
            start = None


def check_source(root, problems):
    for path in sorted((root / "src").rglob("*.[ch]")):
        text = path.read_text()
        folder = path.relative_to(root / "src").parts[0]
        if not text.startswith("/* SPDX-License-Identifier: MIT */\n/*"):
            problems.append(f"{path}: the head is an SPDX line and what the file owns")
        check_layers(path, folder, text, problems)
        code = strip(text)
        check_lengths(path, code, problems)
        for pattern, why in BANNED.items():
            if re.search(pattern, code):
                problems.append(f"{path}: {re.search(pattern, code).group(0)!r}: {why}")
        if folder != "os" and re.search(r"#include <sys/(?!types|uio|single)", text):
            problems.append(f"{path}: system calls belong to src/os")
    names = [p.name for p in (root / "src").rglob("*.[ch]")]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(f"{name}: the name stands twice in the tree")


def exported(root):
    names = {}
    for path in sorted((root / "include").rglob("*.h")):
        for block in re.split(r"\n\s*\n", path.read_text()):
            for name in re.findall(r"MULTIPROC_API[^;(]*?\b(mp_\w+)\s*\(", block):
                documented = block.lstrip().startswith("/*") or block.lstrip().startswith("MULTIPROC_BEGIN")
                names[name] = (path, documented)
    return names


def main():
    root = pathlib.Path(sys.argv[1])
    problems = []
    check_source(root, problems)
    for name, (path, documented) in exported(root).items():
        if not documented:
            problems.append(f"{path}: {name}() has no comment")
    for p in problems:
        print(p)
    print(f"{len(problems)} breaches")
    return 1 if problems else 0


sys.exit(main())
