#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns the result lines of the benchmarks into a picture and a table.

Usage: bench_picture.py [--out DIRECTORY] FILE...

Reads the files that the benchmarks write with --json, and writes speedup.svg (the ratios of
speed, ours over the peer's, on a logarithmic axis) and results.md.  Of several results of one case
the last one counts.  Nothing in the output tells when or on which machine it was measured.
"""

import argparse
import json
import math
import sys
from html import escape
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

Line = Dict[str, Any]

TITLES = {
    "bench_start": "Starting processes",
    "bench_pipe": "Pipes",
    "bench_locks": "Locks",
    "bench_queue": "Queues",
    "bench_pool": "Pools",
}

WIDTH = 960
LABELS = 470  # where the bars begin
NUMBERS = 80  # what is kept free behind them
ROW = 20
BAR = 12
HEAD = 30

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.group { font-weight: 600; }
.soft { fill: #57606a; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.one { stroke: #24292f; stroke-width: 1.5; }
.faster { fill: #2da44e; }
.slower { fill: #bc4c00; }
.target { stroke: #24292f; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .soft { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .one, .target { stroke: #e6edf3; }
  .faster { fill: #3fb950; }
  .slower { fill: #db6d28; }
}
"""


def read_lines(paths: Iterable[Path]) -> Tuple[List[Line], List[Line], List[Line]]:
    """The results, one for each case, the environments, one for each benchmark, and what is missing."""
    results: Dict[Tuple[str, str], Line] = {}
    environments: Dict[str, Line] = {}
    missing: List[Line] = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    line = json.loads(text)
                    if "case" in line:
                        float(line["ratio"])
                        results[line["bench"], line["case"]] = line
                    elif "left_out" in line:
                        missing.append(line)
                    else:
                        environments[line["bench"]] = line
                except (ValueError, KeyError, TypeError) as error:
                    where = f"{path}:{number}"
                    raise SystemExit(f"{where}: not a result: {error}") from error
    return list(results.values()), list(environments.values()), missing


def groups_of(results: Iterable[Line]) -> Dict[str, List[Line]]:
    groups: Dict[str, List[Line]] = {}
    for line in results:
        groups.setdefault(line["bench"], []).append(line)
    return groups


def title_of(bench: str) -> str:
    return TITLES.get(bench, bench)


def work_of(line: Line) -> str:
    return str(line.get("work", line["case"]))


# ---- the picture ----


class Axis:
    """A logarithmic axis of ratios that has 1.0 on it."""

    def __init__(self, ratios: List[float]) -> None:
        self.low = min([0.5] + [r / 1.1 for r in ratios])
        self.high = max([2.0] + [r * 1.1 for r in ratios])

    def x(self, ratio: float) -> float:
        share = math.log(ratio / self.low) / math.log(self.high / self.low)
        return LABELS + share * (WIDTH - NUMBERS - LABELS)

    def ticks(self) -> List[float]:
        ticks = [10.0**e * m for e in range(-3, 4) for m in (1, 2, 5)]
        inside = [t for t in ticks if self.low <= t <= self.high]
        # A wide range shows fewer marks.
        if len(inside) <= 9:
            return inside
        return [t for t in inside if round(math.log10(t), 6) % 1 == 0]


def draw_bar(line: Line, axis: Axis, y: float) -> List[str]:
    ratio = float(line["ratio"])
    x, one = axis.x(ratio), axis.x(1)
    kind = "faster" if ratio >= 1 else "slower"
    middle = y + ROW / 2
    out = [
        f'<text x="{LABELS - 12}" y="{middle + 4:.0f}" text-anchor="end">{escape(work_of(line))}'
        f'<title>{escape(line["case"])}</title></text>',
        f'<rect class="{kind}" x="{min(x, one):.1f}" y="{middle - BAR / 2:.1f}" '
        f'width="{max(abs(x - one), 1):.1f}" height="{BAR}" rx="2"/>',
    ]
    right = max(x, one)
    if line.get("target"):
        at = axis.x(float(line["target"]))
        out.append(
            f'<line class="target" x1="{at:.1f}" x2="{at:.1f}" y1="{middle - ROW / 2 + 1:.1f}" '
            f'y2="{middle + ROW / 2 - 1:.1f}"/>'
        )
        if 0 <= at - right < 45:  # the number stands behind the mark
            right = at
    out.append(f'<text x="{right + 6:.1f}" y="{middle + 4:.0f}">{ratio:.2f}</text>')
    return out


def draw(results: List[Line]) -> str:
    shown = [line for line in results if line.get("picture", True) and float(line["ratio"]) > 0]
    values = [float(line["ratio"]) for line in shown]
    values += [float(line["target"]) for line in shown if line.get("target")]
    axis = Axis(values)
    body: List[str] = []
    y = 74.0
    top = y
    for bench, lines in groups_of(shown).items():
        against = sorted({str(line.get("against", "")) for line in lines} - {""})
        peer = f", against {against[0]}" if len(against) == 1 else ""
        body.append(
            f'<text class="group" x="16" y="{y + 20:.0f}">{escape(title_of(bench) + peer)}</text>'
        )
        y += HEAD
        for line in lines:
            body += draw_bar(line, axis, y)
            y += ROW
    grid = []
    for tick in axis.ticks():
        x = axis.x(tick)
        kind = "one" if tick == 1 else "grid"
        grid.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.0f}" y2="{y:.0f}"/>')
        grid.append(
            f'<text class="soft" x="{x:.1f}" y="{top - 6:.0f}" text-anchor="middle">{tick:g}</text>'
        )
    height = y + 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="Speed against peers">',
            f"<style>{STYLE}</style>",
            '<text class="title" x="16" y="26">Speed of libmultiproc over its peers</text>',
            '<text class="soft" x="16" y="44">More is better; 1 is as fast as the peer; the '
            "upright mark on a row is its target.</text>",
            *grid,
            *body,
            "</svg>",
            "",
        ]
    )


