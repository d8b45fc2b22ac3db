# SPDX-License-Identifier: Apache-2.0
"""The page of measurements, when some parts are measured again."""

from __future__ import annotations

from typing import Any

from bench.__main__ import document


def row(part: str, ours: float) -> dict[str, Any]:
    told = {"name": f"{part} of something", "ours": ours, "peer": 2.0, "unit": "s", "ratio": ours / 2, "bar": 1.0}
    return {**told, "holds": True, "part": part, "measured_at": "2026-01-02T03:04:05+00:00", "load": 1.0}


def test_a_part_that_is_not_measured_again_stays() -> None:
    before = document([row("copy", 1.25), row("control-plane", 1.5), row("scale", 1.75)])
    after = document([row("control-plane", 1.0)], before)
    assert after == before.replace("- 1.5\n", "- 1\n").replace("- 0.75\n", "- 0.5\n")
    assert document([], after) == after
