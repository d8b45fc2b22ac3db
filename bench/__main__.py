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
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "bench" / "report.json"
QUICK_REPORT = ROOT / "bench" / "report-quick.json"  # says nothing about speed, so it must not replace the other one
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
    "openstack": "tests.perf.openstack_bench",
    "scale": "tests.perf.scale_bench",
}
NOT_QUICK = frozenset({"openstack", "scale"})  # a quick run of all leaves them out: they bring up clouds
FAILED: dict[str, Any] = {"ours": None, "peer": None, "unit": "-", "ratio": None, "bar": None, "holds": False}
COLUMNS = ("name", "ours", "peer", "unit", "ratio", "bar", "holds")
Row = dict[str, Any]


def measure(parts: Iterable[str], *, quick: bool, say: Callable[[str], None], keep: Callable[[Row], None]) -> None:
    """Hands each row to ``keep`` as soon as it is known. A part that breaks off says so in a row of its own."""
    for part in parts:
        say(f"measuring: {part}")
        start = time.monotonic()
        try:
            for row in importlib.import_module(PARTS[part]).run(quick=quick):
                keep({**row, **moment(), "part": part})
        except Exception as error:  # noqa: BLE001 - the border of the process; other parts shall still be measured
            traceback.print_exc(file=sys.stderr)
            keep({**FAILED, **moment(), "name": f"{part}: broke off, {type(error).__name__}: {error}", "part": part})
        say(f"measured:  {part} in {time.monotonic() - start:.0f} s")


def moment() -> Row:
    """When a row was measured, and how busy the machine was in the minute before."""
    return {"measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "load": round(os.getloadavg()[0], 1)}


class Report:
    """``bench/report.json``, written anew with each row. Rows of parts that are not measured now stay in it."""

    def __init__(self, parts: Iterable[str], *, quick: bool) -> None:
        self._path = QUICK_REPORT if quick else REPORT
        self._about = {**environment(), "quick": quick}
        old = json.loads(self._path.read_text()) if self._path.exists() else {}
        replaced = set(parts)
        usable = old.get("rows", []) if old.get("quick") == quick else []
        self._old = [r for r in usable if r["part"] not in replaced and r.get("measured_at")]
        self.new: list[Row] = []
        self._write()

    def keep(self, row: Row) -> None:
        self.new.append(row)
        self._write()

    @property
    def rows(self) -> list[Row]:
        """Of all parts, in their order."""
        order = list(PARTS)
        return sorted([*self._old, *self.new], key=lambda row: order.index(row["part"]))

    def _write(self) -> None:
        self._path.write_text(json.dumps({**self._about, "rows": self.rows}, indent=2) + "\n")


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
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def document(rows: list[Row], before: str = "") -> str:
    """The page. ``before``: the page so far, of which the parts stay that have no row."""
    about = environment()
    kept = _sections(before)
    lines = [
        "============",
        "Measurements",
        "============",
        "",
        "Written by ``make bench ARGS=--document``. Ratios are ours divided by the peer's, measured interleaved in one",
        "run, medians; absolute figures depend on the machine and are here for orientation only. Without a ratio, the",
        "bar is a limit of our own figure. :doc:`measurement-notes` says how it was measured, and why a bar is missed.",
        "",
        f"Measured on {about['cores']} cores, Python {about['python']}.",
    ]
    for part in PARTS:
        mine = [row for row in rows if row["part"] == part]
        lines += _table(part, mine) if mine else kept.get(part, [])
    return "\n".join(lines) + "\n"


def _title(part: str) -> str:
    return part.replace("-", " ").capitalize()


def _sections(page: str) -> dict[str, list[str]]:
    """The lines of each part of a page."""
    parts, lines = {_title(part): part for part in PARTS}, page.splitlines()
    starts = [at for at, line in enumerate(lines[:-1]) if line in parts and set(lines[at + 1]) == {"="}]
    ends = [*(start - 1 for start in starts[1:]), len(lines)]
    return {parts[lines[start]]: ["", *lines[start:end]] for start, end in zip(starts, ends, strict=False)}


def _table(part: str, rows: list[Row]) -> list[str]:
    """``load``: the longest queue of processes seen at the end of a measurement, which is ours alone if it is about
    the number of cores."""
    times, loads = sorted(row["measured_at"] for row in rows), [row["load"] for row in rows]
    title = _title(part)
    lines = ["", title, "=" * len(title), ""]
    lines += [f"{times[0]} to {times[-1]}; load average of the machine {min(loads)} to {max(loads)}.", ""]
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 46 9 9 9 9 9 9", ""]
    for cells in [COLUMNS, *([number(r.get(c)) if c not in ("name", "unit") else r[c] for c in COLUMNS] for r in rows)]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(cells)]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds, to see that it works")
    parser.add_argument("--document", action="store_true", help=f"rewrite {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    console = Console()
    parts = arguments.parts or [part for part in PARTS if not (arguments.quick and part in NOT_QUICK)]
    report = Report(parts, quick=arguments.quick)
    try:
        measure(parts, quick=arguments.quick, say=lambda text: console.print(text, style="dim"), keep=report.keep)
    finally:
        show(report.new, console)
        if arguments.document:
            PAGE.write_text(document(report.rows, PAGE.read_text()))
    missed = [row["name"] for row in report.new if row["holds"] is False]
    return 1 if missed and not arguments.quick else 0  # sizes of a quick run are too small to judge


if __name__ == "__main__":
    sys.exit(main())
