# SPDX-License-Identifier: Apache-2.0
"""The clouds of the lab, for providers that need one."""

from __future__ import annotations

import pytest

from tests.lab import fixtures as clouds
from tests.lab.fixtures import lab_clouds, new_cloud, new_fake_cloud, old_cloud, old_fake_cloud

__all__ = ["lab_clouds", "new_cloud", "new_fake_cloud", "old_cloud", "old_fake_cloud"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    clouds.mark(items)
