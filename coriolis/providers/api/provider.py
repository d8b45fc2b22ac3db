# SPDX-License-Identifier: Apache-2.0
"""The object that a plugin registers under the entry-point group ``coriolis.providers``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coriolis.domain.capabilities import Capability
from coriolis.domain.delegation import ACTS_FOR_USER
from coriolis.providers.api.capabilities import Connection
from coriolis.providers.api.context import Context

JsonSchema = dict[str, Any]


# Parts of a provider that have a schema -> the attribute that holds it
SCHEMA_PARTS = {
    "connection": "connection_schema",
    "source": "source_schema",
    "destination": "destination_schema",
    "source_minion_pool": "source_minion_schema",
    "destination_minion_pool": "destination_minion_schema",
}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A platform type.

    ``connection_schema`` is ``{"oneOf": [{the fields}, {secret_ref}]}`` (consoles show the first branch);
    the schemas drive forms, validation and documents. ``connect`` must be cheap to import: heavy libraries are
    imported by the module that the fork server preloads (``preload``: dotted module names).
    """

    name: str
    title: str
    capabilities: frozenset[Capability]
    connection_schema: JsonSchema
    connect: Callable[[dict[str, Any], Context], Connection]
    source_schema: JsonSchema | None = None
    destination_schema: JsonSchema | None = None
    source_minion_schema: JsonSchema | None = None  # of the environment of a pool of minions on this side
    destination_minion_schema: JsonSchema | None = None
    preload: tuple[str, ...] = ()
    support: str = "real"  # real | simulator | fake: what it was tested against
    traits: dict[str, Any] = field(default_factory=dict)

    @property
    def schemas(self) -> dict[str, JsonSchema | None]:
        """Each part's schema, or None."""
        return {part: getattr(self, attribute) for part, attribute in SCHEMA_PARTS.items()}


SECRET_REF_BRANCH: JsonSchema = {
    "type": "object",
    "title": "Barbican secret",
    "properties": {
        "secret_ref": {
            "type": "string",
            "title": "Secret reference",
            "description": "Barbican reference of a secret that holds the connection info as JSON",
        }
    },
    "required": ["secret_ref"],
    "additionalProperties": False,
}


#: Options that the copy task reads from any source environment; a provider with disks puts them into its schema.
COPY_OPTIONS: dict[str, JsonSchema] = {
    "copy_live_data_only": {
        "type": "boolean",
        "title": "Copy live data only",
        "description": "Free space of ext2/3/4, XFS and NTFS file systems that were unmounted cleanly, and what is in "
        "swap and page files, arrive as zeros; the result says what that saved",
        "default": False,
    },
}


#: Options that the verify task reads from any destination environment; a provider with disks puts them into its schema.
VERIFY_OPTIONS: dict[str, JsonSchema] = {
    "verification": {
        "type": "string",
        "title": "Verification",
        "description": "How a copied disk is checked: full reads all of it back, sample one MiB in sixteen, none "
        "nothing. Default: what the administrator of the workers has chosen",
        "enum": ["none", "sample", "full"],
    },
}


def connection_schema(fields: JsonSchema, *, acts_for_user: bool = False) -> JsonSchema:
    """The two-branched form that existing consoles expect, from the schema of the plain fields.

    ``acts_for_user``: without any field of format password, the platform is the user's own cloud, and the provider
    acts there for the user: ``connect`` finds under ``delegation`` (beside the fields) the options of keystoneauth's
    v3password with a trust (jobs) or v3token (questions of the API), and ``cafile``; ``delegation_plugin`` tells
    which (``coriolis.domain.delegation``).
    """
    schema: JsonSchema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [fields, SECRET_REF_BRANCH],
    }
    return {**schema, ACTS_FOR_USER: True} if acts_for_user else schema
