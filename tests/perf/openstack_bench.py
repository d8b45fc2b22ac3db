# SPDX-License-Identifier: Apache-2.0
"""Whole migrations between real clouds by a real ``coriolis-standalone``, against an operator who does them by hand
(`openstack_by_hand`): an OVA to the new cloud, and a running server with two disks from the old to the new one.

The clock stops when the guest has said on its console that it is ready, and ours has also said that the migration is
complete. What is stored are the bytes in the files of all images and volumes that came to be, at their largest; the
temporary files of the clouds' own services are not counted. Needs the clouds of the lab: what does not run is brought
up, and stopped afterwards.

Run alone: ``python -m tests.perf.openstack_bench [--quick] [--rounds N] [--only NAME]``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import GuestSpec, build_guest
from demo.ova import Machine, build_ova
from tests.integration.openstack_site import ENDED, NETWORK, Desk, Member, member_of, scratch_file, shares
from tests.lab import content, fixtures, places
from tests.perf.contest import MIB, Row, main, ratio_row, turns
from tests.perf.openstack_by_hand import FLAVOR, hands, move_ova, move_server
from tests.perf.openstack_watch import Files, Guest, Service, until, watching
from tests.service.standalone_process import running

RANGE, ADDRESS, MAC = "10.88.77.0/24", "10.88.77.42", "fa:16:3e:88:77:42"
GUEST = GuestSpec(name="bench-guest", disk_mib=960, random_mib=384, text_mib=64)
OVA_BAR, SERVER_BAR, DOWN_BAR, BYTES_BAR = 1.0, 1.5, 1.0, 1.0
BY_HAND = "by hand"
NAME, DATA = "bench", "bench-data"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """``ova``: its guest, and what that says when its data are whole."""

    desk: Desk
    old: Member
    new: Member
    ova: Path
    digest: str
    folder: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taken:
    """One run, in seconds from its first request or command: until the server was active at the destination, until all
    was done, and for how long the source gave no service. ``stored``: bytes, see above."""

    placed: float
    whole: float
    down: float
    stored: int


#: Begins to move; gives a function that says whether all is done on its side, and raises when it went wrong.
Way = Callable[[Site], Callable[[], bool]]


def run(rounds: int = 3, *, quick: bool = False, only: str | None = None) -> Iterator[Row]:
    if not fixtures.possible():
        nothing = dict.fromkeys(("ours", "peer", "ratio", "bar", "holds"))
        yield {"name": "needs the lab: root on Debian", "unit": "-", **nothing}
        return
    rounds = 1 if quick else rounds
    with _site(content.GUEST if quick else GUEST) as site:
        for name, part in {"ova": ova_rows, "server": server_rows}.items():
            if only in (None, name):
                yield from part(site, rounds)


@contextlib.contextmanager
def _site(spec: GuestSpec) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="openstack-bench-"))
    before = {name: os.environ.get(name) for name in (SHARES, "no_proxy")}
    try:
        with fixtures.running(["old", "new"]) as clouds, contextlib.ExitStack() as stack:
            with places.locked("images"):
                guest = build_guest(places.LAB / "images", spec)
                ova = build_ova(guest, places.LAB / "images", Machine(name=NAME))
            os.environ[SHARES] = str(scratch_file(folder, shares(list(clouds.values()))))
            os.environ["no_proxy"] = "*"
            old, new = (stack.enter_context(member_of(clouds[name], RANGE)) for name in ("old", "new"))
            (folder / "state").mkdir(mode=0o700)
            desk = Desk(stack.enter_context(running(folder / "state")))
            yield Site(desk=desk, old=old, new=new, ova=ova, digest=guest.data_digest, folder=folder)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


# ---- an OVA to the new cloud


def ova_rows(site: Site, rounds: int) -> Iterator[Row]:
    ways: dict[str, Way] = {
        "ours": lambda site: _ours_ova(site, {}),
        "ours, through Glance": lambda site: _ours_ova(site, {"replica_import_mechanism": "image"}),
        BY_HAND: _ova_by_hand,
    }
    found = _contest(site, ways, rounds, words=(f"data ok {site.digest}",))
    ours, glance, peer = (found[name] for name in ways)
    title = "OVA to the new cloud, against tar, qemu-img and openstack"
    yield ratio_row(f"{title}: until its guest is ready", ours.whole, peer.whole, "s", OVA_BAR)
    yield ratio_row(f"{title}: until its server is active", ours.placed, peer.placed, "s", None)
    yield ratio_row(f"{title}: stored in images and volumes", ours.stored / MIB, peer.stored / MIB, "MiB", BYTES_BAR)
    yield ratio_row(f"{title}: through Glance, until its guest is ready", glance.whole, peer.whole, "s", None)


def _ours_ova(site: Site, more: Mapping[str, Any]) -> Callable[[], bool]:
    """Plans, checks quotas, digests and verifies a sample of it, too."""
    return _ours(
        site,
        origin_endpoint_id=site.desk.endpoint("ova", {"path": str(site.ova)}),
        destination_endpoint_id=site.desk.endpoint("openstack", site.new.info),
        instances=[NAME],
        network_map={"VM Network": {"id": NETWORK}},
        storage_mappings={"default": "fast"},
        destination_environment={"flavor_name": FLAVOR, **more},
    )


def _ova_by_hand(site: Site) -> Callable[[], bool]:
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        move_ova(hands(Path(folder), {"new": site.new}), site.ova, NAME)
    return lambda: True


# ---- a running server with two disks from the old cloud to the new one


def server_rows(site: Site, rounds: int) -> Iterator[Row]:
    ways: dict[str, Way] = {"ours": _ours_server, BY_HAND: _server_by_hand}
    found = _contest(site, ways, rounds, words=("boot 2", f"address {ADDRESS}"), source=_boot_source)
    ours, peer = (found[name] for name in ways)
    title = "server with two disks, old cloud to new, against openstack"
    yield ratio_row(f"{title}: until its guest is ready", ours.whole, peer.whole, "s", SERVER_BAR)
    yield ratio_row(f"{title}: no service", ours.down, peer.down, "s", DOWN_BAR)
    yield ratio_row(f"{title}: stored in images and volumes", ours.stored / MIB, peer.stored / MIB, "MiB", BYTES_BAR)


def _boot_source(site: Site) -> None:
    server = site.old.boot(NAME, ADDRESS, MAC)
    data = site.old.volume(DATA, "fast")
    site.old.sdk.compute.create_volume_attachment(server, volume_id=data.id)
    site.old.until_said(server, "coriolis-guest: ready")


def _ours_server(site: Site) -> Callable[[], bool]:
    """Two rounds: the source runs during the first, and is stopped for the second."""
    return _ours(
        site,
        origin_endpoint_id=site.desk.endpoint("openstack", site.old.info),
        destination_endpoint_id=site.desk.endpoint("openstack", site.new.info),
        instances=[NAME],
        network_map={NETWORK: NETWORK},
        storage_mappings={"default": "fast", "backend_mappings": [{"source": "fast", "destination": "slow"}]},
        destination_environment={"flavor_name": FLAVOR, "keep_ip_addresses": True},
        replication_count=2,
        shutdown_instances=True,
    )


def _server_by_hand(site: Site) -> Callable[[], bool]:
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        made = hands(Path(folder), {"old": site.old, "new": site.new})
        move_server(made, NAME, DATA, ADDRESS, MAC)
    return lambda: True


# ---- one run


def _ours(site: Site, **order: Any) -> Callable[[], bool]:
    path = f"/migrations/{site.desk.ask('POST', '/migrations', {'migration': order})['migration']['id']}"

    def complete() -> bool:
        migration = site.desk.ask("GET", path)["migration"]
        status = migration["last_execution_status"]
        if status in ENDED and status != "COMPLETED":
            raise RuntimeError(f"the migration ended as {status}: {Desk.story(migration)}")
        return bool(status == "COMPLETED")

    return complete


def _contest(
    site: Site,
    ways: Mapping[str, Way],
    rounds: int,
    *,
    words: Sequence[str],
    source: Callable[[Site], None] = lambda site: None,
) -> dict[str, Taken]:
    """Medians. ``source``: makes what is moved, each time. ``words``: what the guest has to say at its destination."""
    found: dict[str, list[Taken]] = {name: [] for name in ways}
    for name in turns(ways, rounds):
        try:
            source(site)
            found[name].append(_taken(site, ways[name], words))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
        finally:
            _clear(site)
    return {name: _median(taken) for name, taken in found.items()}


def _taken(site: Site, way: Way, words: Sequence[str]) -> Taken:
    files = [Files(member) for member in (site.old, site.new)]
    guest, service = Guest(site.new, NAME, words), Service(NAME)
    with contextlib.ExitStack() as stack:
        for member, one in zip((site.old, site.new), files, strict=True):
            stack.enter_context(watching(member, one.look))
        stack.enter_context(watching(site.old, service.look))
        start = time.monotonic()
        complete = way(site)
        until(lambda: all([guest.ready(), complete()]), "the guest is ready and all is done")
        end = time.monotonic()
    return Taken(
        placed=guest.active_at - start,
        whole=end - start,
        down=end - (service.ended_at or start),
        stored=sum(one.bytes for one in files),
    )


def _median(taken: Sequence[Taken]) -> Taken:
    names = [field.name for field in dataclasses.fields(Taken)]
    return Taken(**{name: statistics.median(getattr(one, name) for one in taken) for name in names})


def _clear(site: Site) -> None:
    for member in (site.new, site.old):
        member.clear()
        for image in list(member.sdk.image.images(owner=member.sdk.current_project_id)):
            member.sdk.image.delete_image(image)


if __name__ == "__main__":
    main(run, __doc__, only=("ova", "server"))
