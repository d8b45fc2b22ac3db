# SPDX-License-Identifier: Apache-2.0
"""What a handler may use: the rest of the service, as seen from the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coriolis.api.catalogue import Catalogue
from coriolis.api.rates import Rates
from coriolis.api.settings import ApiSettings
from coriolis.api.watch import Watch
from coriolis.rpc.bus import Bus
from coriolis.runtime.policy import Authority
from coriolis.runtime.secrets import Vault
from coriolis.runtime.trusts import Trusts
from coriolis.store.engine import Database


@dataclass(frozen=True, kw_only=True)
class Services:
    settings: ApiSettings
    db: Database
    bus: Bus
    vault: Vault
    authority: Authority
    catalogue: Catalogue
    watch: Watch
    rates: Rates | None = None  # None: everybody may ask as often as they like
    trusts: Trusts | None = None  # None: no trusts are in use
    description: Mapping[str, Any]  # the OpenAPI document
