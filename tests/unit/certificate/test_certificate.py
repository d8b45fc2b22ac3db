# SPDX-License-Identifier: Apache-2.0
"""Certificates: what they say, that a change is noticed, and what the command answers without any service."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import blake3
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coriolis.certificate import check, document, signature
from coriolis.certificate.command import UNKNOWN, WRONG, Verify

MIB = 1 << 20
Json = Any


def root_of(data: bytes) -> str:
    """As the certificate defines it, by hand."""
    leaves = [blake3.blake3(data[at : at + MIB]).digest() for at in range(0, len(data), MIB)]
    head = b"coriolis disk 1\n" + len(data).to_bytes(8, "little") + MIB.to_bytes(8, "little")
    return blake3.blake3(head + b"".join(leaves)).hexdigest()


DATA = os.urandom(2 * MIB + 512)


def reported(digest: str, *, size: int = len(DATA), number: int = 1) -> Json:
    rounds = [
        {"number": n, "mode": "full", "started_at": "x", "finished_at": "y", "milliseconds": 5, "bytes_read": 1,
         "bytes_written": 1, "source_snapshot": f"snap-{n}", "digest": digest}
        for n in range(1, number + 1)
    ]  # fmt: skip
    return {"digest": digest, "size": size, "volume": "vol-1", "rounds": rounds}


def run() -> document.Run:
    now = dt.datetime(2026, 5, 1, 12)
    return document.Run(
        execution_id="e-1", type="migration", job_id="j-1", job_kind="migration", project_id="p",
        source_type="ova", destination_type="libvirt", started_at=now, finished_at=now,
    )  # fmt: skip


def built(outputs: Json) -> Json:
    machine = document.Machine(name="vm", outputs=outputs, result={"id": "new", "name": "vm-2", "other": 1})
    return document.build(run(), [machine], dt.datetime(2026, 5, 2))


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def signed(key: Ed25519PrivateKey) -> Json:
    outputs = {
        "digest@1/disk-0": reported("old"),
        "digest@2/disk-0": reported(root_of(DATA), number=2),
        "verified@2/disk-0": {"mode": "full", "digest": root_of(DATA), "bytes_read": 3},
        "snapshot@2": {"id": "s"},
        "vm": {"name": "vm"},
    }
    return signature.sign(built(outputs), key)


@pytest.fixture
def file(signed: Json, tmp_path: Path) -> Path:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(signed, indent=3))
    return path


def verify(*words: str) -> int:
    command = Verify(None, None)  # type: ignore[arg-type]  # it asks nothing of a program
    return command.take_action(command.get_parser("verify").parse_args(list(words)))


def test_the_last_round_of_each_disk_counts(signed: Json) -> None:
    ((instance, disk),) = document.disks(signed)
    assert instance == "vm"
    assert (disk["root"], disk["size_bytes"], disk["target_volume"]) == (root_of(DATA), len(DATA), "vol-1")
    assert disk["source_snapshot"] == "snap-2"
    assert [one["number"] for one in disk["rounds"]] == [1, 2]
    assert disk["verification"] == {"mode": "full", "digest": root_of(DATA)}
    assert signed["instances"][0]["target_instance"] == {"id": "new", "name": "vm-2"}
    assert signed["issued_at"] == "2026-05-02T00:00:00.000Z"


def test_outputs_as_a_whole_are_understood_too() -> None:
    """Of a deployment, which takes a replica up: one output for all disks."""
    told = built({"digest": {"a": reported("x"), "b": reported("y")}, "verified/a": {"mode": "sample"}})
    assert [(disk["disk_id"], disk["verification"]["mode"]) for _, disk in document.disks(told)] == [
        ("a", "sample"),
        ("b", "none"),
    ]


def test_free_space_that_was_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = built({"digest@1/disk-0": {**reported("x"), "bytes_saved": 0, "bytes_left_out": 4096}})
    file = tmp_path / "c.json"
    file.write_text(json.dumps(signature.sign(told, Ed25519PrivateKey.generate())))
    assert verify(str(file)) == 0
    assert "4096 bytes of free space" in capsys.readouterr().out


def test_without_disks_there_is_nothing_to_certify() -> None:
    assert built({"vm": {}}) is None


def test_any_change_is_noticed(signed: Json, key: Ed25519PrivateKey) -> None:
    assert signature.verify(signed) == signature.public(key)["key_id"]
    for path in (
        ("issued_at",),
        ("instances", 0, "disks", 0, "root"),
        ("instances", 0, "disks", 0, "rounds", 0, "mode"),
    ):
        changed = copy.deepcopy(signed)
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = "0" * 64
        with pytest.raises(signature.BadCertificate, match="changed after"):
            signature.verify(changed)
    with pytest.raises(signature.BadCertificate, match="changed after"):
        signature.verify({**signed, "more": 1})


def test_somebody_elses_signature_is_noticed_with_the_key(signed: Json) -> None:
    other = Ed25519PrivateKey.generate()
    forged = signature.sign({k: v for k, v in signed.items() if k != "signature"}, other)
    signature.verify(forged)
    with pytest.raises(signature.BadCertificate, match="not by the given one"):
        signature.verify(forged, signature._bytes(signed["signature"]["public_key"], "key"))


@pytest.mark.parametrize("rubbish", [None, 1, [], {}, {"format": document.FORMAT}, {"format": "other"}])
def test_rubbish_is_no_certificate(rubbish: Json) -> None:
    with pytest.raises(signature.BadCertificate):
        signature.verify(rubbish)


def test_the_key_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "key"
    made = signature.create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert signature.public(signature.load_key(path)) == signature.public(made)
    with pytest.raises(FileExistsError):
        signature.create_key(path)
    path.chmod(0o644)
    with pytest.raises(signature.BadKey, match="chmod 600"):
        signature.load_key(path)
    for content in (b"", b"rubbish"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(signature.BadKey):
            signature.load_key(path)
    with pytest.raises(signature.BadKey, match="cannot be read"):
        signature.load_key(tmp_path / "nothing")


def test_public_keys_come_in_three_forms(key: Ed25519PrivateKey) -> None:
    raw = key.public_key().public_bytes_raw()
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    told = signature.public(key)
    for text in (pem.decode(), told["public_key"] + "\n", json.dumps(told), json.dumps({"certificate_key": told})):
        assert signature.read_public(text) == raw
    for text in ("", "rubbish!", "{}", "{", "-----BEGIN X-----"):
        if text:
            with pytest.raises(signature.BadKey):
                signature.read_public(text)


def test_disks_are_named_by_id_by_instance_or_not_at_all(signed: Json) -> None:
    for word in ("disk-0=/x", "vm/disk-0=/x", "/x"):
        (wanted,) = check.match(signed, [word])
        assert (wanted.instance, wanted.where) == ("vm", "/x")
    two = copy.deepcopy(signed)
    two["instances"].append({**two["instances"][0], "instance": "vm2"})
    assert check.match(two, ["vm2/disk-0=/x=y"])[0].where == "/x=y"
    with pytest.raises(check.NoSuchDisk, match="several instances"):
        check.match(two, ["disk-0=/x"])
    with pytest.raises(check.NoSuchDisk, match="say which disk"):
        check.match(two, ["/x"])


def test_the_command_says_what_it_found(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(str(file)) == 0
    disk = tmp_path / "disk.raw"
    disk.write_bytes(DATA + bytes(100 * 512))  # a volume may be larger than the disk
    assert verify(str(file), "--disk", str(disk)) == 0
    assert "holds exactly these bytes" in capsys.readouterr().out
    raw = bytearray(DATA)
    raw[MIB + 5] ^= 1
    disk.write_bytes(raw)
    assert verify(str(file), "--disk", f"disk-0={disk}") == WRONG
    assert "DIFFERS" in capsys.readouterr().out


def test_the_command_tells_false_from_unknown(file: Path, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(signature.public(Ed25519PrivateKey.generate())))
    assert verify(str(file), "--key", str(other)) == WRONG
    other.write_text(json.dumps(signature.public(key)))
    assert verify(str(file), "--key", str(other)) == 0
    assert verify(str(tmp_path / "nothing")) == UNKNOWN
    assert verify(str(file), "--disk", str(tmp_path / "nothing")) == UNKNOWN
    assert verify(str(file), "--disk", "nbd+unix:///?socket=/nowhere") == UNKNOWN
    file.write_text(file.read_text().replace("snap-2", "snap-3"))
    assert verify(str(file)) == WRONG
