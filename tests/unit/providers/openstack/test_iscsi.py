# SPDX-License-Identifier: Apache-2.0
"""Which iSCSI targets a cloud may lead the worker to: those behind the portals that the operator named for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.api import Gone, Invalid, ProviderError, Unauthorized, Unavailable
from coriolis.providers.openstack.iscsi import IscsiPath, IscsiUnit, refusal, unit_of
from coriolis.providers.openstack.iscsi_access import Storage, portal, portals_of, read_storages

URL = "https://cloud.example:5000/v3"
TARGET = "iqn.2010-10.org.openstack:volume-6c2f5a0e-58a5-4bd5-9a57-0b1a6f2f1c11"
MINE = frozenset({"10.0.0.5:3260", "10.0.0.6:3260"})


def info(**more: Any) -> dict[str, Any]:
    """As Cinder's attachments give it: the data, with the protocol among them."""
    told = {"target_discovered": False, "target_portal": "10.0.0.5:3260", "target_iqn": TARGET, "target_lun": 1}
    login = {"auth_method": "CHAP", "auth_username": "u1", "auth_password": "s3cret"}
    return {"driver_volume_type": "iscsi", **told, **login, "encrypted": False, **more}


class TestTheOperatorsFile:
    def test_all_fields(self, tmp_path: Path) -> None:
        file = tmp_path / "portals"
        file.write_text(f"[array]\nauth_url = {URL}\nportals = 10.0.0.5, NAS.example:3261 [FE80::1]\n")
        portals = ("10.0.0.5:3260", "nas.example:3261", "[fe80::1]:3260")
        assert read_storages(str(file)) == (Storage(name="array", auth_url=URL, portals=portals),)

    def test_without_it_nothing_is_allowed(self) -> None:
        assert read_storages(None) == read_storages("") == ()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[a]\nportals = 10.0.0.5\n", "give auth_url"),
            (f"[a]\nauth_url = {URL}\n", "give portals"),
            (f"[a]\nauth_url = {URL}\nportals = iscsi://x\n", "no iSCSI portal"),
            (f"[a]\nauth_url = {URL}\nportals = 10.0.0.5:99999\n", "no iSCSI portal"),
            (f"[a]\nauth_url = {URL}\nportals = 10.0.0.5\nuser = me\n", "unknown fields user"),
            ("nothing", "cannot be read"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        file = tmp_path / "portals"
        file.write_text(text)
        with pytest.raises(Invalid, match=said):
            read_storages(str(file))

    def test_portals_belong_to_one_cloud(self) -> None:
        mine = Storage(name="array", auth_url=URL, portals=("10.0.0.5:3260",))
        other = Storage(name="other", auth_url="https://other.example:5000/v3", portals=("10.9.9.9:3260",))
        assert portals_of([mine, other], "https://CLOUD.example:5000") == {"10.0.0.5:3260"}

    @pytest.mark.parametrize("text", ["", "a b", "fe80::1", "x:", "-o x", "x:1:2", "x,1", "x/y", "u@x"])
    def test_what_is_no_portal(self, text: str) -> None:
        with pytest.raises(Invalid):
            portal(text)


class TestUnits:
    def test_one_path(self) -> None:
        path = IscsiPath(portal="10.0.0.5:3260", target=TARGET, lun=1)
        assert unit_of(info(), MINE) == IscsiUnit(paths=(path,), user="u1", password="s3cret")
        assert "s3cret" not in repr(unit_of(info(), MINE))

    def test_data_below_the_protocol(self) -> None:
        assert unit_of({"driver_volume_type": "iscsi", "data": info()}, MINE) == unit_of(info(), MINE)

    def test_without_a_login(self) -> None:
        assert unit_of(info(auth_method=None), MINE).user is None

    def test_of_several_paths_those_that_the_operator_named(self) -> None:
        more = {
            "target_portals": ["10.0.0.9:3260", "10.0.0.6", "10.0.0.5:3260"],
            "target_iqns": [TARGET] * 3,
            "target_luns": [1, 2, 1],
        }
        found = unit_of(info(**more), MINE)
        assert [(path.portal, path.lun) for path in found.paths] == [("10.0.0.5:3260", 1), ("10.0.0.6:3260", 2)]

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"target_portal": "10.0.0.9:3260"}, "no iSCSI portal 10.0.0.9:3260"),
            ({"target_portal": "10.0.0.5:3261"}, "no iSCSI portal 10.0.0.5:3261"),
            ({"target_portal": None}, "no iSCSI portal none"),
            ({"target_portal": "evil/../x"}, "is no iSCSI portal"),
            ({"target_iqn": "--help"}, "unusable iSCSI target"),
            ({"target_iqn": f"{TARGET},x=y"}, "unusable iSCSI target"),
            ({"target_iqn": None}, "unusable iSCSI target"),
            ({"target_lun": -1}, "unusable iSCSI target"),
            ({"target_lun": "1/../2"}, "unusable iSCSI target"),
            ({"target_lun": 1 << 20}, "unusable iSCSI target"),
            ({"auth_method": "KRB5"}, "unusable iSCSI login"),
            ({"auth_password": ""}, "unusable iSCSI login"),
        ],
    )
    def test_what_no_cinder_says(self, more: dict[str, Any], said: str) -> None:
        with pytest.raises(Invalid, match=said):
            unit_of(info(**more), MINE)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            "iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Authentication failure(513)",
            Unauthorized,
        ),
        ("iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Target not found(515)", Gone),
        ("Unknown driver 'iscsi'", Invalid),
        ("it did not start within 30 s", Unavailable),
    ],
)
def test_what_qemu_says(words: str, kind: type[ProviderError]) -> None:
    assert type(refusal(IscsiPath(portal="10.0.0.5:3260", target=TARGET, lun=1), words)) is kind
