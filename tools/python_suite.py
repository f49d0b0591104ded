#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs CPython's own tests of multiprocessing against the package, also in the processes they start.

    python_suite.py PYTHON SITE DEVIATIONS TEST_MODULE...

SITE is the folder that has the package.  DEVIATIONS lists the test methods that are expected to fail, one
on a line, each with its reason; a failure that is not listed is an error, and so is a listed method that
passes everywhere it ran.  The last line counts.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIMEOUT = 1500


def read_deviations(path: Path) -> dict[str, str]:
    deviations = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            method, _, reason = line.partition(":")
            deviations[method.strip()] = reason.strip()
    return deviations


def run(python: str, site: Path, module: str) -> tuple[int, set[str], str]:
    """Number of tests, the methods that failed, and the output."""
    environment = dict(os.environ, PYTHONPATH=str(site / "multiproc" / "path"))
    done = subprocess.run(
        [python, "-m", "test", "-v", module],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=TIMEOUT, check=False,
    )
    ran = sum(int(n) for n in re.findall(r"^Ran (\d+) tests?", done.stdout, re.M))
    failed = set(re.findall(r"^(?:ERROR|FAIL): (\w+) \(", done.stdout, re.M))
    if done.returncode != 0 and not failed:
        failed.add(f"{module} as a whole")
    return ran, failed, done.stdout


def main() -> int:
    python, site, listed = sys.argv[1], Path(sys.argv[2]), read_deviations(Path(sys.argv[3]))
    probe = subprocess.run([python, "-c", "import test._test_multiprocessing"],
                           capture_output=True, check=False)
    if probe.returncode != 0:
        print("skipped: the interpreter has no test-suite")
        return 77
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background; tests interrupt
    total, seen, unexpected = 0, set(), []
    modules = sys.argv[4:]
    with ThreadPoolExecutor(2) as threads:  # they mostly wait
        results = list(threads.map(lambda module: run(python, site, module), modules))
    for module, (ran, failed, output) in zip(modules, results):
        total += ran
        seen |= failed & set(listed)
        new = sorted(failed - set(listed))
        print(f"{module}: {ran} tests, deviations: {', '.join(sorted(failed & set(listed))) or 'none'}")
        if new:
            unexpected += new
            print(output)
            print(f"{module}: not expected to fail: {', '.join(new)}")
    print(f"{total} tests, {len(seen)} deviations, {len(unexpected)} failures")
    return 1 if unexpected or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
