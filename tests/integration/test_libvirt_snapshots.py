# SPDX-License-Identifier: Apache-2.0
"""Points in time of real domains: running, stopped, and between the two."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
from pathlib import Path

import nbd
import pytest

from coriolis.dataplane import NbdSource, SourceError
from coriolis.providers.api import Conflict, Gone, Snapshot, from_json, to_json
from tests.integration import tiny_guest
from tests.integration.libvirt_lab import Lab, dirty, read, wait_for_writes

pytestmark = pytest.mark.integration
SIXTY_FOUR_KIB = 64 << 10


def bitmaps(image: Path) -> list[str]:
    done = subprocess.run(["qemu-img", "info", "-U", "--output=json", str(image)], capture_output=True, check=True)
    data = json.loads(done.stdout)["format-specific"]["data"]
    return [bitmap["name"] for bitmap in data.get("bitmaps", [])]


def snapshot_of_running(lab: Lab, name: str = "g") -> Snapshot:
    lab.define(name)
    instance = lab.start(name)
    return lab.connection.snapshots.create(instance, None, "one", {}, lab.context())


def test_a_running_domain_is_read_at_one_point_in_time(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    with lab.connection.read_blocks.open_source(first, "vda", lab.context()) as source:
        assert isinstance(source, NbdSource)
        then = read(source)
        assert len(then) == source.size == tiny_guest.DISK_SIZE
        assert then[:512] == tiny_guest.boot_sector()
        second = lab.connection.snapshots.create(lab.instance("g"), first, "two", {}, lab.context())
    with lab.connection.read_blocks.open_source(second, "vda", lab.context()) as source:
        value = tiny_guest.counter(read(source, tiny_guest.COUNTER_OFFSET, 512))
        assert value > tiny_guest.counter(then[tiny_guest.COUNTER_OFFSET :])  # the guest went on meanwhile
        assert wait_for_writes(source, value - 1) == value  # and this point in time stays
        assert read(source) == read(source)
    for number, key in ((first, "one"), (second, "two")):
        lab.connection.snapshots.delete(number.ref, key, lab.context())
    assert lab.left_over() == []
    assert bitmaps(lab.host.pool / "g.qcow2") == []


def test_create_twice_gives_one_snapshot_and_delete_twice_is_fine(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    again = lab.connection.snapshots.create(lab.instance("g"), None, "one", {}, lab.context())
    assert again == first
    assert from_json(Snapshot, json.loads(json.dumps(to_json(first)))) == first
    lab.connection.snapshots.delete(None, "one", lab.context())  # its answer was lost: found by key
    lab.connection.snapshots.delete(first.ref, "one", lab.context())
    assert lab.left_over() == []
    with pytest.raises(Gone, match="lost"), lab.connection.read_blocks.open_source(first, "vda", lab.context()):
        pass
    anew = lab.connection.snapshots.create(lab.instance("g"), None, "one", {}, lab.context())
    assert anew.disks[0].identity != first.disks[0].identity


def test_an_increment_is_exactly_what_the_guest_wrote(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    second = lab.connection.snapshots.create(lab.instance("g"), first, "two", {}, lab.context())
    assert second.disks[0].changes_since == first.disks[0].identity
    assert second.disks[0].identity != first.disks[0].identity
    lab.connection.snapshots.delete(first.ref, "one", lab.context())
    with lab.connection.read_blocks.open_source(second, "vda", lab.context()) as source:
        assert source.base_identity == first.disks[0].identity
        assert dirty(source) == [(tiny_guest.COUNTER_OFFSET, SIXTY_FOUR_KIB)]
    third = lab.connection.snapshots.create(lab.instance("g"), second, "three", {}, lab.context())
    with lab.connection.read_blocks.open_source(third, "vda", lab.context()) as source:
        assert dirty(source) == [(tiny_guest.COUNTER_OFFSET, SIXTY_FOUR_KIB)]


def test_raw_and_qcow2_disks_share_a_point_in_time(lab: Lab) -> None:
    pool = lab.host.pool
    disks = {
        "vda": ("qcow2", tiny_guest.qcow2_disk(pool / "m.qcow2")),
        "vdb": ("raw", tiny_guest.raw_disk(pool / "m.raw", seed=2)),
    }
    concerns = lab.connection.planning.check_source(lab.define("m", disks), {}, lab.context())
    assert [c.code for c in concerns] == ["libvirt.no_increments"]
    assert "vdb" in concerns[0].message
    instance = lab.start("m")
    first = lab.connection.snapshots.create(instance, None, "one", {}, lab.context())
    second = lab.connection.snapshots.create(instance, first, "two", {}, lab.context())
    assert [disk.changes_since is None for disk in second.disks] == [False, True]
    with lab.connection.read_blocks.open_source(second, "vdb", lab.context()) as source:
        assert read(source) == (pool / "m.raw").read_bytes()


def test_a_stopped_domain_is_read_as_it_is(lab: Lab) -> None:
    instance = lab.define("s")
    snapshot = lab.connection.snapshots.create(instance, None, "one", {}, lab.context())
    assert snapshot == lab.connection.snapshots.create(instance, None, "one", {}, lab.context())
    expected = tiny_guest.raw_disk(lab.scratch / "expected.raw").read_bytes()
    with lab.connection.read_blocks.open_source(snapshot, "vda", lab.context()) as source:
        assert read(source) == expected
        with pytest.raises(Exception, match="lock"):  # QEMU keeps the domain off while it is read
            lab.domain("s").create()
    lab.connection.snapshots.delete(snapshot.ref, "one", lab.context())
    assert lab.left_over() == []


def test_a_stopped_domain_that_runs_meanwhile_is_noticed(lab: Lab) -> None:
    snapshot = lab.connection.snapshots.create(lab.define("s"), None, "one", {}, lab.context())
    lab.start("s")
    with (
        pytest.raises(Conflict, match="has it open"),
        lab.connection.read_blocks.open_source(snapshot, "vda", lab.context()),
    ):
        pass
    lab.domain("s").destroy()
    with (
        pytest.raises(Conflict, match="was written after"),
        lab.connection.read_blocks.open_source(snapshot, "vda", lab.context()),
    ):
        pass
    again = lab.connection.snapshots.create(lab.instance("s"), None, "one", {}, lab.context())
    assert again.disks[0].identity != snapshot.disks[0].identity


def test_shut_down_between_rounds_reads_the_bitmap_from_the_image(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    with lab.connection.read_blocks.open_source(first, "vda", lab.context()) as source:
        earlier = read(source)
    lab.connection.compute.stop(first.instance_id, lab.context())
    assert not lab.connection.compute.is_running(first.instance_id, lab.context())
    second = lab.connection.snapshots.create(lab.instance("g"), first, "two", {}, lab.context())
    assert second.disks[0].changes_since == first.disks[0].identity
    with lab.connection.read_blocks.open_source(second, "vda", lab.context()) as source:
        assert dirty(source) == [(tiny_guest.COUNTER_OFFSET, SIXTY_FOUR_KIB)]
        now = read(source)
    assert [at for at in range(0, len(now), SIXTY_FOUR_KIB) if now[at : at + SIXTY_FOUR_KIB] !=
            earlier[at : at + SIXTY_FOUR_KIB]] == [tiny_guest.COUNTER_OFFSET]  # fmt: skip
    lab.connection.snapshots.delete(first.ref, "one", lab.context())
    with lab.connection.read_blocks.open_source(
        dataclasses.replace(second, disks=(dataclasses.replace(second.disks[0], properties={
            k: v for k, v in second.disks[0].properties.items() if k != "bitmap"}),)), "vda", lab.context()
    ) as source:  # fmt: skip
        assert read(source) == now  # taking the bitmap away has not changed the identity
    lab.connection.snapshots.delete(second.ref, "two", lab.context())
    assert lab.left_over() == []
    assert bitmaps(lab.host.pool / "g.qcow2") == []


def test_a_bitmap_lost_in_a_crash_means_a_full_read(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    qemu = next(
        int(pid.name) for pid in Path("/proc").iterdir()
        if pid.name.isdecimal() and str(lab.host.pool / "g.qcow2") in _command(pid)
    )  # fmt: skip
    os.kill(qemu, signal.SIGKILL)
    while lab.domain("g").isActive():
        pass
    second = lab.connection.snapshots.create(lab.instance("g"), first, "two", {}, lab.context())
    assert second.disks[0].changes_since is None
    lab.start("g")
    third = lab.connection.snapshots.create(lab.instance("g"), first, "three", {}, lab.context())
    assert third.disks[0].changes_since is None
    for key in ("one", "two", "three"):
        lab.connection.snapshots.delete(None, key, lab.context())
    assert lab.left_over() == []


def _command(process: Path) -> str:
    try:
        command = (process / "cmdline").read_text()
    except OSError:
        return ""
    return command if "qemu-system" in command else ""


def test_a_domain_that_stops_while_it_is_read_is_a_typed_error(lab: Lab) -> None:
    first = snapshot_of_running(lab)

    def read_on() -> None:
        with lab.connection.read_blocks.open_source(first, "vda", lab.context()) as source:
            read(source, 0, 512)
            lab.domain("g").destroy()
            try:
                read(source)
            except nbd.Error as error:
                raise SourceError(str(error)) from error  # as the copy engine does

    with pytest.raises(Gone, match="switched off"):
        read_on()
    lab.connection.snapshots.delete(first.ref, "one", lab.context())
    assert lab.left_over() == []
    assert bitmaps(lab.host.pool / "g.qcow2") == []


def test_a_foreign_backup_job_is_named(lab: Lab) -> None:
    lab.define("f")
    instance = lab.start("f")
    socket = lab.host.directory / "sockets/theirs.sock"
    lab.domain("f").backupBegin(
        f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/></domainbackup>", None
    )
    with pytest.raises(Conflict, match=r"another program.*theirs\.sock.*domjobabort f"):
        lab.connection.snapshots.create(instance, None, "one", {}, lab.context())
    lab.connection.snapshots.delete(None, "one", lab.context())
    assert lab.domain("f").jobInfo()[0] != 0  # theirs goes on
    lab.domain("f").abortJob()


def test_another_execution_of_ours_is_a_conflict_too(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    with pytest.raises(Conflict, match="another Coriolis execution"):
        lab.connection.snapshots.create(lab.instance("g"), None, "other", {}, lab.context())
    lab.connection.snapshots.delete(first.ref, "one", lab.context())


def test_users_snapshots_rule_out_checkpoints_but_not_reading(lab: Lab) -> None:
    lab.define("u")
    lab.domain("u").snapshotCreateXML("<domainsnapshot><name>theirs</name></domainsnapshot>")
    instance = lab.start("u")
    concerns = lab.connection.planning.check_source(instance, {}, lab.context())
    assert "libvirt snapshots" in concerns[0].message
    first = lab.connection.snapshots.create(instance, None, "one", {}, lab.context())
    second = lab.connection.snapshots.create(instance, first, "two", {}, lab.context())
    assert second.disks[0].changes_since is None
    with lab.connection.read_blocks.open_source(second, "vda", lab.context()) as source:
        assert read(source, 0, 512) == tiny_guest.boot_sector()
    lab.connection.snapshots.delete(second.ref, "two", lab.context())
    assert lab.left_over() == []
    lab.domain("u").snapshotLookupByName("theirs").delete()


def test_without_a_socket_directory_the_domains_own_folder_is_used(lab: Lab) -> None:
    lab.define("a-domain-with-quite-a-long-name")
    instance = lab.start("a-domain-with-quite-a-long-name")
    connection = lab.connect({"connection_uri": lab.host.uri})
    snapshot = connection.snapshots.create(instance, None, "one", {}, lab.context())
    socket = Path(snapshot.properties["socket"])
    assert len(str(socket)) < 100
    inside = lab.host.directory / "lib" / socket.relative_to("/var/lib/libvirt")
    assert inside.is_socket()
    connection.snapshots.delete(snapshot.ref, "one", lab.context())
    connection.close()
    assert lab.left_over() == []


def test_scratch_files_of_a_host_that_went_down_are_removed(lab: Lab) -> None:
    first = snapshot_of_running(lab)
    scratch = next(path for path in lab.host.pool.iterdir() if "coriolis-one" in path.name)
    lab.domain("g").destroy()
    assert not scratch.exists()
    scratch.write_bytes(b"left by a crash")
    lab.connection.snapshots.delete(first.ref, "one", lab.context())
    assert lab.left_over() == []
