# SPDX-License-Identifier: Apache-2.0
"""What a task kind gets to work with, in the child."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from coriolis.dataplane.pace import Pace
from coriolis.domain.codec import from_json
from coriolis.domain.errors import Invalid, Unsupported
from coriolis.domain.model import Json
from coriolis.providers.api import Connection, Context, Volume
from coriolis.rpc.messages import Assign, Stream
from coriolis.worker import journals
from coriolis.worker.effects import Ledger
from coriolis.worker.settings import LinkFiles, WorkerSettings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt. ``connect`` opens the named side's connection, once; ``checkpoint`` notes where to go on; ``ask``
    sends a request to the conductor and waits for its reply."""

    assign: Assign
    settings: WorkerSettings
    context: Context
    ledger: Ledger
    connect: Callable[[str], Connection]
    checkpoint: Callable[[Json], None]
    ask: Callable[[Any], Any]
    stream: Callable[[Stream], None] = lambda stream: None  # tells how fast it moves bytes, and from where to where
    pace: Pace = field(default_factory=Pace)  # how fast it may
    link: LinkFiles | None = None  # for a source that another worker exports

    def part(self, side: str, capability: str) -> Any:
        """The capability of the source's or destination's provider. :raises Unsupported: it has none"""
        part = getattr(self.connect(side), capability)
        if part is None:
            raise Unsupported(f"The {side}'s provider cannot do this: it has no '{capability}'.")
        return part

    def input(self, name: str, record: type[T]) -> T:
        """An output of another task. :raises Invalid: it was not given"""
        value = self.optional(name, record)
        if value is None:
            raise Invalid(f"Task {self.assign.name} of kind {self.assign.kind} lacks its input '{name}'.")
        return value

    def optional(self, name: str, record: type[T]) -> T | None:
        value = self.assign.inputs.get(name)
        return None if value is None else from_json(record, value)

    def inputs(self, name: str, record: type[T]) -> list[T]:
        """A list of records; empty when it was not given."""
        return [from_json(record, value) for value in self.assign.inputs.get(name) or ()]

    @property
    def item(self) -> str:
        """The disk that this task is for. :raises Invalid: it was not given"""
        if self.assign.item is None:
            raise Invalid(f"Task {self.assign.name} of kind {self.assign.kind} lacks its item.")
        return self.assign.item

    def journal(self, volume: Volume) -> Path:
        """Of this task's disk on that volume: what is known of one volume says nothing of another."""
        state, instance = self.settings.state_path, self.assign.instance
        return journals.journal(state, self.replica, instance, self.item, volume.ref, self.era)

    @property
    def era(self) -> int:
        """Of the replica: what journals of an earlier one say does not hold."""
        return int(self.assign.inputs.get("era@replica") or 0)

    @property
    def replica(self) -> str:
        """Under which this worker keeps its journals: they outlive an execution of a transfer."""
        return self.assign.replica or self.assign.execution_id
