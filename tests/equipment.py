# SPDX-License-Identifier: Apache-2.0
"""What a test needs and a machine lacks. On one where ``make integration`` installs it all, a skip would hide that."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def complete() -> bool:
    """Whether nothing may be missing here: in CI, and for root on Debian."""
    return bool(os.environ.get("CI")) or (os.geteuid() == 0 and shutil.which("apt-get") is not None)


def missing(what: str) -> NoReturn:
    (pytest.fail if complete() else pytest.skip)(what)


def unskipped(report: pytest.TestReport) -> pytest.TestReport:
    """The same, but what was skipped here has failed, for its reason."""
    if report.skipped and not hasattr(report, "wasxfail") and complete():
        report.outcome, report.longrepr = "failed", f"Nothing may be missing here: {report.longrepr[-1]}"
    return report
