#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Owns the measurement of multiproc beside the interpreter's own multiprocessing, and other peers.

    bench_python.py [--quick] [--json FILE] [--only PATTERN] [--list] SITE

SITE is the folder that has the package.  Each figure comes from a fresh interpreter that uses one
library only.  A first run of each side finds how many operations fill the time, and its figure is
dropped.  Then the sides take turns; what counts is the median of each.  A side that fails is named,
and its row left out: the exit code is 1 if that side was multiproc.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from python_cases import FASTER_FIFO_TARGET, Case, cases

BENCH = "bench_python"
RUN = Path(__file__).resolve().parent / "python" / "run.py"
OURS, STOCK = "multiproc", "multiprocessing"
NAMES = {"joblib": "joblib (loky)", "mpi": "mpi4py", "faster_fifo": "faster-fifo"}
MODULES = {"joblib": "joblib", "mpi": "mpi4py", "faster_fifo": "faster_fifo"}
TIMEOUT = 120  # seconds for one measurement, after which it counts as hung
NEARLY = 0.95

Line = Dict[str, Any]


class Failed(Exception):
    """A measurement that ended without a figure."""


class Options(argparse.Namespace):
    site: Path
    quick: bool
    json: Optional[Path]
    only: Optional["re.Pattern[str]"]
    list: bool


# ---- one measurement ----


def environment(site: Path) -> Dict[str, str]:
    """One thread for numpy's own loops; MPI accepts the superuser."""
    path = os.pathsep.join([str(site), str(RUN.parent)])
    return dict(
        os.environ,
        PYTHONPATH=path,
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    )


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"


