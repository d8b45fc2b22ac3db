# SPDX-License-Identifier: Apache-2.0
"""Copies between two sites: where they are placed, who exports their source, and who is certified."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from coriolis.commands import migrations as commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.conductor import links
from coriolis.domain.errors import Invalid, Unavailable
from coriolis.rpc.messages import Assign, Certify, Error, Export, Exported, RemoteSource, SourceOpen
from coriolis.runtime import certificates
from coriolis.store import regions, sessions, trusts
from coriolis.store.standing_rows import Trust
from tests.unit.conductor.rig import CALLER, Rig

FOUND = Exported(source=RemoteSource(host="there", port=1, name="n"))


class OneWorker:
    """A bus on which every worker answers the same."""

    def __init__(self, answer: Exported | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str | None, Any]] = []

    def call(self, topic: str, request: Any, *, server: str | None = None, timeout: float = 0.0) -> Any:
        self.asked.append((server, request))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def north(rig: Rig) -> str:
    return rig.worker(kind="ova", host="north-1", regions=("north",))


@pytest.fixture
def south(rig: Rig) -> str:
    return rig.worker(kind="ova", host="south-1", regions=("south",))


def between(rig: Rig, *names: str, caller: Caller = CALLER) -> list[Assign]:
    """The copies of a migration from the first region to the second one, as they are placed."""
    known = rig.db.read(regions.named, names)
    ends = [
        NewEndpoint(name=name, type="ova", sealed=f"sealed-{name}", mapped_regions=(known[name],)) for name in names
    ]
    spec = NewMigration(origin=ends[0], destination=ends[1], instances=("vm",), replication_count=1)
    commands.create(rig.db, caller, spec)
    rig.run(until="copy")
    return rig.held


def test_a_copy_runs_at_the_destination_when_nobody_reaches_both(rig: Rig, north: str, south: str) -> None:
    copies = between(rig, "north", "south")
    assert [(one.attempt.session_id, one.apart) for one in copies] == [(south, True)] * 2


def test_a_worker_that_reaches_both_is_preferred_and_needs_no_link(rig: Rig, north: str, south: str) -> None:
    both = rig.worker(kind="ova", host="both-1", regions=("north", "south"))
    copies = between(rig, "north", "south")
    assert [(one.attempt.session_id, one.apart) for one in copies] == [(both, False)] * 2


def test_a_copy_waits_while_nobody_reaches_its_source(rig: Rig, north: str, south: str) -> None:
    (first, _) = between(rig, "north", "south")
    rig.end(first, outcome="returned")
    rig.db.write(sessions.end, [north], rig.clock())
    assert rig.dispatch() == []
    again = rig.worker(kind="ova", host="north-2", regions=("north",))
    (placed,) = rig.dispatch()
    assert (placed.attempt.session_id, placed.apart) == (south, True)
    assert again not in (placed.attempt.session_id,)


def ask(copy: Assign, **changes: Any) -> SourceOpen:
    return SourceOpen(**{"attempt": copy.attempt, "item": "disk-0", "snapshot": {"ref": "s"}, "peer": "p", **changes})


def test_the_same_worker_at_the_source_is_asked_each_time(rig: Rig, north: str, south: str) -> None:
    copy, _ = between(rig, "north", "south")
    others = [rig.worker(kind="ova", host=f"north-{n}", regions=("north",)) for n in (2, 3, 4)]
    bus = OneWorker(FOUND)
    for _ in range(3):
        assert links.open_source(rig.db, bus, ask(copy)).source == FOUND.source  # type: ignore[arg-type]
    ((server, export),) = {(server, request.source.sealed): (server, request) for server, request in bus.asked}.values()
    assert server in (north, *others)
    assert isinstance(export, Export)
    assert (export.source.sealed, export.peer, export.item) == ("sealed-north", "p", "disk-0")


def test_the_exporter_acts_under_the_trust_of_the_job(rig: Rig, north: str, south: str) -> None:
    given = Trust(
        id="t" * 36, keystone_id="in-keystone", project_id="project", user_id="user", expires_at=None,
        created_at=rig.clock(),
    )  # fmt: skip
    rig.db.write(trusts.insert, given)
    copy, _ = between(rig, "north", "south", caller=dataclasses.replace(CALLER, trust_id=given.id))
    bus = OneWorker(FOUND)
    links.open_source(rig.db, bus, ask(copy))  # type: ignore[arg-type]
    ((_, export),) = bus.asked
    assert export.source.trust == "in-keystone"


def test_who_does_not_own_the_task_gets_nothing(rig: Rig, north: str, south: str) -> None:
    copy, _ = between(rig, "north", "south")
    bus = OneWorker(FOUND)
    rig.end(copy, outcome="returned")
    reply = links.open_source(rig.db, bus, ask(copy))  # type: ignore[arg-type]
    assert (reply.accepted, reply.source, bus.asked) == (False, None, [])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Exported(), None),
        (Unavailable("no answer"), None),
        (Exported(error=Error(code="provider.gone", message="no such snapshot")), "provider.gone"),
    ],
)
def test_what_is_not_ready_is_asked_again_and_what_failed_is_told(
    rig: Rig, north: str, south: str, answer: Any, error: str | None
) -> None:
    copy, _ = between(rig, "north", "south")
    reply = links.open_source(rig.db, OneWorker(answer), ask(copy))  # type: ignore[arg-type]
    assert reply.accepted
    assert reply.source is None
    assert (reply.error.code if reply.error else None) == error


def test_without_a_worker_at_the_source_the_copy_is_tried_later(rig: Rig, north: str, south: str) -> None:
    copy, _ = between(rig, "north", "south")
    rig.db.write(sessions.end, [north], rig.clock())
    reply = links.open_source(rig.db, OneWorker(FOUND), ask(copy))  # type: ignore[arg-type]
    assert reply.error is not None
    assert reply.error.retryable


def test_only_a_live_session_is_certified_and_only_as_itself(rig: Rig, north: str, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    authority = certificates.create_authority(tmp_path / "ca.pem", tmp_path / "ca.key", now=now)
    request = certificates.request(certificates.new_key())
    found = links.certify(rig.db, authority, Certify(session_id=north, request=request))
    assert found.name == f"{north}.worker"
    assert found.authority == authority.pem
    made = x509.load_pem_x509_certificate((found.certificate or "").encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [found.name]
    assert links.certify(rig.db, None, Certify(session_id=north, request=request)).certificate is None
    with pytest.raises(Invalid):
        links.certify(rig.db, authority, Certify(session_id=north, request="nonsense"))
    rig.db.write(sessions.end, [north], rig.clock())
    assert links.certify(rig.db, authority, Certify(session_id=north, request=request)).certificate is None
