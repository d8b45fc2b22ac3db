# SPDX-License-Identifier: Apache-2.0
"""Servers that are started, stopped and removed: what is asked of Nova, once, and when it is over."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.exceptions import NotFoundException

from coriolis.providers.api import Conflict, Context
from coriolis.providers.openstack import power


class _NoTime(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class _Nova:
    """Each question has the next of a server's statuses; None: it is gone. ``+``: Nova is at it."""

    def __init__(self, *statuses: str | None) -> None:
        self.statuses, self.asked = list(statuses), []  # type: ignore[var-annotated]

    def get_server(self, ident: str) -> Any:
        status = self.statuses.pop(0)
        if status is None:
            raise NotFoundException("gone")
        task = "at it" if status.endswith("+") else None
        fault = {"message": "No valid host was found."}
        return SimpleNamespace(
            id=ident, name="web", status=status.rstrip("+"), task_state=task, fault=fault, power_state=4
        )

    def __getattr__(self, name: str) -> Any:
        return lambda server, **more: self.asked.append("force " * bool(more.get("force")) + name)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(log=logging.getLogger(), scratch=tmp_path, cancelled=_NoTime())


def _do(action: Any, context: Context, *statuses: str | None) -> list[str]:
    """What was asked, when all that Nova had to say was heard."""
    nova = _Nova(*statuses)
    cloud: Any = SimpleNamespace(sdk=SimpleNamespace(compute=nova))
    action(cloud, SimpleNamespace(id="s", name="web"), 60.0, context)
    assert nova.statuses == []
    return nova.asked


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [
        (["ACTIVE"], []),
        (["BUILD", "BUILD+", "ACTIVE"], []),
        (["SHUTOFF", "SHUTOFF+", "ACTIVE+", "ACTIVE"], ["start_server"]),
        (["SUSPENDED", "ACTIVE"], ["resume_server"]),
    ],
)
def test_starting(statuses: list[str], asked: list[str], context: Context) -> None:
    assert _do(power.start, context, *statuses) == asked


def test_what_cannot_be_built_is_said(context: Context) -> None:
    with pytest.raises(Conflict, match="No valid host was found"):
        _do(power.start, context, "BUILD", "ERROR")


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [
        (["SHUTOFF"], []),
        (["ACTIVE", "ACTIVE+", "SHUTOFF"], ["stop_server"]),
        (["ACTIVE+", "ACTIVE", "SHUTOFF+", "SHUTOFF"], ["stop_server"]),
        (["SUSPENDED"], []),
    ],
)
def test_stopping(statuses: list[str], asked: list[str], context: Context) -> None:
    assert _do(power.stop, context, *statuses) == asked


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [
        ([None], ["delete_server"]),
        (["ACTIVE+", "ERROR+", None], ["delete_server"]),
        (["ACTIVE+", "SOFT_DELETED", "SOFT_DELETED+", None], ["delete_server", "force delete_server"]),
    ],
)
def test_removing(statuses: list[str | None], asked: list[str], context: Context) -> None:
    assert _do(power.delete, context, *statuses) == asked


def test_what_cannot_be_removed_is_said(context: Context) -> None:
    with pytest.raises(Conflict, match="cannot be removed"):
        _do(power.delete, context, "ACTIVE+", "ERROR")
