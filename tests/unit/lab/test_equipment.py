# SPDX-License-Identifier: Apache-2.0
"""Where everything can be installed, a test that is skipped has failed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests import equipment

CI, USER, ROOT = {"ci": True, "uid": 1000}, {"uid": 1000}, {"uid": 0}


def be(patch: pytest.MonkeyPatch, *, uid: int, ci: bool = False, debian: bool = True) -> None:
    patch.delenv("CI", raising=False)
    if ci:
        patch.setenv("CI", "true")
    patch.setattr(os, "geteuid", lambda: uid)
    patch.setattr("shutil.which", lambda program: "/usr/bin/apt-get" if debian else None)


def skipped(**more: Any) -> pytest.TestReport:
    where = ("test_x.py", 7, "Skipped: not installed: Ceph")
    return pytest.TestReport("test_x.py::test_x", ("test_x.py", 7, "x"), {}, "skipped", where, "setup", **more)


@pytest.mark.parametrize(
    ("here", "outcome"),
    [(CI, "failed"), (ROOT, "failed"), (USER, "skipped"), ({**ROOT, "debian": False}, "skipped")],
    ids=["CI", "root on Debian", "a developer", "root elsewhere"],
)
def test_what_a_skip_becomes(here: dict[str, Any], outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, **here)
    report = equipment.unskipped(skipped())
    assert report.outcome == outcome
    assert "not installed: Ceph" in str(report.longrepr)
    with pytest.raises(pytest.fail.Exception if outcome == "failed" else pytest.skip.Exception, match="libvirtd"):
        equipment.missing("needs libvirtd")


def test_an_expected_failure_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, **CI)
    assert equipment.unskipped(skipped(wasxfail="known")).outcome == "skipped"
