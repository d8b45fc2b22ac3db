# SPDX-License-Identifier: Apache-2.0
"""Minions: their flavor, and whose host key is believed."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.image.v2.image import Image

from coriolis.providers.api import Context
from coriolis.providers.openstack import minions
from coriolis.providers.openstack.flavors import Flavor
from coriolis.providers.openstack.minion_login import fingerprint, new_keypair, parse_scan, shown, vouched
from coriolis.providers.openstack.minions import EPOCH, Recipe, kept_recipe, smallest_flavor
from coriolis.providers.openstack.transports import minion


def flavor(name: str, ram: int, disk: int, *, special: bool = False) -> Flavor:
    return Flavor(id=name, name=name, ram=ram, vcpus=1, disk=disk, special=special)


def test_smallest_flavor_holds_the_image() -> None:
    image = Image.existing(id="i", min_disk=0, min_ram=300, virtual_size=2 << 30)
    flavors = [
        flavor("little-memory", 256, 10),
        flavor("small-disk", 512, 1),
        flavor("special", 400, 2, special=True),
        flavor("large", 4096, 40),
        flavor("right", 512, 2),
    ]
    found = smallest_flavor(flavors, image)
    assert found is not None
    assert found.name == "right"
    assert smallest_flavor(flavors[:2], image) is None


def recipe(**more: Any) -> Recipe:
    return Recipe(image="i", flavor=flavor("f", 512, 1), network="n", network_name="net", username="root", **more)


@pytest.mark.parametrize(
    ("more", "network"),
    [
        ({}, {"port": 1, "floatingip": 0, "security_group": 1, "security_group_rule": 4}),
        ({"security_group": "g"}, {"port": 1, "floatingip": 0, "security_group": 0, "security_group_rule": 0}),
        ({"floating_network": "p", "security_group": "g"}, {"floatingip": 1, "port": 1}),
    ],
)
def test_what_a_minion_takes_from_the_quotas(more: dict[str, str], network: dict[str, int]) -> None:
    found = recipe(**more).needs
    assert found.compute == {"instances": 1, "cores": 1, "ram": 512}
    assert found.volume == {}  # it runs from its flavor's disk
    assert network.items() <= found.network.items()


def test_minions_of_a_job_are_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(_cloud: Any, environment: dict[str, Any]) -> Recipe:
        asked.append(environment["minion_image"])
        return recipe()

    monkeypatch.setattr(minions, "read_recipe", read)
    compute = SimpleNamespace(get_endpoint=lambda: "http://nova")
    cloud: Any = SimpleNamespace(
        sdk=SimpleNamespace(compute=compute), name="c", auth_url="a", project_id="p", proven=True, roles=frozenset()
    )
    context = Context(log=logging.getLogger(), scratch=tmp_path)
    for image, network in (("one", "a"), ("one", "b"), ("two", "a")):
        wanted = {"minion_image": image, "server_name": network}
        assert kept_recipe(cloud, wanted, context) == recipe()
    assert asked == ["one", "two"]


def test_fingerprint_is_that_of_openssh(tmp_path: Path) -> None:
    key = new_keypair()
    path = tmp_path / "key"
    path.write_text(key.private)
    path.chmod(0o600)
    said = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout
    assert fingerprint(key.public) == said.split()[1]
    assert key.private not in repr(key)


def test_only_a_key_that_the_console_shows_is_believed() -> None:
    real, other = new_keypair().public, new_keypair().public
    scanned = parse_scan(
        f"# 10.0.0.1:22 SSH-2.0-OpenSSH_9.2\n10.0.0.1 {real}\n10.0.0.1 {other}\n10.0.0.1 ssh-rsa ???\n"
    )
    assert scanned == [real, other]
    assert vouched(scanned, f"lab: ssh 256 {fingerprint(real)} root@m (ED25519)") == [real]
    assert shown(f"-----BEGIN SSH HOST KEY KEYS-----\n{real} root@m\n{other} root@m\n") == [real, other]
    assert shown("ssh-ed25519 is on") == []
    assert vouched(scanned, fingerprint(real)[:-1]) == []


@pytest.mark.parametrize(
    ("epoch", "ours", "there", "other"),
    [
        (7, "a", {"a": 7}, False),
        (7, "a", {"a": 7, "b": 6}, False),
        (7, "a", {"b": 8}, True),
        (7, None, {"b": 7}, False),  # ours: it was made, and did not come up
        (0, "a", {"a": 0}, False),
        (0, "a", {"b": 0}, True),  # of two that read for other workers, the one that came after us
        (7, "a", {}, False),
    ],
)
def test_whose_minion_it_is_at_the_end(
    epoch: int, ours: str | None, there: dict[str, int], other: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [SimpleNamespace(id=name, metadata={EPOCH: str(number)}) for name, number in there.items()]
    monkeypatch.setattr(minions, "find", lambda _cloud, _key: found)
    context = Context(log=logging.getLogger(), scratch=tmp_path, epoch=epoch)
    cloud: Any = SimpleNamespace()
    assert minion._has_other(cloud, "v", SimpleNamespace(id=ours) if ours else None, context) is other
