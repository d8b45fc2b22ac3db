# SPDX-License-Identifier: Apache-2.0
"""Nothing that these tests need may be missing where it can be installed."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests import equipment


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return equipment.unskipped((yield))
