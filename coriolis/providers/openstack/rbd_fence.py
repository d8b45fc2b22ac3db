# SPDX-License-Identifier: Apache-2.0
"""One writer for an RBD image: a newer attempt locks an older one out, at the OSDs.

librbd's own exclusive lock does not do that: its holder hands it to whoever asks. Ceph's blocklist does: the OSDs
refuse whatever a listed client still sends, for as long as the entry lives, even if that client slept meanwhile.
What tells which client is which is a record beside the image: an attribute of its header object, which goes
away with it. Whoever else has the image open, such as a running machine, is never locked out; we refuse instead.

While a writer opens the image it holds an advisory lock on that object, which ends by itself when the writer dies.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from coriolis.providers.api import Conflict, Context, Gone, ProviderError, Unavailable
from coriolis.providers.openstack.rbd_tools import Tools

_ATTRIBUTE = _LOCK = "coriolis-writer"
_OPENING_SECONDS = 90  # the lock of one that died ends after so long
_PATIENCE = 120.0
# An attempt that was stopped for longer than this has lost its lease, and its worker has ended it.
_LISTED_SECONDS = 7 * 24 * 3600
_LATE_WATCH_SECONDS = 45.0  # a client that died is a watcher for 30 s more (osd_client_watch_timeout)
_STEP = 0.5


@dataclass(frozen=True, kw_only=True)
class Record:
    """``client``: address of the writer's Ceph client; None: none, or it has ended well. ``opening``: it may have
    begun, and its address is not known."""

    epoch: int = -1
    client: str | None = None
    opening: bool = False


class Fence:
    """Of one image, whose header object it looks up. :raises ProviderError: the image is not there"""

    def __init__(self, tools: Tools, context: Context) -> None:
        self._tools, self._context = tools, context
        self._recorded = False
        self._header = f"rbd_header.{tools.parsed('info', tools.image.spec)['id']}"

    @contextlib.contextmanager
    def opening(self) -> Iterator[Callable[[], None]]:
        """Within the block, this attempt is the only one that may open the image for writing, and everybody who wrote
        it for us is locked out. Open it, and call what is given: it finds the new client and records it.

        :raises Conflict: a newer attempt writes it, or somebody else has it open
        """
        with self._alone():
            self._lock_out()
            before = self._watchers()
            self._record(Record(epoch=self._context.epoch, opening=True))
            self._recorded = True

            def opened() -> None:
                found = sorted(self._watchers() - before)
                if len(found) != 1:
                    raise Conflict(f"Ceph image {self._tools.image.spec}: somebody else opened it, too ({found})")
                self._record(Record(epoch=self._context.epoch, client=found[0]))

            yield opened

    def closed(self) -> None:
        """What this attempt opened has ended. Content when it opened nothing."""
        if not self._recorded:
            return
        # What cannot be noted costs a needless entry in the blocklist, or some waiting, and no more.
        with contextlib.suppress(ProviderError), self._tools.to_the_end():
            if self._read().epoch == self._context.epoch:
                self._record(Record(epoch=self._context.epoch))

    def end(self) -> None:
        """Locks out whoever wrote the image for us, of any epoch, and forgets about it."""
        with self._alone():
            self._block(self._read())
            with contextlib.suppress(Gone):
                self._rados("rmxattr", self._header, _ATTRIBUTE)

    def _lock_out(self) -> None:
        record = self._read()
        if record.epoch > self._context.epoch:
            raise Conflict(f"Ceph image {self._tools.image.spec}: a newer attempt writes it")
        self._block(record)
        end = time.monotonic() + (_LATE_WATCH_SECONDS if record.opening or record.client else 5.0)
        while others := self._watchers():
            if time.monotonic() > end:
                who = ", ".join(sorted(others))
                if record.opening:
                    raise Unavailable(f"Ceph image {self._tools.image.spec}: an earlier attempt has it open ({who})")
                raise Conflict(
                    f"Ceph image {self._tools.image.spec} is open at {who}: is the volume attached to a server?"
                )
            self._context.check_cancelled()
            time.sleep(_STEP)

    def _block(self, record: Record) -> None:
        if record.client is not None:
            self._tools.run("ceph", "osd", "blocklist", "add", record.client, str(_LISTED_SECONDS))

    def _watchers(self) -> set[str]:
        return {str(one["address"]) for one in self._tools.parsed("status", self._tools.image.spec)["watchers"]}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        cookie, end = uuid.uuid4().hex, time.monotonic() + _PATIENCE
        while True:
            try:
                self._rados(
                    "lock", "get", self._header, _LOCK, f"--lock-cookie={cookie}", f"--lock-duration={_OPENING_SECONDS}"
                )
                break
            except Conflict:
                if time.monotonic() > end:
                    raise Unavailable(f"Ceph image {self._tools.image.spec}: another attempt is opening it") from None
            self._context.check_cancelled()
            time.sleep(_STEP)
        try:
            yield
        finally:
            with contextlib.suppress(ProviderError), self._tools.to_the_end():  # or it ends by itself
                self._unlock(cookie)

    def _unlock(self, cookie: str) -> None:
        lockers = json.loads(self._rados("lock", "info", self._header, _LOCK))["lockers"]
        for one in lockers:
            if one["cookie"] == cookie:
                self._rados("lock", "break", self._header, _LOCK, one["name"], f"--lock-cookie={cookie}")

    def _read(self) -> Record:
        if _ATTRIBUTE not in self._rados("listxattr", self._header).split():
            return Record()
        return Record(**json.loads(self._rados("getxattr", self._header, _ATTRIBUTE)))

    def _record(self, record: Record) -> None:
        self._rados("setxattr", self._header, _ATTRIBUTE, json.dumps(asdict(record)))

    def _rados(self, *words: str) -> str:
        return self._tools.run("rados", "--pool", self._tools.image.pool, *words)
