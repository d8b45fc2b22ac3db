# SPDX-License-Identifier: Apache-2.0
"""The source of a copy that another worker exports, because this one does not reach it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from coriolis import dataplane
from coriolis.dataplane import link, lists
from coriolis.domain.codec import to_json
from coriolis.domain.errors import Invalid, Stale, Unavailable
from coriolis.providers.api import Cancelled, Snapshot, Unauthorized
from coriolis.providers.api import Invalid as ProviderInvalid
from coriolis.providers.api import Unavailable as ProviderUnavailable
from coriolis.rpc.messages import RemoteSource, SourceOpen, SourceOpened
from coriolis.worker import exporting
from coriolis.worker.job import Job

_POLL_SECONDS = 0.5
_KEEP_SECONDS = 15.0  # a quarter of what the exporter bears


@contextlib.contextmanager
def source(job: Job, snapshot: Snapshot) -> Iterator[dataplane.NbdSource]:
    """The disk's bytes over a link, for as long as the block lasts.

    What it knows of changes and of allocation comes along; lists in a form that is newer than we are do without.

    :raises DataplaneError: there is no link. :raises Stale: the task is not ours any more
    """
    files = job.link
    if files is None:
        raise Invalid("The task needs a link to another worker, for which it was given nothing.")
    ask = SourceOpen(attempt=job.assign.attempt, item=job.item, snapshot=to_json(snapshot), peer=files.name)
    remote = _found(job, ask)
    job.context.event("INFO", f"Disk {job.item} is read by the worker at {remote.host}, over a link.")
    with (
        link.reach(
            (remote.host, remote.port),
            name=remote.name,
            credentials=exporting.credentials(files),
            export=remote.export,
            mode=job.settings.link.compression,  # type: ignore[arg-type]  # the option has these values only
        ) as here,
        _kept(job, ask),
    ):
        told = here.beside(lists.MOST_BYTES) if remote.lists == lists.FORM else None
        changes, allocation = (None, None) if told is None else lists.unpack(told)
        yield dataplane.NbdSource(
            uri=here.uri,
            bitmap=remote.bitmap,
            changes=changes,
            allocation=allocation,
            base_identity=remote.base_identity,
            size=remote.size,
            identity=remote.identity,
            channel=here.channel,
        )


def _found(job: Job, ask: SourceOpen) -> RemoteSource:
    while True:
        reply: SourceOpened = job.ask(ask)
        if not reply.accepted:
            raise Stale("The task is not this attempt's any more.")
        if reply.error is not None:
            kind = ProviderUnavailable if reply.error.retryable else _PERMANENT.get(reply.error.code, ProviderInvalid)
            raise kind(reply.error.message)
        if reply.source is not None:
            return reply.source
        if job.context.cancelled.wait(_POLL_SECONDS):
            raise Cancelled


_PERMANENT: dict[str, type[Exception]] = {Unauthorized.code: Unauthorized}


@contextlib.contextmanager
def _kept(job: Job, ask: SourceOpen) -> Iterator[None]:
    """Keeps the export alive; that it ended shows on the link itself."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(_KEEP_SECONDS):
            with contextlib.suppress(Cancelled, Unavailable, OSError):
                job.ask(ask)

    thread = threading.Thread(target=keep, name="export", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
