#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares what a shared library exports with the headers and with tools/symbols.txt, both ways.

check_symbols.py ROOT LIBRARY [--update]
"""
import pathlib
import re
import subprocess
import sys


def main():
    root, library = pathlib.Path(sys.argv[1]), sys.argv[2]
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines()
                if line.split()[-2] not in "A"}
    declared = set()
    for path in (root / "include").rglob("*.h"):
        declared |= set(re.findall(r"MULTIPROC_API[^;(]*?\b(mp_\w+)\s*\(", path.read_text()))
    golden_path = root / "tools" / "symbols.txt"
    if "--update" in sys.argv:
        golden_path.write_text("".join(f"{name}\n" for name in sorted(exported)))
    golden = set(golden_path.read_text().split())
    problems = [f"declared, not exported: {n}" for n in sorted(declared - exported)]
    problems += [f"exported, not declared: {n}" for n in sorted(exported - declared)]
    problems += [f"in symbols.txt, not exported: {n}" for n in sorted(golden - exported)]
    problems += [f"exported, not in symbols.txt: {n}" for n in sorted(exported - golden)]
    print("\n".join(problems) or f"{len(exported)} symbols")
    return 1 if problems else 0


sys.exit(main())