# ---- the table ----


def number(value: Any) -> str:
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def met(line: Line) -> str:
    if not line.get("target"):
        return ""
    share = float(line["ratio"]) / float(line["target"])
    return "yes" if share >= 1 else "nearly" if share >= 0.95 else "no"


def cell(text: Any) -> str:
    return str(text).replace("|", "\\|")


def describe(environments: List[Line]) -> List[str]:
    seen = []
    for line in environments:
        text = (
            f"{line.get('kernel', 'unknown kernel')}, {line.get('architecture', '')}, "
            f"{line.get('processors', '?')} processors, {line.get('compiler', 'unknown compiler')}"
        )
        if line.get("length") == "quick":
            text += " (a quick run: rough figures)"
        if text not in seen:
            seen.append(text)
    return [f"Measured on {text}." for text in seen]


def tabulate(results: List[Line], environments: List[Line], missing: List[Line]) -> str:
    out = ["<!-- Made by tools/bench_picture.py -->", "# Results of the benchmarks", ""]
    out += describe(environments)
    out += [
        "",
        "Medians of rounds that alternate between the two.  Speed is ours over the peer's: more is",
        "better, also where the figures are times.  Target is the least speed that was asked for.",
        "",
        "![speed over the peers](speedup.svg)",
    ]
    for bench, lines in groups_of(results).items():
        out += ["", f"## {title_of(bench)}", ""]
        out += ["| work | against | ours | peer | unit | speed | target | met |"]
        out += ["| --- | --- | ---: | ---: | --- | ---: | ---: | --- |"]
        for line in lines:
            target = f"{float(line['target']):.2f}" if line.get("target") else ""
            fields = [
                cell(work_of(line)),
                cell(line.get("against", "")),
                number(line["ours"]),
                number(line["peer"]),
                cell(line["unit"]),
                f"{float(line['ratio']):.2f}",
                target,
                met(line),
            ]
            out.append("| " + " | ".join(fields) + " |")
        out += [f"\nLeft out: {line['left_out']}." for line in missing if line["bench"] == bench]
    return "\n".join(out) + "\n"


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description="A picture and a table of benchmark results.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "bench"
    )
    options = parser.parse_args(arguments)
    results, environments, missing = read_lines(options.files)
    if not results:
        raise SystemExit("there are no results in these files")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speedup.svg").write_text(draw(results), encoding="utf-8")
    (options.out / "results.md").write_text(tabulate(results, environments, missing), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
