# SPDX-License-Identifier: Apache-2.0
"""The pages of the user guide that need a platform, run as they stand there: a package, a real libvirt, real QEMU.

What a reader has to put in is put in (``_READER``): an id, the address of the host, the place of the files, the name of
a network. ``qemu:///system`` is the private libvirtd of the tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import ovf_packages
from tests.integration import tiny_guest
from tests.integration.libvirt_lab import Lab
from tests.service import standalone_process
from tests.service.standalone_process import BIN, Standalone
from tests.service.test_user_guide import GUIDE, commands

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

_FIRST_ID = "$(coriolis migration list -f value -c ID | head -1)"


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    with standalone_process.running(tmp_path / "state") as made:
        yield made


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Path:
    """A folder with the files that the pages speak of, and packages in ``ova``."""
    tiny_guest.qcow2_disk(lab.host.pool / "minion.qcow2")
    lab.raw.storagePoolLookupByName("default").refresh()
    (tmp_path / "ova").mkdir()
    ovf_packages.ova(tmp_path / "ova" / "web1.ova", tiny_guest.boot_sector() * 2048, name="web1")
    libvirt = {**lab.host.connection_info, "shutdown_grace_seconds": 1}
    (tmp_path / "libvirt.json").write_text(json.dumps(libvirt))
    (tmp_path / "options.json").write_text(json.dumps({"image": "minion.qcow2", "memory_mb": 64}))
    return tmp_path


def run(standalone: Standalone, desk: Path, lines: Sequence[str]) -> str:
    """All that the commands print. The first one that fails ends the test."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    environment = {
        **keep,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "CORIOLIS_STATE_DIR": str(standalone.state),
        "HOME": str(desk),
    }
    script = "set -euxo pipefail\n" + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def put_in(lines: Sequence[str], **words: str) -> list[str]:
    """With what a reader puts in. Each has to be there."""
    text = "\n".join(lines)
    for placeholder, word in words.items():
        pattern = {"path": re.escape("/srv/ova"), "network": "VM Network=default", "id": r"\bID\b"}.get(
            placeholder, rf"\b{placeholder}\b"
        )
        assert re.search(pattern, text), placeholder
        text = re.sub(pattern, lambda found: word, text)  # noqa: B023
    return text.splitlines()


def test_the_first_migration_and_its_proof(standalone: Standalone, desk: Path, lab: Lab) -> None:
    page = [line for line in commands(GUIDE / "first-migration.rst") if line != "coriolis-standalone"]
    told = run(standalone, desk, put_in(page, path=str(desk / "ova"), network="VM Network=user", id=_FIRST_ID))
    assert "COMPLETED" in told
    assert lab.domain("web1").isActive()
    lab.domain("web1").destroy()
    proof = [line for line in commands(GUIDE / "integrity.rst") if "--disk" not in line]
    assert len(proof) == 3
    told = run(standalone, desk, put_in(proof, MIGRATION=_FIRST_ID))
    assert "web1" in told


def test_minion_pools(standalone: Standalone, desk: Path, lab: Lab) -> None:
    info = json.loads((desk / "libvirt.json").read_text())
    standalone.client.create_endpoint(name="kvm", type="libvirt", connection_info=info)
    run(standalone, desk, commands(GUIDE / "minion-pools.rst"))
    assert not [one.name() for one in lab.raw.listAllDomains() if one.name().startswith("spare")]
