# SPDX-License-Identifier: Apache-2.0
"""Which of the transports a disk goes by."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from coriolis.dataplane import Sink, Source
from coriolis.providers.api import Context, Environment, Invalid
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.quotas import Needs
from coriolis.providers.openstack.schemas import TRANSPORTS

#: Fields of an environment that a transport reads, besides the time limits.
_FIELDS = ("minion_", "volume_seconds", "image_seconds", "server_seconds")


class Transport(Protocol):
    """A module of this package. ``volume_id``: of a volume of ours (`image`, for reading: an image's id)."""

    def why_not(self, cloud: Cloud, environment: Environment, context: Context) -> str | None:
        """Why it is impossible in this cloud, in words; None: it is possible."""

    def reading(
        self, cloud: Cloud, volume_id: str, environment: Environment, context: Context
    ) -> AbstractContextManager[Source]: ...

    def writing(
        self, cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, zeroed: bool = False
    ) -> AbstractContextManager[Sink]:
        """``zeroed``: the volume reads as zeros where nothing was written."""


def transport(name: str) -> Transport:
    """By its name. :raises Invalid: there is none of that name"""
    if name not in TRANSPORTS:
        raise Invalid(f"there is no transport {name}; there are {', '.join(TRANSPORTS)}")
    return cast(Transport, importlib.import_module(f"{__package__}.{name}"))


def choose(
    cloud: Cloud,
    wanted: str,
    environment: Environment,
    context: Context,
    *,
    volume_id: str | None = None,
    to_write: bool = False,
) -> str:
    """The name of the transport: the wanted one, or of ``auto`` the first that is possible. ``volume_id``: it has to be
    possible for this volume of ours, and not only for some in the cloud; ``to_write``: for writing it, too.

    :raises Invalid: it is not possible; says why, of each
    """
    reasons = []
    for name in TRANSPORTS if wanted == "auto" else (wanted,):
        module = transport(name)
        asked: Callable[..., str | None] | None = getattr(module, "why_not_volume", None)
        if volume_id is not None and asked is not None:
            reason = asked(cloud, volume_id, environment, context, to_write=to_write)
        else:
            reason = module.why_not(cloud, environment, context)
        if reason is None:
            return name
        reasons.append(f"{name}: {reason}")
    raise Invalid(f"no way for the bytes of volumes in {cloud.name}: {'; '.join(reasons)}")


def takes(way: str, cloud: Cloud, environment: Environment, context: Context) -> Needs | None:
    """What each disk that goes that way takes from the quotas meanwhile; None: nothing."""
    asked: Callable[..., Needs] | None = getattr(transport(way), "takes", None)
    return asked(cloud, environment, context) if asked is not None else None


def needed_of(environment: Environment) -> dict[str, Any]:
    """What a transport reads of an environment: kept with a volume or snapshot, for when its bytes are moved."""
    return {name: value for name, value in environment.items() if name.startswith(_FIELDS)}
