# SPDX-License-Identifier: Apache-2.0
"""The protocols behind each capability.

Every ``create`` takes a ``key`` and is idempotent on it: the thing is tagged with the key, and a second call with
the same key gives the first call's thing. Every ``delete`` takes the reference (or None when the creation never
answered) and the key, finds the thing by either, and is content when there is nothing. All methods may take long;
they look at ``context.cancelled`` between steps and raise ``Cancelled``.

``environment`` is the user's source_environment or destination_environment, already validated by the schema.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any, Protocol

from coriolis.dataplane import Sink, Source
from coriolis.providers.api.context import Context
from coriolis.providers.api.model import (
    Concern,
    Deployed,
    Instance,
    InstanceSummary,
    Layout,
    Minion,
    Network,
    Option,
    OptionsOf,
    PlannedDisk,
    Snapshot,
    StorageInventory,
    Volume,
)

Environment = dict[str, Any]


class Inventory(Protocol):
    def list_instances(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        """Ordered by id, after ``marker`` (an id), at most ``limit``; ``name`` is a case-insensitive substring."""
        ...

    def get_instance(self, environment: Environment, name: str, context: Context) -> Instance:
        """By instance name or id. :raises Gone: unknown. :raises Conflict: the name is not unique."""
        ...


class Networks(Protocol):
    def list_networks(self, environment: Environment, context: Context) -> list[Network]: ...


class Storage(Protocol):
    def list_storage(self, environment: Environment, context: Context) -> StorageInventory: ...


class Options(Protocol):
    def list_options(
        self, of: OptionsOf, environment: Environment, names: Collection[str] | None, context: Context
    ) -> list[Option]:
        """Options whose values the platform knows and the schema does not. ``environment`` may be incomplete: what the
        user has chosen so far. ``names``: only these (None: all); names that are none are ignored."""
        ...


class Planning(Protocol):
    def check_source(self, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
        """What may stand in the way of reading this instance."""
        ...

    def plan(
        self,
        instance: Instance,
        environment: Environment,
        network_map: dict[str, Any],
        storage_mappings: dict[str, Any],
        context: Context,
    ) -> Layout:
        """What the destination would make. Makes nothing.

        :raises Invalid: an unmapped network, no such storage, no room
        """
        ...


class Snapshots(Protocol):
    def create(
        self, instance: Instance, base: Snapshot | None, key: str, environment: Environment, context: Context
    ) -> Snapshot:
        """A consistent point in time. ``base``: the earlier round's snapshot, for increments (may be refused by
        giving ``changes_since=None``)."""
        ...

    def delete(self, ref: Any | None, key: str, context: Context) -> None: ...

    def release(self, ref: Any, key: str, context: Context) -> None:
        """The bytes of this point in time are read: lets go of them, and keeps only what tells a later ``create``,
        perhaps weeks after, what changed since. ``delete`` still follows. May be repeated."""
        ...


class ReadBlocks(Protocol):
    def open_source(self, snapshot: Snapshot, disk_id: str, context: Context) -> AbstractContextManager[Source]:
        """The disk's bytes at that point in time, for as long as the context lasts."""
        ...


class WriteBlocks(Protocol):
    def open_sink(self, volume: Volume, context: Context) -> AbstractContextManager[Sink]:
        """The volume, for writing and for reading back. A second opening with a newer ``context.epoch`` locks out
        the older one where the platform can."""
        ...


class Volumes(Protocol):
    def create(
        self, disk: PlannedDisk, layout: Layout, key: str, environment: Environment, context: Context
    ) -> Volume: ...

    def delete(self, ref: Any | None, key: str, context: Context) -> None: ...


class Compute(Protocol):
    """Instances: made from volumes on a destination, stopped and started on a source."""

    def create(
        self,
        instance: Instance,
        layout: Layout,
        volumes: list[Volume],
        key: str,
        environment: Environment,
        context: Context,
    ) -> Deployed:
        """Defines the new instance, not started. The volumes become its own: they outlive ``Volumes``' keys."""
        ...

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        """Removes the instance, never its volumes."""
        ...

    def is_running(self, ref: str, context: Context) -> bool: ...

    def start(self, ref: str, context: Context) -> Deployed:
        """Content when it runs already."""
        ...

    def stop(self, ref: str, context: Context) -> None:
        """Asks the guest first, then switches off after a grace time. Content when it is off already."""
        ...


class Minions(Protocol):
    """Temporary machines of ours, made from an image that the operator names. ``environment`` is a pool's."""

    def create(self, name: str, key: str, environment: Environment, context: Context) -> Minion:
        """Makes it, starts it, and waits until it is ready for work."""
        ...

    def check(self, ref: str, environment: Environment, context: Context) -> Minion:
        """Starts it when it is off, and waits until it is ready.

        :raises Gone: there is none. :raises Unavailable: it does not get ready
        """
        ...

    def stop(self, ref: str, context: Context) -> None:
        """Content when it is off already, or gone."""
        ...

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        """With all that was made for it."""
        ...


class Connection(Protocol):
    """An open connection to a platform account. What the provider cannot do is None. Plain attributes will do."""

    @property
    def inventory(self) -> Inventory | None: ...

    @property
    def networks(self) -> Networks | None: ...

    @property
    def storage(self) -> Storage | None: ...

    @property
    def options(self) -> Options | None: ...

    @property
    def planning(self) -> Planning | None: ...

    @property
    def snapshots(self) -> Snapshots | None: ...

    @property
    def read_blocks(self) -> ReadBlocks | None: ...

    @property
    def write_blocks(self) -> WriteBlocks | None: ...

    @property
    def volumes(self) -> Volumes | None: ...

    @property
    def compute(self) -> Compute | None: ...

    @property
    def minions(self) -> Minions | None: ...

    def check(self, context: Context) -> None:
        """Proves that the platform answers and the credentials are good. :raises ProviderError:"""
        ...

    def close(self) -> None: ...
