# SPDX-License-Identifier: Apache-2.0
"""Waiting for an end, through restarts of the service and with impatient users."""

from __future__ import annotations

from typing import Any

import pytest
from keystoneauth1 import exceptions as ks_exceptions
from openstack import exceptions

from coriolis.client.cli.job import followed
from coriolis.client.job import FINAL
from coriolis.client.methods.waiting import until_final
from coriolis.client.migration import Migration
from coriolis.domain.states import FINAL_EXECUTION_STATES


def answers(*given: Any) -> Any:
    """A ``get`` that gives or raises these, one after the other."""
    left = list(given)

    def get() -> Any:
        one = left.pop(0)
        if isinstance(one, BaseException):
            raise one
        return Migration.existing(id="m", last_execution_status=one, tasks=[])

    return get


def wait(*given: Any) -> tuple[str, list[str]]:
    seen: list[str] = []
    ended = until_final(answers(*given), interval=0.0, timeout=None, seen=lambda one: seen.append(one.status))
    return ended.status, seen


def test_every_state_is_seen_on_the_way() -> None:
    assert wait("RUNNING", "RUNNING", "ERROR") == ("ERROR", ["RUNNING", "RUNNING", "ERROR"])


@pytest.mark.parametrize("status", sorted(FINAL_EXECUTION_STATES))
def test_every_end_is_an_end(status: str) -> None:
    assert status in FINAL
    assert wait("AWAITING_MINION_ALLOCATIONS", status)[0] == status


def test_what_ended_before_its_first_task_says_why() -> None:
    ended = Migration.existing(
        id="m", last_execution_status="ERROR_ALLOCATING_MINIONS", message="The image is gone", tasks=[]
    )
    with pytest.raises(exceptions.SDKException, match=r"ended ERROR_ALLOCATING_MINIONS\.\nThe image is gone"):
        followed(lambda **_: ended)


@pytest.mark.parametrize(
    "trouble",
    [ks_exceptions.ConnectFailure("gone"), exceptions.HttpException(message="busy", http_status=503)],
)
def test_a_service_that_starts_anew_is_waited_for(trouble: Exception) -> None:
    assert wait("RUNNING", trouble, trouble, "COMPLETED") == ("COMPLETED", ["RUNNING", "COMPLETED"])


def test_a_refusal_is_final() -> None:
    with pytest.raises(exceptions.HttpException):
        wait("RUNNING", exceptions.HttpException(message="no", http_status=403), "COMPLETED")


def test_a_user_who_stops_looking_is_told_that_it_goes_on() -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(exceptions.SDKException, match="goes on"):
        followed(interrupted)
