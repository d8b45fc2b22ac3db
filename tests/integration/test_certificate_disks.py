# SPDX-License-Identifier: Apache-2.0
"""``coriolis certificate verify`` reads disks of any format, and exports, and tells what they hold. No service runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coriolis.certificate import document, signature
from coriolis.dataplane import DiskFormat, FileSink, ImageSource, copy_disk, open_source
from tests.integration.dataplane_disks import MISSING, convert, make_raw, run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

GOOD, WRONG = 0, 1
COMMAND = Path(sys.executable).parent / "coriolis"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("disk") / "disk.raw")


@pytest.fixture
def certificate(raw: Path, tmp_path: Path) -> Path:
    """Of a copy of ``raw``, and beside it the key that signed."""
    done = copy_disk(ImageSource(path=raw), FileSink(path=tmp_path / "copy"), journal=tmp_path / "journal", epoch=1)
    now = dt.datetime(2026, 5, 1, 12)
    run_ = document.Run(
        execution_id="e-1", type="migration", job_id="j-1", job_kind="migration", project_id="p",
        source_type="ova", destination_type="libvirt", started_at=now, finished_at=now,
    )  # fmt: skip
    told = {"digest": done.digest, "size": done.size, "volume": "v", "rounds": []}
    machine = document.Machine(name="vm", outputs={"digest@1/disk-0": told})
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.json").write_text(json.dumps(signature.public(key)))
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(signature.sign(document.build(run_, [machine], now), key)))
    return path


def verify(certificate: Path, disk: str) -> tuple[int, str]:
    words = ["certificate", "verify", str(certificate), "--key", str(certificate.with_name("key.json"))]
    environment = {"PATH": os.environ["PATH"], "HOME": str(certificate.parent)}
    done = subprocess.run(
        [str(COMMAND), *words, "--disk", disk], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("variant", ["raw", "qcow2", "vmdk-stream", "vhdx"])
def test_a_disk_of_any_format(raw: Path, certificate: Path, tmp_path: Path, variant: str) -> None:
    image = convert(raw, tmp_path / f"disk.{variant}", variant)
    status, said = verify(certificate, str(image))
    assert (status, "holds exactly these bytes" in said) == (GOOD, True), said


@pytest.mark.parametrize("variant", ["raw", "qcow2"])
def test_an_export(raw: Path, certificate: Path, tmp_path: Path, variant: str) -> None:
    image = convert(raw, tmp_path / f"disk.{variant}", variant)
    with open_source(ImageSource(path=image, format=DiskFormat(variant))) as export:
        status, said = verify(certificate, f"vm/disk-0={export.uri}")
    assert (status, "holds exactly these bytes" in said) == (GOOD, True), said
    run("qemu-io", "-f", variant, "-c", "write -P 0x55 7M 512", str(image))
    with open_source(ImageSource(path=image, format=DiskFormat(variant))) as export:
        for disk in (str(image), export.uri):
            status, said = verify(certificate, disk)
            assert (status, "DIFFERS" in said) == (WRONG, True), said
