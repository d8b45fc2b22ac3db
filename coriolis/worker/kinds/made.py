# SPDX-License-Identifier: Apache-2.0
"""How a made thing stands in the ledger: ``{"ref": the platform's reference, "record": the whole record}``.

A later attempt takes the record from there; an undo needs the reference only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.model import Json
from coriolis.worker.job import Job


class Referable(Protocol):
    @property
    def ref(self) -> Any: ...


T = TypeVar("T", bound=Referable)
Delete = Callable[[Any, str], None]  # the platform's reference or None, key


def entry(record: Referable) -> Json:
    return {"ref": record.ref, "record": to_json(record)}


def reference(ref: Json) -> Any:
    """The platform's reference in a ledger entry; None when the creation never answered."""
    return None if ref is None else ref["ref"]


def ensure(job: Job, kind: str, name: str, record: type[T], create: Callable[[str], T], delete: Delete) -> T:
    """The thing ``name``, made by ``create`` unless an earlier attempt of the task made it."""
    ref = job.ledger.ensure(
        kind,
        name,
        lambda key: entry(create(key)),
        lambda made, key: delete(reference(made), key),
    )
    return from_json(record, ref["record"])


def unmake(job: Job, name: str, delete: Delete) -> None:
    job.ledger.remove_named(name, lambda ref, key: delete(reference(ref), key))
