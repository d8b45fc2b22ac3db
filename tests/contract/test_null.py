# SPDX-License-Identifier: Apache-2.0
"""The null provider under the contract suite."""

from __future__ import annotations

import pytest

from coriolis.providers.contract import ProviderContract
from coriolis.providers.contract.subject import Options


class TestNull(ProviderContract):
    provider = "null"

    @pytest.fixture
    def options(self) -> Options:
        return {"instances": 9, "disks": 2, "disk_size_bytes": 3 << 20}


class TestNullDefinition(ProviderContract):
    provider = "null_definition"

    @pytest.fixture
    def options(self) -> Options:
        return {"instances": 3}


class TestNullWithPattern(ProviderContract):
    provider = "null"

    @pytest.fixture
    def options(self) -> Options:
        return {"instances": 3, "disk_size_bytes": (3 << 20) + 512, "seed": 7}
