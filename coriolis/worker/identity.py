# SPDX-License-Identifier: Apache-2.0
"""Who this worker is on links to other workers: the operator's certificate, or one of the conductor's authority.

The latter is asked for when it is first needed, names the session, and is renewed when half of its time is over. Keys
are made here and never leave the state directory.
"""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from coriolis.domain.errors import Invalid, Unavailable
from coriolis.rpc.bus import Bus
from coriolis.rpc.messages import CONDUCTOR, Certified, Certify
from coriolis.runtime import certificates
from coriolis.worker.settings import LinkFiles, WorkerSettings


class Identity:
    """Safe to use from several threads. ``session``: the id of the session now, or None."""

    def __init__(self, settings: WorkerSettings, bus: Bus, session: Callable[[], str | None]) -> None:
        self._settings, self._bus, self._session = settings, bus, session
        self._lock = threading.Lock()
        self._files: LinkFiles | None = None
        self._of: str | None = None
        self._renew_at = dt.datetime.min.replace(tzinfo=dt.UTC)

    def files(self) -> LinkFiles:
        """:raises Unavailable: the conductor does not answer. :raises Invalid: it has no authority, nor is there a
        certificate of the operator's"""
        link = self._settings.link
        if link.clear:
            return LinkFiles(name=link.name or self._settings.host)
        if link.certificate_file:
            return LinkFiles(
                name=link.name or self._settings.host,
                certificate=Path(link.certificate_file),
                key=Path(link.key_file),
                authority=Path(link.authority_file),
            )
        session = self._session()
        if session is None:
            raise Unavailable("This worker has no session with the conductor; try again later.")
        with self._lock:
            if self._files is None or self._of != session or dt.datetime.now(dt.UTC) >= self._renew_at:
                self._files, self._of = self._certified(session), session
            return self._files

    def _certified(self, session: str) -> LinkFiles:
        key = certificates.new_key()
        request = Certify(session_id=session, request=certificates.request(key))
        reply: Certified = self._bus.call(CONDUCTOR, request, timeout=self._settings.call_timeout_seconds)
        if reply.certificate is None or reply.authority is None:
            raise Invalid(
                "Workers of different sites cannot trust each other yet: run 'coriolis-manage links "
                "create-authority' for the conductors, or give each worker a certificate ([link] certificate_file)."
            )
        now, end = dt.datetime.now(dt.UTC), certificates.end_of(reply.certificate)
        folder = self._settings.state_path / "link"
        made = folder / f"{session}-{int(now.timestamp())}"
        made.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in folder.iterdir():
            if not old.name.startswith(session):
                shutil.rmtree(old, ignore_errors=True)  # of sessions that are over; links of this one may read theirs
        certificates.save_key(key, made / "key.pem")
        (made / "certificate.pem").write_text(reply.certificate)
        (made / "authority.pem").write_text(reply.authority)
        self._renew_at = now + (end - now) / 2
        return LinkFiles(
            name=reply.name,
            certificate=made / "certificate.pem",
            key=made / "key.pem",
            authority=made / "authority.pem",
        )
