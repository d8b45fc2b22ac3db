# SPDX-License-Identifier: Apache-2.0
"""The null provider through the real copy engine."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from coriolis.dataplane import copy_disk, verify_disk
from coriolis.providers.api import Context, Gone, Unavailable
from coriolis.providers.null.connection import NullConnection

SIZE = 5 << 20


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(log=logging.getLogger("test"), scratch=tmp_path, epoch=1)


@pytest.mark.parametrize("info", [{"disk_size_bytes": SIZE}, {"disk_size_bytes": SIZE, "seed": 3}])
def test_copy_and_verify(context: Context, info: dict[str, int]) -> None:
    """Zeros go nowhere; a pattern arrives where only that pattern is taken."""
    connection = NullConnection(info)
    instance = connection.inventory.get_instance({}, "null-0000001", context)
    snapshot = connection.snapshots.create(instance, None, "key", {}, context)
    layout = connection.planning.plan(instance, {}, {}, {}, context)
    volume = connection.volumes.create(layout.disks[0], layout, "key", {}, context)
    journal = context.scratch / "journal"
    with connection.read_blocks.open_source(snapshot, "disk-0", context) as source:
        with connection.write_blocks.open_sink(volume, context) as sink:
            result = copy_disk(source, sink, journal=journal, epoch=context.epoch)
            assert verify_disk(sink, journal=journal).digest == result.digest
    assert result.size == SIZE


def test_a_million_instances_are_not_made(context: Context) -> None:
    connection = NullConnection({"instances": 1_000_000})
    page = connection.inventory.list_instances({}, marker=None, limit=3, name=None, context=context)
    assert [summary.id for summary in page] == ["null-0000001", "null-0000002", "null-0000003"]
    assert connection.inventory.get_instance({}, "null-1000000", context).num_cpu == 1
    for wrong in ("null-1000001", "null-0000000", "null-1", "other"):
        with pytest.raises(Gone):
            connection.inventory.get_instance({}, wrong, context)


def test_no_disks_no_servers(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    connection = NullConnection({"disks": 0})
    instance = connection.inventory.get_instance({}, "null-0000001", context)
    assert connection.snapshots.create(instance, None, "key", {}, context).disks == ()


def test_nbdkit_is_missing(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = NullConnection({})
    instance = connection.inventory.get_instance({}, "null-0000001", context)
    snapshot = connection.snapshots.create(instance, None, "key", {}, context)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="nbdkit"):
        with connection.read_blocks.open_source(snapshot, "disk-0", context):
            pass
