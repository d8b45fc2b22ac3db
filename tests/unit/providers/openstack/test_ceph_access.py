# SPDX-License-Identifier: Apache-2.0
"""Whose Ceph the worker may enter: said by the operator, whatever a cloud says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coriolis.conf.openstack import CEPH_CLUSTERS, HANDED_ON, ISCSI_PORTALS, NFS_SHARES
from coriolis.providers.api import Invalid
from coriolis.providers.libvirt.connection import OWN_RIGHTS
from coriolis.providers.openstack.ceph_access import CLUSTERS, Cluster, find, key_in, read_clusters
from coriolis.providers.openstack.iscsi_access import PORTALS
from coriolis.providers.openstack.nfs_access import SHARES
from coriolis.providers.openstack.rbd_tools import rbd_of
from coriolis.worker import forks

URL = "https://cloud.example:5000/v3"
KEY = "QVFBPT0="
RING = f'[client.other]\n\tkey = QUJD\n[client.coriolis]\n\tkey = {KEY}\n\tcaps mon = "profile rbd"\n'


def _info(**more: Any) -> dict[str, Any]:
    data = {"name": "volumes/volume-1", "hosts": ["10.0.0.1"], "ports": ["6789"], "auth_username": "cinder", **more}
    return {"driver_volume_type": "rbd", "data": data}


def _cluster(folder: Path, **more: Any) -> Cluster:
    ring = folder / "ring"
    ring.write_text(RING)
    return Cluster(
        **{"name": "east", "auth_url": URL, "pools": ("volumes",), "user": "coriolis", "keyring": ring, **more}
    )


class TestTheOperatorsFile:
    def test_all_fields(self, tmp_path: Path) -> None:
        path = tmp_path / "clusters"
        path.write_text(
            f"[east]\nauth_url = {URL}\npools = volumes, fast\nuser = client.coriolis\nconf = /etc/ceph/east.conf\n"
            "keyring = /etc/ceph/east.keyring\n[west]\nauth_url = https://west.example\npools = volumes\n"
        )
        east, west = read_clusters(str(path))
        assert east == Cluster(
            name="east",
            auth_url=URL,
            pools=("volumes", "fast"),
            user="coriolis",
            conf=Path("/etc/ceph/east.conf"),
            keyring=Path("/etc/ceph/east.keyring"),
        )
        assert (west.user, west.conf, west.keyring) == (None, None, None)

    def test_without_it_nothing_is_allowed(self) -> None:
        assert read_clusters(None) == read_clusters("") == ()
        assert find((), URL, _info(), proven=True) is None

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[a]\npools = volumes\n", "give auth_url"),
            (f"[a]\nauth_url = {URL}\n", "give pools"),
            (f"[a]\nauth_url = {URL}\npools = volumes\nkeyring = /x\n", "give the user"),
            (f"[a]\nauth_url = {URL}\npools = volumes\nkey = secret\n", "unknown fields key"),
            ("nothing", "cannot be read"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "clusters"
        path.write_text(text)
        with pytest.raises(Invalid, match=said):
            read_clusters(str(path))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match="cannot be read"):
            read_clusters(str(tmp_path / "none"))

    def test_what_the_operator_says_reaches_the_children_of_a_worker(self) -> None:
        assert {OWN_RIGHTS, *HANDED_ON.values()} <= set(forks.KEPT_ENVIRONMENT)
        assert (CLUSTERS, SHARES, PORTALS) == (CEPH_CLUSTERS, NFS_SHARES, ISCSI_PORTALS)


class TestFinding:
    @pytest.mark.parametrize("url", [URL, "https://cloud.example:5000", "https://CLOUD.example:5000/", f"{URL}/"])
    def test_the_same_keystone(self, tmp_path: Path, url: str) -> None:
        east = _cluster(tmp_path)
        assert find([east], url, _info(), proven=True) is east

    @pytest.mark.parametrize(
        "url", ["https://evil.example:5000/v3", "http://cloud.example:5000/v3", "https://cloud.example/v3", f"{URL}/x"]
    )
    def test_another_keystone_may_say_what_it_likes(self, tmp_path: Path, url: str) -> None:
        assert find([_cluster(tmp_path)], url, _info(), proven=True) is None

    def test_a_cloud_that_proved_nothing_is_no_cloud_of_the_operators(self, tmp_path: Path) -> None:
        assert find([_cluster(tmp_path)], URL, _info(), proven=False) is None

    def test_another_pool(self, tmp_path: Path) -> None:
        assert find([_cluster(tmp_path)], URL, _info(name="secret/volume-1"), proven=True) is None

    def test_one_of_several_is_told_by_its_monitors(self, tmp_path: Path) -> None:
        confs = []
        for number in (1, 2):
            conf = tmp_path / f"{number}.conf"
            conf.write_text(f"[global]\nmon host = [v2:10.0.0.{number}:3300,v1:10.0.0.{number}:6789]\n")
            confs.append(conf)
        clusters = [_cluster(tmp_path, name=conf.name, conf=conf) for conf in confs]
        found = find(clusters, URL, _info(hosts=["10.0.0.2"]), proven=True)
        assert found is clusters[1]
        assert find(clusters, URL, _info(hosts=["10.0.0.22"]), proven=True) is None


class TestImages:
    def test_the_operators_key_and_user_count(self, tmp_path: Path) -> None:
        image = rbd_of(_info(keyring="[client.cinder]\nkey = QUJD\n"), _cluster(tmp_path))
        assert (image.spec, image.user, image.key) == ("volumes/volume-1", "coriolis", KEY)
        assert image.monitors == ("10.0.0.1:6789",)
        assert KEY not in repr(image)

    def test_otherwise_those_of_cinder(self, tmp_path: Path) -> None:
        image = rbd_of(_info(keyring=f"[client.cinder]\nkey = {KEY}\n"), _cluster(tmp_path, user=None, keyring=None))
        assert (image.user, image.key) == ("cinder", KEY)

    def test_attachments_give_the_data_alone(self, tmp_path: Path) -> None:
        data = {**_info()["data"], "driver_volume_type": "rbd"}
        assert rbd_of(data, _cluster(tmp_path)).name == "volume-1"

    def test_ipv6(self, tmp_path: Path) -> None:
        image = rbd_of(_info(hosts=["[fd00::1]"]), _cluster(tmp_path))
        assert image.monitors == ("[fd00::1]:6789",)

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"name": "volumes/--help"}, "unusable"),
            ({"name": "volumes/a@b"}, "unusable"),
            ({"name": "volumes/a/b"}, "unusable"),
            ({"name": "volumes"}, "unusable"),
            ({"name": "other/volume-1"}, "does not let"),
            ({"hosts": ["a\n[global]"]}, "unusable"),
            ({"ports": ["0x1"]}, "unusable"),
            ({"encrypted": True}, "encrypted"),
        ],
    )
    def test_what_no_cinder_says_is_refused(self, tmp_path: Path, more: dict[str, Any], said: str) -> None:
        with pytest.raises(Invalid, match=said):
            rbd_of(_info(**more), _cluster(tmp_path))

    def test_no_key_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match="no Ceph key"):
            rbd_of(_info(keyring=None), _cluster(tmp_path, keyring=None))

    def test_not_ceph(self, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match="nfs"):
            rbd_of({"driver_volume_type": "nfs", "data": {}}, _cluster(tmp_path))

    def test_keys_of_others_are_not_taken(self) -> None:
        assert key_in(RING, "coriolis") == KEY
        assert key_in(f"key = {KEY}\n", "anybody") == KEY
        with pytest.raises(Invalid, match=r"no key of client\.admin"):
            key_in(RING, "admin")
