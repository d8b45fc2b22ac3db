# SPDX-License-Identifier: Apache-2.0
"""Waiting for a cloud: what it says itself is not taken for slowness; what is given back is asked to go once more."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.exceptions import NotFoundException

from coriolis.providers.api import Cancelled, Conflict, Context, Unavailable
from coriolis.providers.openstack.temporaries import Temporaries
from coriolis.providers.openstack.waits import TimedOut, wait_for_status


class _NoTime(threading.Event):
    """Of somebody for whom time flies."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(log=logging.getLogger(), scratch=tmp_path, cancelled=_NoTime())


def _thing(status: str) -> Any:
    return SimpleNamespace(id="thing", status=status, metadata={}, attachments=[])


class TestAStatus:
    def test_is_waited_for(self, context: Context) -> None:
        said = iter(["creating", "creating", "Available"])
        found = wait_for_status(
            lambda: _thing(next(said)), ("available",), what="volume v", seconds=60, context=context
        )
        assert found.status == "Available"

    def test_that_does_not_come_is_named(self, context: Context) -> None:
        with pytest.raises(TimedOut, match=r"volume v did not become available within 0 s; it is still creating"):
            wait_for_status(lambda: _thing("creating"), ("available",), what="volume v", seconds=0, context=context)

    @pytest.mark.parametrize("status", ["error", "error_restoring"])
    def test_of_a_failure_says_why(self, context: Context, status: str) -> None:
        with pytest.raises(Conflict, match=f"volume v ended in status {status}: no host"):
            wait_for_status(
                lambda: _thing(status), ("available",), what="volume v", seconds=9, context=context,
                why=lambda _: "no host",
            )  # fmt: skip

    def test_is_not_taken_for_slow_when_the_cloud_fails(self, context: Context) -> None:
        def fetch() -> Any:
            raise Unavailable("asking for volume v: HTTP 500", retry_after_seconds=7.0)

        with pytest.raises(Unavailable, match="HTTP 500") as caught:
            wait_for_status(fetch, ("available",), what="volume v", seconds=60, context=context)
        assert not isinstance(caught.value, TimedOut)
        assert caught.value.retry_after_seconds == 7.0

    def test_is_not_waited_for_by_one_who_is_cancelled(self, context: Context) -> None:
        context.cancelled.set()
        with pytest.raises(Cancelled):
            wait_for_status(lambda: _thing("creating"), ("available",), what="volume v", seconds=9, context=context)


class _Cinder:
    """Snapshots only: each question for one has the next of its statuses; None: it is gone."""

    def __init__(self, *statuses: str | None) -> None:
        self.statuses, self.deleted = list(statuses), 0

    def get_snapshot(self, ident: str) -> Any:
        status = self.statuses.pop(0)
        if status is None:
            raise NotFoundException(message="gone")
        return _thing(status)

    def delete_snapshot(self, ident: str, ignore_missing: bool) -> None:
        self.deleted += 1


class TestRemoving:
    def _remove(self, cinder: _Cinder, status: str, context: Context) -> None:
        cloud: Any = SimpleNamespace(cinder=cinder)
        Temporaries(cloud=cloud, mark="coriolis-k", context=context).delete_snapshots([_thing(status)])

    def test_what_cinder_gives_back_is_deleted_once_more(self, context: Context) -> None:
        cinder = _Cinder("deleting", "available", "deleting", None)
        self._remove(cinder, "available", context)
        assert cinder.deleted == 2

    def test_what_is_going_already_is_waited_for(self, context: Context) -> None:
        cinder = _Cinder("deleting", None)
        self._remove(cinder, "deleting", context)
        assert cinder.deleted == 0

    def test_what_cinder_cannot_delete_is_said(self, context: Context) -> None:
        with pytest.raises(Conflict, match="volume snapshot thing ended in status error_deleting"):
            self._remove(_Cinder("deleting", "error_deleting"), "available", context)

    def test_what_is_being_made_is_waited_for_first(self, context: Context) -> None:
        cinder = _Cinder("creating", "available", "deleting", None)
        self._remove(cinder, "creating", context)
        assert cinder.deleted == 1
