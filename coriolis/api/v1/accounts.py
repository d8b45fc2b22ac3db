# SPDX-License-Identifier: Apache-2.0
"""Connection info on its way in: sealed before it is stored, checked before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coriolis.api import validation
from coriolis.api.catalogue import Schemas
from coriolis.api.services import Services
from coriolis.api.views.masking import masked_place
from coriolis.domain.errors import Invalid
from coriolis.runtime.secrets import Vault
from coriolis.store.rows import Endpoint

Json = Any


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How connection info is kept: one of the two is set."""

    sealed: str | None = None
    secret_ref: str | None = None


def seal(vault: Vault, info: dict[str, Json], field: str) -> Stored:
    """Connection info as the user sent it, in the form in which it is kept.

    :raises Invalid: a reference beside other keys, or a mask where there is nothing to keep
    """
    reference = info.get("secret_ref")
    if reference is None:
        place = masked_place(info, field)
        if place is not None:
            raise Invalid(f"{place}: *** hides a stored secret, and there is none: send the secret", field=place)
        return Stored(sealed=vault.seal(info))
    if len(info) > 1:
        raise Invalid(f"{field}: give either secret_ref or the other keys, not both", field=field)
    return Stored(secret_ref=str(reference))


def check_account(row: Endpoint, services: Services) -> Schemas:
    """Check stored inline connection info against the provider's schema; a reference is checked by the worker. Gives
    all schemas of the provider.

    :raises CoriolisError: it does not fit, no worker has the provider, or its key is gone
    """
    schemas = services.catalogue.schemas(row.type)
    if row.sealed is not None and schemas.connection is not None:
        validation.check_provider_data(schemas.connection, services.vault.unseal(row.sealed), "connection_info")
    return schemas
