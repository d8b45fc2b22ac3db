# SPDX-License-Identifier: Apache-2.0
"""A libvirt host behind a real OpenSSH server: control, disk bytes, host keys, secrets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import NbdSource
from coriolis.providers.api import Invalid, ProviderError, Unauthorized
from coriolis.providers.libvirt.provider import LibvirtConnection
from tests.integration import tiny_guest
from tests.integration.libvirt_lab import Lab, dirty, read, write
from tests.integration.loopback_sshd import Sshd, sshd

pytestmark = pytest.mark.integration


@pytest.fixture
def server(short_path: Path) -> Iterator[Sshd]:
    with sshd(short_path / "sshd") as running:
        yield running


def info(lab: Lab, server: Sshd, **more: Any) -> dict[str, Any]:
    return {
        "connection_uri": f"qemu+ssh://root@127.0.0.1:{server.port}/system?socket={lab.host.socket}",
        "ssh_private_key": server.private_key,
        "ssh_host_key": server.host_key,
        "socket_directory": str(lab.host.directory / "sockets"),
        **more,
    }


@pytest.fixture
def remote(lab: Lab, server: Sshd) -> Iterator[LibvirtConnection]:
    connection = lab.connect(info(lab, server))
    yield connection
    connection.close()


def processes(word: str) -> list[str]:
    """Command lines of running programs with ``word`` in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in command:
            found.append(command)
    return found


def test_it_is_the_same_host(lab: Lab, remote: LibvirtConnection) -> None:
    instance = lab.define("web")
    remote.check(lab.context())
    assert remote.inventory.get_instance({}, "web", lab.context()) == instance


def test_bytes_of_running_and_stopped_domains_come_over_ssh(lab: Lab, remote: LibvirtConnection) -> None:
    lab.define("g")
    instance = lab.start("g")
    first = remote.snapshots.create(instance, None, "one", {}, lab.context())
    with remote.read_blocks.open_source(first, "vda", lab.context()) as source:
        assert isinstance(source, NbdSource)
        assert str(lab.host.directory) not in source.uri  # a forwarded socket, not the host's own
        assert read(source)[:512] == tiny_guest.boot_sector()
    second = remote.snapshots.create(instance, first, "two", {}, lab.context())
    with remote.read_blocks.open_source(second, "vda", lab.context()) as source:
        assert dirty(source) == [(tiny_guest.COUNTER_OFFSET, 64 << 10)]
    remote.compute.stop(instance.id, lab.context())
    third = remote.snapshots.create(lab.instance("g"), second, "three", {}, lab.context())
    with remote.read_blocks.open_source(third, "vda", lab.context()) as source:
        assert dirty(source) == [(tiny_guest.COUNTER_OFFSET, 64 << 10)]
        assert read(source)[:512] == tiny_guest.boot_sector()
    for key in ("one", "two", "three"):
        remote.snapshots.delete(None, key, lab.context())
    assert lab.left_over() == []


def test_a_domain_is_made_and_boots_over_ssh(lab: Lab, remote: LibvirtConnection) -> None:
    instance = lab.define("web")
    layout = remote.planning.plan(instance, {"name_suffix": "-new"}, {"user": "user"}, {}, lab.context())
    volume = remote.volumes.create(layout.disks[0], layout, "volume", {}, lab.context())
    with remote.write_blocks.open_sink(volume, lab.context()) as sink:
        write(sink, tiny_guest.boot_sector())
    deployed = remote.compute.create(instance, layout, [volume], "vm", {}, lab.context())
    remote.compute.start(deployed.ref, lab.context())
    lab.wait_for_greeting("web-new")
    remote.compute.delete(deployed.ref, "vm", lab.context())
    remote.volumes.delete(volume.ref, "volume", lab.context())
    assert lab.left_over() == []


def test_writers_lock_each_other_out_across_ways(lab: Lab, remote: LibvirtConnection) -> None:
    instance = lab.define("web")
    layout = remote.planning.plan(instance, {"name_suffix": "-new"}, {"user": "user"}, {}, lab.context())
    volume = remote.volumes.create(layout.disks[0], layout, "volume", {}, lab.context())
    with lab.connection.write_blocks.open_sink(volume, lab.context(epoch=1)) as old:
        with remote.write_blocks.open_sink(volume, lab.context(epoch=2)) as new:
            write(new, b"n" * 512)
            with pytest.raises(Exception, match=r"[Cc]onnect|reset|closed"):
                write(old, b"o" * 512)
            assert read(new, 0, 1) == b"n"
    assert lab.exports() == []


def test_a_host_key_that_is_not_the_known_one_is_refused(lab: Lab, server: Sshd, short_path: Path) -> None:
    wrong = " ".join((short_path / "sshd/stranger.pub").read_text().split()[:2])
    with pytest.raises(Unauthorized, match="host key is not the known one"):
        lab.connect(info(lab, server, ssh_host_key=wrong))
    unknown = info(lab, server)
    del unknown["ssh_host_key"]
    with pytest.raises(Unauthorized, match="host key is not the known one"):
        lab.connect(unknown)


def test_a_known_hosts_file_will_do(lab: Lab, server: Sshd, short_path: Path) -> None:
    file = short_path / "known_hosts"
    file.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    known = info(lab, server, ssh_known_hosts=str(file))
    del known["ssh_host_key"]
    lab.connect(known).close()


def test_a_wrong_key_is_refused_and_a_damaged_one_named(lab: Lab, server: Sshd, short_path: Path) -> None:
    with pytest.raises(Unauthorized, match="refused the user or key"):
        lab.connect(info(lab, server, ssh_private_key=(short_path / "sshd/stranger").read_text()))
    with pytest.raises(ProviderError, match="ssh_private_key") as caught:
        lab.connect(info(lab, server, ssh_private_key="not a key"))
    assert isinstance(caught.value, (Invalid, Unauthorized))


def test_no_secret_in_arguments_and_no_trace_after_close(lab: Lab, server: Sshd) -> None:
    secret = server.private_key.splitlines()[2]
    connection = lab.connect(info(lab, server))
    keys = list(lab.scratch.rglob("key"))
    assert [oct(path.stat().st_mode & 0o777) for path in keys] == ["0o600"]
    assert processes(secret) == []
    connection.close()
    assert [path for path in lab.scratch.rglob("*") if path.is_file()] == []
    assert processes(str(lab.scratch)) == []


def test_a_server_that_dies_is_unavailable_and_leaves_no_export(lab: Lab, server: Sshd) -> None:
    connection = lab.connect(info(lab, server))
    instance = lab.define("web")
    snapshot = connection.snapshots.create(instance, None, "one", {}, lab.context())
    with connection.read_blocks.open_source(snapshot, "vda", lab.context()):
        for line in subprocess.run(["pgrep", "-f", f"^ssh .*{lab.scratch}.* -M "], capture_output=True, text=True,
                                   check=False).stdout.split():  # fmt: skip
            subprocess.run(["kill", "-KILL", line], check=True)
    with pytest.raises(ProviderError) as caught:
        connection.check(lab.context())
    assert caught.value.retryable
    connection.close()
    assert lab.exports() == []
