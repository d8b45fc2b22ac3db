# SPDX-License-Identifier: Apache-2.0
"""Measures against peers in one run: a table, ``bench/report.json``, and with ``--document`` the page in ``doc/``."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "bench" / "report.json"
PAGE = ROOT / "doc" / "source" / "contributor" / "measurements.rst"

# part -> module of tests/perf; each has run(quick: bool) -> list of rows
PARTS = {
    "copy": "tests.perf.copy_bench",
    "formats": "tests.perf.format_bench",
    "flow": "tests.perf.flow_bench",
    "proof": "tests.perf.proof_bench",
    "attempt": "tests.perf.attempt_bench",
    "lists": "tests.perf.list_bench",
    "polling": "tests.perf.polling_bench",
    "control-plane": "tests.perf.control_plane_bench",
    "standalone": "tests.perf.standalone_bench",
    "links": "tests.perf.link_bench",
}
COLUMNS = ("name", "ours", "peer", "unit", "ratio", "bar", "holds")
Row = dict[str, Any]


def measure(parts: Iterable[str], *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for part in parts:
        say(f"measuring: {part}")
        rows += [{**row, "part": part} for row in importlib.import_module(PARTS[part]).run(quick=quick)]
    return rows


def number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 100
        else f"{value:,.0f}"
        if value != str(value)
        else value
    )


def show(rows: list[Row], console: Console) -> None:
    table = Table(title="Measurements (a ratio is ours / peer, a bar is its limit)")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("name", "unit") else "right")
    for row in rows:
        style = "red" if row["holds"] is False else None
        table.add_row(*(number(row.get(c)) if c not in ("name", "unit") else str(row[c]) for c in COLUMNS), style=style)
    console.print(table)


def environment() -> dict[str, Any]:
    return {
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def document(rows: list[Row], about: dict[str, Any]) -> str:
    lines = [
        "============",
        "Measurements",
        "============",
        "",
        "Written by ``make bench ARGS=--document``. Ratios are ours divided by the peer's, measured interleaved in one",
        "run, medians; absolute figures depend on the machine and are here for orientation only. Without a ratio, the",
        "bar is a limit of our own figure. :doc:`measurement-notes` says how it was measured, and why a bar is missed.",
        "",
        f"Measured {about['measured_at']} on {about['cores']} cores, Python {about['python']}.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "",
    ]
    for cells in [COLUMNS, *([number(r.get(c)) if c not in ("name", "unit") else r[c] for c in COLUMNS] for r in rows)]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(cells)]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds, to see that it works")
    parser.add_argument("--document", action="store_true", help=f"rewrite {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    console = Console()
    rows = measure(arguments.parts or PARTS, quick=arguments.quick, say=lambda text: console.print(text, style="dim"))
    about = {**environment(), "quick": arguments.quick}
    REPORT.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    show(rows, console)
    if arguments.document:
        PAGE.write_text(document(rows, about))
    missed = [row["name"] for row in rows if row["holds"] is False]
    return 1 if missed and not arguments.quick else 0  # sizes of a quick run are too small to judge


if __name__ == "__main__":
    sys.exit(main())