def end_session(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stdout:
        process.stdout.close()


def execute(command: List[str], site: Path) -> str:
    """What the command printed.  When it hangs or fails, its whole session is ended."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment(site), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors, universal_newlines=True, start_new_session=True,
        )
        try:
            text = process.communicate(timeout=TIMEOUT)[0]
        except subprocess.TimeoutExpired:
            raise Failed(f"it has not ended after {TIMEOUT} seconds") from None
        finally:
            if process.returncode != 0:
                end_session(process)
        errors.seek(0)
        if process.returncode:
            raise Failed(f"exit code {process.returncode}: {last_line(errors.read())}")
    return text


def measure(side: str, case: Case, n: int, site: Path) -> float:
    """The seconds that one operation took."""
    command = [sys.executable, str(RUN), side, case.run, str(n)]
    if side == "mpi":
        command = ["mpiexec", "-n", "2", "--oversubscribe"] + command
    text = execute(command, site)
    try:
        return float(last_line(text))
    except ValueError:
        raise Failed(f"not a figure: {last_line(text)}") from None


# ---- one case ----


class Side:
    """A library in one case: how many operations it is given, and what they took."""

    def __init__(self, name: str, case: Case, site: Path) -> None:
        self.name, self.case, self.site = name, case, site
        self.n = case.first
        self.seconds: List[float] = []
        self.failure = ""

    def run(self) -> Optional[float]:
        if self.failure:
            return None
        try:
            return measure(self.name, self.case, self.n, self.site)
        except Failed as error:
            self.failure = str(error)
            return None

    def first(self, fill: float) -> None:
        """Sets n so that a run takes about `fill` seconds."""
        seconds = self.run()
        if seconds:
            least = min(self.case.first, 2)
            self.n = max(least, min(self.case.most, int(fill / seconds)))

    def again(self) -> None:
        seconds = self.run()
        if seconds:
            self.seconds.append(seconds)

    def figure(self) -> float:
        """In the unit of the case."""
        seconds = statistics.median(self.seconds)
        return {"us": seconds * 1e6, "ms": seconds * 1e3}.get(self.case.unit, 1 / seconds)


def run_case(case: Case, peers: List[str], options: Options) -> List[Side]:
    """Our side, the stock one and the peers, after their rounds."""
    sides = [Side(name, case, options.site) for name in [OURS, STOCK] + peers]
    rounds, fill = (3, 0.1) if options.quick else (7, 0.3)
    for side in sides:
        side.first(fill)
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            side.again()
    return sides


def result(case: Case, ours: Side, peer: Side) -> Line:
    against = peer.name if peer.name == STOCK else NAMES[peer.name]
    target = case.target if peer.name == STOCK else None
    if peer.name == "faster_fifo":
        target = FASTER_FIFO_TARGET
    ratios = [theirs / mine for mine, theirs in zip(ours.seconds, peer.seconds)]
    return {
        "bench": BENCH,
        "group": case.group,
        "case": f"{case.group}: {case.work}; against {against}",
        "work": case.work,
        "against": against,
        "ours": ours.figure(),
        "peer": peer.figure(),
        "unit": case.unit,
        "ratio": statistics.median(peer.seconds) / statistics.median(ours.seconds),
        "lowest": min(ratios),
        "highest": max(ratios),
        "target": target,
        "picture": peer.name == STOCK,
    }


# ---- what is printed and written ----


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def met(line: Line) -> str:
    if not line["target"]:
        return ""
    share = line["ratio"] / line["target"]
    return "yes" if share >= 1 else "nearly" if share >= NEARLY else "no"


HEAD = ("work", "against", "ours", "peer", "unit", "speed", "lowest", "highest", "target", "met")
ROW = "{:<51} {:<15} {:>10} {:>10} {:<10} {:>7} {:>7} {:>7} {:>6} {}"


def print_line(line: Line) -> None:
    target = f"{line['target']:.1f}" if line["target"] else ""
    speeds = [f"{line[key]:.2f}" for key in ("ratio", "lowest", "highest")]
    print(ROW.format(line["work"], line["against"], figure(line["ours"]), figure(line["peer"]),
                     line["unit"], *speeds, target, met(line)).rstrip(), flush=True)


def left_out(group: str, work: str, text: str, detail: str = "") -> Line:
    """What the tables say of a row, or of all rows of a group if work is empty."""
    text = f"{work}: {text}" if work else text
    print(f"left out: {text}" + (f" ({detail})" if detail else ""), flush=True)
    return {"bench": BENCH, "group": group, "work": work, "left_out": text}


def report(case: Case, sides: List[Side]) -> List[Line]:
    lines = []
    ours = sides[0]
    for side in sides:
        if side.failure or not side.seconds:
            text = f"{NAMES.get(side.name, side.name)} failed"
            lines.append(left_out(case.group, case.work, text, side.failure))
    for peer in sides[1:]:
        if ours.seconds and peer.seconds and not ours.failure and not peer.failure:
            lines.append(result(case, ours, peer))
            print_line(lines[-1])
    return lines


def software(versions: Dict[str, str]) -> str:
    names = [f"{platform.python_implementation()} {platform.python_version()}"]
    return ", ".join(names + [f"{name} {version}" for name, version in versions.items()])


def machine(versions: Dict[str, str], quick: bool) -> Line:
    return {
        "bench": BENCH,
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "architecture": platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "software": software(versions),
        "length": "quick" if quick else "full",
    }


def write(path: Path, head: Line, lines: List[Line], done: List[Case]) -> None:
    """Keeps what the file has of cases that were not measured now."""
    old: List[Line] = []
    if path.exists():
        old = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text]
    order = [case.work for case in cases()]
    again = {(case.group, work) for case in done for work in (case.work, "")}
    kept = [
        line for line in old
        if line.get("work") in order + [""] and (line["group"], line["work"]) not in again
    ]
    if kept and any(line.get("length") == "quick" for line in old):
        head["length"] = "quick"
    every = sorted(kept + lines, key=lambda line: place(line, order))
    text = "".join(json.dumps(line) + "\n" for line in [head] + every)
    path.write_text(text, encoding="utf-8")


def place(line: Line, order: List[str]) -> int:
    return order.index(line["work"]) if line["work"] else len(order)


# ---- all of it ----


def versions_of(site: Path) -> Dict[str, str]:
    """Of numpy and the peers, those that can be imported and run."""
    found = {}
    for name, module in [("numpy", "numpy")] + list(MODULES.items()):
        if name == "mpi" and not shutil.which("mpiexec"):
            continue
        code = f"import {module} as m; print(getattr(m, '__version__', ''))"
        try:
            found[name] = execute([sys.executable, "-c", code], site).strip()
        except Failed:
            pass
    return found


def choose(options: Options) -> List[Case]:
    only = options.only
    return [c for c in cases() if not only or only.search(f"{c.group}: {c.work}")]


def run_all(chosen: List[Case], found: Dict[str, str], options: Options) -> Tuple[List[Line], bool]:
    """The lines, and whether multiproc came through all of it."""
    lines: List[Line] = []
    good = True
    for case in chosen:
        if case.needs_numpy and "numpy" not in found:
            lines.append(left_out(case.group, case.work, "there is no numpy"))
            continue
        peers = [peer for peer in case.peers if peer in found]
        for peer in case.peers:
            text = f"{NAMES[peer]} is not installed"
            seen = any(l["group"] == case.group and l.get("left_out") == text for l in lines)
            if peer not in found and not seen:
                lines.append(left_out(case.group, "", text))
        sides = run_case(case, peers, options)
        good = good and not sides[0].failure
        lines += report(case, sides)
    return lines, good


def arguments() -> Options:
    parser = argparse.ArgumentParser(description="multiproc beside multiprocessing.")
    parser.add_argument("site", type=Path, metavar="SITE", help="the folder that has the package")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="lines for bench_picture.py")
    parser.add_argument("--only", type=lambda text: re.compile(text, re.IGNORECASE),
                        metavar="PATTERN", help="what matches in 'group: work'")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    return parser.parse_args(namespace=Options())


def main() -> int:
    options = arguments()
    options.site = options.site.resolve()
    chosen = choose(options)
    if options.list or not chosen:
        for case in chosen or cases():
            print(f"{case.group}: {case.work}")
        return 0 if options.list else 1
    found = versions_of(options.site)
    print(ROW.format(*HEAD), flush=True)
    lines, good = run_all(chosen, found, options)
    named = {MODULES.get(name, name): version for name, version in found.items()}
    if options.json:
        write(options.json, machine(named, options.quick), lines, chosen)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
