# SPDX-License-Identifier: Apache-2.0
"""URIs, mappings, names, errors: rules of the libvirt provider that need no libvirt."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import libvirt
import pytest

from coriolis.providers.api import (
    Conflict,
    Gone,
    Invalid,
    PlannedDisk,
    ProviderError,
    Unauthorized,
    Unavailable,
)
from coriolis.providers.api.exports import nbd_uri
from coriolis.providers.api.ssh import refusal, ssh_config
from coriolis.providers.libvirt import PROVIDER
from coriolis.providers.libvirt.backup_xml import BackupDisk, backup_xml, checkpoint_xml, read_backup
from coriolis.providers.libvirt.connection import refuse_own_rights, short_tag, tag
from coriolis.providers.libvirt.errors import classify
from coriolis.providers.libvirt.planning import check_room, needs_of
from coriolis.providers.libvirt.storage import Pool, default_pool, resolve_pool
from coriolis.providers.libvirt.uri import Address, parse_uri
from coriolis.providers.libvirt.volumes import record_path, volume_name, volume_xml

MIB = 1 << 20


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu:///system", Address(uri="qemu:///system")),
        ("qemu:///session", Address(uri="qemu:///session", path="/session")),
        ("qemu:///system?socket=/run/x/sock", Address(uri="qemu:///system?socket=/run/x/sock", socket="/run/x/sock")),
        (
            "qemu+ssh://root@kvm1.example:2222/system",
            Address(uri="qemu+ssh://root@kvm1.example:2222/system", host="kvm1.example", port=2222, user="root"),
        ),
        ("qemu+ssh://[::1]/system", Address(uri="qemu+ssh://[::1]/system", host="::1")),
    ],
)
def test_accepted_uris(uri: str, expected: Address) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "system",
        "xen:///system",
        "qemu:///",
        "qemu://host/system",
        "qemu:///system?command=/bin/evil",
        "qemu:///system?socket=relative",
        "qemu:///system?socket=/a%20b",
        "qemu+ssh:///system",
        "qemu+ssh://root:secret@host/system",
        "qemu+ssh://-oProxyCommand=evil/system",
        "qemu+ssh://-l@host/system",
        "qemu+ssh://host:notaport/system",
        "qemu+ssh://host/session",
        "qemu+ssh://host/system?no_verify=1",
        "qemu+ssh://ho st/system",
        "qemu+tcp://host/system",
    ],
)
def test_refused_uris(uri: str) -> None:
    with pytest.raises(Invalid, match="connection_uri"):
        parse_uri(uri)


def test_keys_are_readable_tags_when_they_are_plain() -> None:
    assert tag("e1-disk_2") == "coriolis-e1-disk_2"
    assert tag("a/b c").startswith("coriolis-")
    assert len(tag("x" * 500)) == len("coriolis-") + 32
    assert tag("a/b") != tag("a b")
    assert len(short_tag("anything")) == 12


POOLS = [
    Pool(id="u1", name="default", type="dir", path="/p", active=True, capacity=100 * MIB, available=50 * MIB),
    Pool(id="u2", name="vg", type="logical", path="/dev/vg", active=True, capacity=100 * MIB, available=50 * MIB),
    Pool(id="u3", name="off", type="dir", path="/o", active=False, capacity=0, available=0),
    Pool(id="u4", name="lun", type="iscsi", path="/l", active=True, capacity=1, available=1),
]


def test_pools_are_found_by_id_or_name_and_must_be_usable() -> None:
    assert resolve_pool(POOLS, "u2").name == "vg"
    for wanted, words in (("off", "not active"), ("lun", "type iscsi"), ("none", "no storage pool none")):
        with pytest.raises(Invalid, match=words):
            resolve_pool(POOLS, wanted)
    assert default_pool(POOLS, {}) == "default"
    assert default_pool(POOLS[1:], {}) == "vg"
    assert default_pool(POOLS[:2][::-1], {"storage_pool": "x"}) == "x"
    assert default_pool([], {}) is None


def test_room_is_counted_per_pool() -> None:
    disks = tuple(PlannedDisk(disk_id=str(i), size_bytes=30 * MIB, storage="default") for i in range(2))
    assert check_room(disks[:1], POOLS, overcommit=False) == []
    assert [(need.name, need.count, need.free) for need in needs_of(disks, POOLS)] == [("storage pool default", 60, 50)]
    with pytest.raises(Invalid, match=r"default has 50 MiB free and the disks may grow to 60 MiB.*overcommit_storage"):
        check_room(disks, POOLS, overcommit=False)
    assert [concern.code for concern in check_room(disks, POOLS, overcommit=True)] == ["libvirt.overcommit"]


def test_volume_names_are_plain_and_end_in_the_key() -> None:
    name = volume_name("Web ../1", "disk/0", "key", "qcow2")
    assert name == f"Web_.._1-disk_0-{short_tag('key')}.qcow2"
    assert "/" not in volume_name("../../etc", "/", "key", None)
    assert '<capacity unit="bytes">512</capacity>' in volume_xml("a<b", 512, "raw")
    assert "a&lt;b" in volume_xml("a<b", 512, "raw")


def test_records_lie_beside_images_but_not_among_devices() -> None:
    assert record_path("/pool/a.qcow2") == "/pool/.a.qcow2.coriolis"
    assert record_path("/dev/vg/lv") == "/run/lock/coriolis_dev_vg_lv"


def test_backup_xml_says_what_is_read_and_from_when() -> None:
    disks = [
        BackupDisk(target="vda", scratch="/s/a", since="c1", bitmap="b", mark=True),
        BackupDisk(target="vdb", scratch="/s/b"),
    ]
    xml = backup_xml("/run/x.sock", disks, ["sda"])
    job = read_backup(xml)
    assert (job.socket, job.disks) == ("/run/x.sock", {"vda": "b", "vdb": None})
    checkpoint = checkpoint_xml("c2", disks, ["sda"])
    assert checkpoint is not None
    assert checkpoint.count('checkpoint="no"') == 2
    assert checkpoint_xml("c2", disks[1:], []) is None


def test_nbd_uris_are_quoted() -> None:
    assert nbd_uri("/tmp/a b/nbd", "x&y") == "nbd+unix:///x%26y?socket=/tmp/a%20b/nbd"


def libvirt_error(code: int, number: int = 0) -> libvirt.libvirtError:
    error = libvirt.libvirtError("call failed")
    error.err = (code, 0, "words", 0, "", None, None, number, 0)
    return error


@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, 0, Gone),
        (libvirt.VIR_ERR_AUTH_FAILED, 0, Unauthorized),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, 0, Unavailable),
        (libvirt.VIR_ERR_XML_ERROR, 0, Invalid),
        (libvirt.VIR_ERR_OPERATION_INVALID, 0, Conflict),
        (libvirt.VIR_ERR_INTERNAL_ERROR, 0, Conflict),
        (libvirt.VIR_ERR_SYSTEM_ERROR, errno.ECONNREFUSED, Unavailable),
        (libvirt.VIR_ERR_SYSTEM_ERROR, errno.EACCES, Unauthorized),
        (libvirt.VIR_ERR_SYSTEM_ERROR, errno.ENOSPC, Invalid),
    ],
)
def test_errors_have_classes(code: int, number: int, expected: type[ProviderError]) -> None:
    assert type(classify(libvirt_error(code, number), "doing")) is expected


def test_whatever_fails_on_a_broken_connection_is_unavailable() -> None:
    broken = SimpleNamespace(isAlive=lambda: 0)
    assert type(classify(libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR), "x", broken)) is Unavailable  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Host key verification failed.", Unauthorized),
        ("root@h: Permission denied (publickey).", Unauthorized),
        ('Load key "k": invalid format', Invalid),
        ("ssh: connect to host h port 22: Connection refused", Unavailable),
        ("", Unavailable),
    ],
)
def test_what_ssh_says_is_classified(said: str, expected: type[ProviderError]) -> None:
    assert type(refusal(Address(uri="qemu+ssh://h/system", host="h"), said)) is expected


def test_ssh_always_checks_host_keys() -> None:
    address = Address(uri="qemu+ssh://h/system", host="h", user="u", port=2)
    text = ssh_config(address, Path("/s"), Path("/t"), {"ssh_private_key": "k", "ssh_host_key": "t k"})
    assert "StrictHostKeyChecking yes" in text
    assert "IdentitiesOnly yes" in text
    with pytest.raises(Invalid):
        ssh_config(address, Path("/s"), Path("/t"), {"ssh_known_hosts": '/x"\nProxyCommand evil'})


def test_an_operator_can_keep_endpoints_off_the_workers_own_rights() -> None:
    here, there = parse_uri("qemu:///system"), parse_uri("qemu+ssh://u@h/system")
    full = {"ssh_private_key": "k", "ssh_host_key": "t k"}
    for address, info in ((here, {}), (there, {}), (there, full)):
        refuse_own_rights(address, info, "")
    refuse_own_rights(there, full, "no")
    for address, info in ((here, full), (there, {}), (there, {"ssh_private_key": "k"})):
        with pytest.raises(Unauthorized):
            refuse_own_rights(address, info, "no")


def test_schemas_accept_and_refuse() -> None:
    validator = jsonschema.Draft202012Validator(PROVIDER.connection_schema)
    assert validator.is_valid({"connection_uri": "qemu:///system"})
    assert not validator.is_valid({})
    assert not validator.is_valid({"connection_uri": "qemu:///system", "socket_directory": "/a:b"})
    assert not validator.is_valid({"connection_uri": "qemu:///system", "socket_directory": "/" + "x" * 80})
    assert PROVIDER.destination_schema is not None
    destination = jsonschema.Draft202012Validator(PROVIDER.destination_schema)
    assert destination.is_valid({"machine": "q35", "accel": "auto"})
    assert not destination.is_valid({"machine": "virt"})
