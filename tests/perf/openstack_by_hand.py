# SPDX-License-Identifier: Apache-2.0
"""An operator who moves a machine by hand: ``tar``, ``qemu-img`` and the real program ``openstack``.

Where the program waits, it looks every five seconds; and a second run of it to look takes seconds of its own. So it is
asked for things only, and the library looks whether they are there, twice a second, as it does for ours.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.openstack_site import NETWORK, Member
from tests.perf.contest import GIB
from tests.perf.openstack_watch import until

FLAVOR = "lab.small"
_PROGRAM = Path(sys.executable).with_name("openstack")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hands:
    """``folder`` has a clouds.yaml for the program; ``clouds``: whom it acts as, by the names in there."""

    folder: Path
    clouds: Mapping[str, Member]

    def openstack(self, cloud: str, *words: str | Path) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"),
            "no_proxy": "*",
        }
        _run([_PROGRAM, "--os-cloud", cloud, *words], environment)


def hands(folder: Path, clouds: Mapping[str, Member]) -> Hands:
    def entry(member: Member) -> dict[str, Any]:
        auth = {name: value for name, value in member.info.items() if name != "region_name"}
        return {"auth": auth, "region_name": member.info["region_name"], "identity_api_version": 3}

    path = folder / "clouds.yaml"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"clouds": {name: entry(member) for name, member in clouds.items()}}))
    return Hands(folder=folder, clouds=clouds)


def move_ova(made: Hands, ova: Path, name: str) -> None:
    """The OVA's only disk becomes a volume from which a server boots. Nothing is verified, the MAC is a new one."""
    folder = made.folder / name
    folder.mkdir()
    _run(["tar", "-xf", ova, "-C", folder])
    (vmdk,) = folder.glob("*.vmdk")
    disk = folder / "disk.qcow2"
    _run(["qemu-img", "convert", "-O", "qcow2", vmdk, disk])
    made.openstack("new", *_image(disk), name)
    made.openstack("new", *_volume(disk, "fast", name), name)
    _until_volumes(made.clouds["new"], name)
    made.openstack("new", "server", "create", "--flavor", FLAVOR, "--volume", name, "--network", NETWORK, name)


def move_server(made: Hands, name: str, data: str, address: str, mac: str) -> None:
    """A server with an image-backed root disk and the volume ``data``. It has to be stopped for as long as this takes:
    only then both disks are of one time. Cinder uploads no volume that a server has, unless its administrator allows
    it (``enable_force_upload``): it is detached."""
    old, new = made.clouds["old"], made.clouds["new"]
    made.openstack("old", "server", "stop", name)
    until(lambda: old.server(name).status == "SHUTOFF", f"{name} stops")
    made.openstack("old", "server", "remove", "volume", name, data)
    _until_volumes(old, data)
    made.openstack("old", "server", "image", "create", "--name", name, name)
    made.openstack("old", "image", "create", "--volume", data, "--disk-format", "qcow2", data)
    folder = made.folder / name
    folder.mkdir()
    for image, kind in ((name, "fast"), (data, "slow")):
        _until_image(old, image)
        disk = folder / f"{image}.qcow2"
        made.openstack("old", "image", "save", "--file", disk, image)
        made.openstack("new", *_image(disk), image)
        made.openstack("new", *_volume(disk, kind, image), image)
    where = ["--mac-address", mac, "--fixed-ip", f"subnet={new.network.subnet_ids[0]},ip-address={address}"]
    made.openstack("new", "port", "create", "--network", NETWORK, *where, name)
    _until_volumes(new, name, data)
    second = f"uuid={_volume_of(new, data).id},source_type=volume,destination_type=volume"
    disks = ["--volume", name, "--block-device", second]
    made.openstack("new", "server", "create", "--flavor", FLAVOR, *disks, "--port", name, name)


def _image(disk: Path) -> list[str | Path]:
    return ["image", "create", "--disk-format", "qcow2", "--container-format", "bare", "--file", disk]


def _volume(disk: Path, kind: str, image: str) -> list[str]:
    said = subprocess.run(["qemu-img", "info", "--output=json", disk], check=True, capture_output=True).stdout
    size = math.ceil(json.loads(said)["virtual-size"] / GIB)
    return ["volume", "create", "--image", image, "--size", str(size), "--type", kind]


def _until_image(member: Member, name: str) -> None:
    def there() -> bool:
        status = member.sdk.image.find_image(name).status
        return _good(status, "active", f"image {name}")

    until(there, f"image {name} is there")


def _until_volumes(member: Member, *names: str) -> None:
    for name in names:
        until(lambda: _good(_volume_of(member, name).status, "available", f"volume {name}"), f"{name} is there")  # noqa: B023


def _volume_of(member: Member, name: str) -> Any:
    return member.sdk.block_storage.find_volume(name, ignore_missing=False)


def _good(status: str, wanted: str, what: str) -> bool:
    if status in ("error", "killed", "deleted"):
        raise RuntimeError(f"{what} is {status}: this measures nothing")
    return bool(status == wanted)


def _run(command: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr[-2000:]}")
