# SPDX-License-Identifier: Apache-2.0
"""The contract suite: what every provider has to do, as tests. It ships with the package and needs pytest.

A provider's test file is a class and its options::

    from coriolis.providers.contract import ProviderContract

    class TestMine(ProviderContract):
        provider = "mine"

        @pytest.fixture
        def options(self):
            return {"address": "127.0.0.1:8443", "password": "secret"}

What is not declared as a capability is not tested. The other fixtures of `Subject` tell the suite more: how to change
a disk as a guest would, how to list what is left behind, which options must fail and how.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "coriolis.providers.contract.conduct",
    "coriolis.providers.contract.destination",
    "coriolis.providers.contract.inventory",
    "coriolis.providers.contract.minions",
    "coriolis.providers.contract.schemas",
    "coriolis.providers.contract.source",
)

from coriolis.providers.contract.conduct import ConductContract  # noqa: E402
from coriolis.providers.contract.destination import DestinationContract  # noqa: E402
from coriolis.providers.contract.inventory import InventoryContract  # noqa: E402
from coriolis.providers.contract.minions import MinionContract  # noqa: E402
from coriolis.providers.contract.schemas import SchemaContract  # noqa: E402
from coriolis.providers.contract.source import SourceContract  # noqa: E402
from coriolis.providers.contract.subject import Recorder, Subject  # noqa: E402


class ProviderContract(
    SchemaContract, InventoryContract, SourceContract, DestinationContract, MinionContract, ConductContract
):
    """All of it. Give ``provider`` and ``options``."""


__all__ = [
    "ConductContract",
    "DestinationContract",
    "InventoryContract",
    "MinionContract",
    "ProviderContract",
    "Recorder",
    "SchemaContract",
    "SourceContract",
    "Subject",
]
