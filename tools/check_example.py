#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs an example with a start method and compares what it prints with what is expected.

    check_example.py PROGRAM METHOD EXPECTED_DIR

The expectation is EXPECTED_DIR/NAME.METHOD.txt, or NAME.txt when there is none.  It is made of
sections: a line "# ordered" or "# unordered" starts one, and says whether the order of its lines
matters; the sections follow one another.  Every other line is a regular expression for one whole
line of output.  A named group may be referred to with (?P=name) in later lines.  The program must
print these lines and no others, nothing on standard error, and end with exit status 0.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import List, Optional, Tuple

TIMEOUT = 60

Section = Tuple[bool, List[str]]


def read_sections(path: Path) -> list[Section]:
    sections: list[Section] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line in ("# ordered", "# unordered"):
            sections.append((line == "# ordered", []))
        elif not sections:
            raise SystemExit(f"{path}: the first line must be '# ordered' or '# unordered'")
        else:
            sections[-1][1].append(line)
    return sections


def match_line(pattern: str, line: str, groups: dict[str, str]) -> bool:
    """Whether the line is as expected; adds its named groups to those that are known."""
    for name, text in groups.items():
        pattern = pattern.replace(f"(?P={name})", f"(?:{re.escape(text)})")
    found = re.fullmatch(pattern, line)
    if found:
        groups.update(found.groupdict())
    return bool(found)


def compare(sections: list[Section], lines: list[str]) -> Optional[str]:
    """None, or what is wrong."""
    groups: dict[str, str] = {}
    rest = list(lines)
    for ordered, patterns in sections:
        left = list(patterns)
        while left:
            if not rest:
                return f"missing: {left[0]}"
            candidates = left[:1] if ordered else left
            pattern = next((p for p in candidates if match_line(p, rest[0], groups)), None)
            if pattern is None:
                return f"not expected here: {rest[0]!r}; expected: {' | '.join(candidates)}"
            left.remove(pattern)
            rest.pop(0)
    return f"more than expected: {rest[0]!r}" if rest else None


def run(program: str, method: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error.  Reads to the end of both, and so waits for
    everybody who could still print."""
    child = subprocess.Popen(
        [program, method],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # its own session, made above
        out, err = child.communicate(timeout=TIMEOUT)
        err += f"(killed after {TIMEOUT} seconds)\n"
    return child.returncode, out, err


def main() -> int:
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    program, method, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    name = Path(program).name
    expected = folder / f"{name}.{method}.txt"
    if not expected.exists():
        expected = folder / f"{name}.txt"
    status, out, err = run(program, method)
    wrong = compare(read_sections(expected), out.splitlines())
    if status != 0:
        wrong = wrong or f"exit status {status}"
    if err:
        wrong = wrong or "it wrote to standard error"
    if wrong:
        print(f"{name} {method}: {wrong}\n--- output:\n{out}--- errors:\n{err}", end="")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
