#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns the result lines of the benchmarks into a picture and a table.

Usage: bench_picture.py [--python] [--out DIRECTORY] FILE...

Reads the files that the benchmarks write with --json, and writes speedup.svg (the ratios of
speed, ours over the peer's, on a logarithmic axis) and results.md; with --python, for the lines of
bench_python.py, python.svg and python.md.  Of several results of one case the last one counts.
Nothing in the output tells when or on which machine it was measured.
"""

import argparse
import json
import math
import sys
from html import escape
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

Line = Dict[str, Any]

TITLES = {
    "bench_start": "Starting processes",
    "bench_pipe": "Pipes",
    "bench_locks": "Locks",
    "bench_queue": "Queues",
    "bench_pool": "Pools",
    "bench_manager": "Managers and connections",
}


class Page(NamedTuple):
    """One pair of a picture and a table."""

    picture: str  # its file, without .svg
    table: str  # likewise, without .md
    title: str  # of the picture
    heading: str  # of the table
    method: str


C_PAGE = Page(
    "speedup",
    "results",
    "Speed of libmultiproc over its peers",
    "Results of the benchmarks",
    """Medians of rounds that alternate between the two.  Speed is ours over the peer's: more is
better, also where the figures are times.  Target is the least speed that was asked for.""",
)

PYTHON_PAGE = Page(
    "python",
    "python",
    "Speed of the Python package over the interpreter's own multiprocessing",
    "Results of the Python benchmark",
    """Each figure is the median of rounds that alternate between the libraries; in every round a
fresh interpreter uses one of them only.  Speed is ours over the peer's: more is better, also where the
figures are times.  Lowest and highest are the speeds of single rounds, which tell how much the
machine was disturbed.  Target is the least speed that was asked for.

- Queues and pipes: the processes are there before the clock starts, and it stops when the last one
  has got its last object.  A tuple is `("resize", 640, 2.5, None)`.
- Arrays: of float64.  Who gets one reads a number of each page; the queue has room for two.
- Pools: the workers have done tasks before the clock starts, except where it is about the start.
  Tasks return their argument.  joblib has its loky pool, and puts one task into a message where
  the chunksize is 1.  Of arrays above 1 MiB it makes files that the workers map.
- Locks and values: nobody else wants them.  The cost of the loop, about 10 ns, is in the figures of
  both.
- mpi4py: two ranks, `send` and `recv` of objects.

`make bench` makes this page; `tools/bench_python.sh --only PATTERN` measures some of it again.""",
)

WIDTH = 960
LABELS = 470  # where the bars begin
NUMBERS = 80  # what is kept free behind them
ROW = 20
BAR = 12
HEAD = 30

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.back { fill: #ffffff; }
.title { font-size: 16px; font-weight: 600; }
.group { font-weight: 600; }
.soft { fill: #57606a; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.one { stroke: #24292f; stroke-width: 1.5; }
.faster { fill: #2da44e; }
.slower { fill: #bc4c00; }
.target { stroke: #24292f; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  .back { fill: #0d1117; }
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
                    if "left_out" in line:
                        missing.append(line)
                    elif "case" in line:
                        float(line["ratio"])
                        results[line["bench"], line["case"]] = line
                    else:
                        environments[line["bench"]] = line
                except (ValueError, KeyError, TypeError) as error:
                    where = f"{path}:{number}"
                    raise SystemExit(f"{where}: not a result: {error}") from error
    return list(results.values()), list(environments.values()), missing


def groups_of(results: Iterable[Line]) -> Dict[str, List[Line]]:
    groups: Dict[str, List[Line]] = {}
    for line in results:
        groups.setdefault(group_of(line), []).append(line)
    return groups


def group_of(line: Line) -> str:
    """The heading that a line stands under: its own, or that of its benchmark."""
    return str(line.get("group") or TITLES.get(line["bench"], line["bench"]))


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


def draw(results: List[Line], page: Page) -> str:
    shown = [line for line in results if line.get("picture", True) and float(line["ratio"]) > 0]
    values = [float(line["ratio"]) for line in shown]
    values += [float(line["target"]) for line in shown if line.get("target")]
    axis = Axis(values)
    body: List[str] = []
    y = 74.0
    top = y
    alone = len({line.get("against") for line in shown}) == 1  # then the title names the peer
    for group, lines in groups_of(shown).items():
        against = sorted({str(line.get("against", "")) for line in lines} - {""})
        peer = f", against {against[0]}" if len(against) == 1 and not alone else ""
        body.append(
            f'<text class="group" x="16" y="{y + 20:.0f}">{escape(group + peer)}</text>'
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
            f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(page.title)}">',
            f"<style>{STYLE}</style>",
            '<rect class="back" width="100%" height="100%"/>',
            f'<text class="title" x="16" y="26">{escape(page.title)}</text>',
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
            f"{line.get('processors', '?')} processors, "
            f"{line.get('software') or line.get('compiler', 'unknown compiler')}"
        )
        if line.get("length") == "quick":
            text += " (a quick run: rough figures)"
        if text not in seen:
            seen.append(text)
    return [f"Measured on {text}." for text in seen]


# Key of a line, head and alignment of the column; columns that no line has are left out.
COLUMNS = (
    ("work", "work", "---"),
    ("against", "against", "---"),
    ("ours", "ours", "---:"),
    ("peer", "peer", "---:"),
    ("unit", "unit", "---"),
    ("ratio", "speed", "---:"),
    ("lowest", "lowest", "---:"),
    ("highest", "highest", "---:"),
    ("target", "target", "---:"),
    ("met", "met", "---"),
)


def field(line: Line, key: str) -> str:
    value = line.get(key)
    if key == "met":
        return met(line)
    if key == "work":
        return cell(work_of(line))
    if key in ("ours", "peer"):
        return number(value)
    if key in ("ratio", "lowest", "highest", "target"):
        return f"{float(value):.2f}" if value else ""
    return cell(value or "")


def rows(lines: List[Line]) -> List[str]:
    columns = [
        c for c in COLUMNS
        if c[0] not in ("lowest", "highest") or any(line.get(c[0]) for line in lines)
    ]
    out = ["| " + " | ".join(head for _, head, _ in columns) + " |"]
    out += ["| " + " | ".join(alignment for _, _, alignment in columns) + " |"]
    for line in lines:
        out.append("| " + " | ".join(field(line, key) for key, _, _ in columns) + " |")
    return out


def tabulate(
    results: List[Line], environments: List[Line], missing: List[Line], page: Page
) -> str:
    out = ["<!-- Made by tools/bench_picture.py -->", f"# {page.heading}", ""]
    out += describe(environments)
    out += ["", page.method, "", f"![speed over the peers]({page.picture}.svg)"]
    groups = groups_of(results)
    for line in missing:
        groups.setdefault(group_of(line), [])
    for group, lines in groups.items():
        out += ["", f"## {group}", ""]
        out += rows(lines) if lines else []
        out += [f"\nLeft out: {line['left_out']}." for line in missing if group_of(line) == group]
    return "\n".join(out) + "\n"


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description="A picture and a table of benchmark results.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--python", action="store_true", help="the pages of bench_python.py")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "bench"
    )
    options = parser.parse_args(arguments)
    results, environments, missing = read_lines(options.files)
    if not results:
        raise SystemExit("there are no results in these files")
    page = PYTHON_PAGE if options.python else C_PAGE
    options.out.mkdir(parents=True, exist_ok=True)
    picture, table = draw(results, page), tabulate(results, environments, missing, page)
    (options.out / f"{page.picture}.svg").write_text(picture, encoding="utf-8")
    (options.out / f"{page.table}.md").write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
