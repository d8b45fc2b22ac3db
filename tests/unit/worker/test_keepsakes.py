# SPDX-License-Identifier: Apache-2.0
"""What a connection leaves in the agent's memory reaches later ones of the same account, and nobody else."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from coriolis.rpc.messages import WORKER, Endpoint, ProviderCall
from coriolis.worker.keepsakes import LONGEST, MOST, Keepsakes, key_of
from tests.unit.worker.conftest import SECRET, account


def ask(bench: Any, operation: str, endpoint: Endpoint, **arguments: Any) -> Any:
    call = ProviderCall(operation=operation, endpoint=endpoint, timeout_seconds=20.0, arguments=arguments)
    return bench.bus.call(WORKER, call, server=bench.service.session_id, timeout=30.0)


def recalled(bench: Any, endpoint: Endpoint) -> str:
    return str(ask(bench, "get_instance", endpoint, name="recall").error.message)


def test_the_next_connection_of_an_account_gets_it(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    mine, other = (account(bench.key_file, {"password": SECRET, "whose": whose}) for whose in "ab")
    assert recalled(bench, mine) == "kept: None"
    with caplog.at_level(logging.DEBUG):
        assert ask(bench, "get_instance", mine, name="keep").error is None
    assert recalled(bench, mine) == recalled(bench, mine) == f"kept: {len(SECRET)}"
    assert recalled(bench, other) == "kept: None"
    assert SECRET not in caplog.text


def test_a_check_of_the_account_begins_with_nothing(bench: Any) -> None:
    mine = account(bench.key_file, {"password": SECRET, "recall": True})
    assert ask(bench, "get_instance", mine, name="keep").error is None
    assert recalled(bench, mine) == f"kept: {len(SECRET)}"
    assert ask(bench, "check", mine).error.message == "kept: None"


def test_nothing_is_kept_of_what_one_question_may_use() -> None:
    lasting = Endpoint(type="trial", sealed="x", trust="t")
    key = key_of(lasting)
    assert key is not None
    assert key != key_of(dataclasses.replace(lasting, trust="u"))
    assert key_of(dataclasses.replace(lasting, token="sealed too")) is None


def test_there_is_an_end_to_what_is_kept() -> None:
    kept = Keepsakes()
    kept.write("long", "x" * (LONGEST + 1))
    assert kept.read("long") is None
    for number in range(MOST + 1):
        kept.write(str(number), "text")
    assert kept.read("0") is None
    assert kept.read(str(MOST)) == "text"
