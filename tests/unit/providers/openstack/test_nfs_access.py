# SPDX-License-Identifier: Apache-2.0
"""Which files of the worker a cloud may lead to: plain ones in the shares that the operator named for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coriolis.providers.api import Gone, Invalid
from coriolis.providers.openstack.connection import is_proven
from coriolis.providers.openstack.keystones import may_speak, same_keystone
from coriolis.providers.openstack.nfs_access import Share, file_of, read_shares, shares_of

URL = "https://cloud.example:5000/v3"
VOLUME = "volume-6c2f5a0e-58a5-4bd5-9a57-0b1a6f2f1c11"


@pytest.fixture
def share(tmp_path: Path) -> Share:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / VOLUME).write_bytes(b"bytes")
    return Share(name="fast", auth_url=URL, export="nas.example:/cinder", path=mounted)


class TestTheOperatorsFile:
    def test_all_fields(self, tmp_path: Path) -> None:
        file = tmp_path / "shares"
        file.write_text(f"[fast]\nauth_url = {URL}\nexport = nas:/fast\npath = /mnt/fast\n")
        assert read_shares(str(file)) == (Share(name="fast", auth_url=URL, export="nas:/fast", path=Path("/mnt/fast")),)

    def test_without_it_nothing_is_allowed(self) -> None:
        assert read_shares(None) == read_shares("") == ()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[a]\nexport = x:/y\npath = /mnt\n", "give auth_url"),
            (f"[a]\nauth_url = {URL}\npath = /mnt\n", "give export"),
            (f"[a]\nauth_url = {URL}\nexport = x:/y\n", "give path"),
            (f"[a]\nauth_url = {URL}\nexport = x:/y\npath = mnt\n", "must begin with /"),
            (f"[a]\nauth_url = {URL}\nexport = x:/y\npath = /mnt\nuser = me\n", "unknown fields user"),
            ("nothing", "cannot be read"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        file = tmp_path / "shares"
        file.write_text(text)
        with pytest.raises(Invalid, match=said):
            read_shares(str(file))

    def test_shares_belong_to_one_cloud(self, share: Share) -> None:
        assert shares_of([share], "https://CLOUD.example:5000") == (share,)
        assert shares_of([share], "https://other.example:5000/v3") == ()


class TestFiles:
    def test_a_volume(self, share: Share) -> None:
        assert file_of([share], {"export": share.export, "name": VOLUME}) == (share, share.path / VOLUME)

    def test_a_layer_over_a_snapshot(self, share: Share) -> None:
        name = f"{VOLUME}.4b8e1f4e-0d7c-4b6c-8a0a-b2f7a3b3a1d2"
        (share.path / name).touch()
        assert file_of([share], {"export": share.export, "name": name})[1].name == name

    @pytest.mark.parametrize(
        "name", ["../shadow", "/etc/shadow", "a/b", "..", ".", ".hidden", "", "-o", "a\nb", "a\0b", "a.b.c", None]
    )
    def test_other_names_are_refused(self, share: Share, name: str | None) -> None:
        with pytest.raises(Invalid, match="unusable name"):
            file_of([share], {"export": share.export, "name": name})

    @pytest.mark.parametrize("export", ["nas.example:/", "nas.example:/cinder/../other", "", None])
    def test_other_shares_are_refused(self, share: Share, export: str | None) -> None:
        with pytest.raises(Invalid, match="no NFS share"):
            file_of([share], {"export": export, "name": VOLUME})

    def test_links_and_folders_are_refused(self, share: Share) -> None:
        (share.path / "link").symlink_to("/etc/passwd")
        (share.path / "folder").mkdir()
        for name in ("link", "folder"):
            with pytest.raises(Invalid, match="not a plain file"):
                file_of([share], {"export": share.export, "name": name})

    def test_what_is_not_mounted_is_said(self, share: Share) -> None:
        (share.path / VOLUME).unlink()
        with pytest.raises(Gone, match="is it mounted"):
            file_of([share], {"export": share.export, "name": VOLUME})
        (share.path / "other").touch()
        with pytest.raises(Gone, match=f"has no file {VOLUME}"):
            file_of([share], {"export": share.export, "name": VOLUME})


class TestWhoSpeaksForACloud:
    @pytest.mark.parametrize(
        ("info", "proven"),
        [
            ({"auth_url": URL}, True),
            ({"auth_url": URL, "allow_untrusted": True}, False),
            ({"auth_url": URL, "cacert": "-----BEGIN"}, False),
            ({"auth_url": URL, "endpoint_overrides": {"volumev3": "https://evil.example"}}, False),
            ({"auth_url": "http://cloud.example:5000/v3"}, True),
            ({"auth_url": "http://cloud.example/v3", "endpoint_overrides": {"volumev3": "http://evil"}}, False),
            ({"delegation": {"auth_url": URL, "cafile": "/etc/ssl/ca.pem"}}, True),
            ({"auth_url": "https://evil.example\\@cloud.example:5000/v3"}, False),
        ],
    )
    def test_nothing_of_the_users_vouches_for_it(self, info: dict[str, object], proven: bool) -> None:
        assert is_proven(info) is proven

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example\\@cloud.example:5000/v3",  # urllib reads another host than requests
            "https://evil.example@cloud.example:5000/v3",
            "https://cloud.example:5000/v3?x=/v3",
            "https://cloud.example:5000/v3#/v3",
            "https://cloud.example:5000/x/../v3",
            "https://cloud%2eexample:5000/v3",
            "https://cloud.example:5000\t/v3",
            "",
        ],
    )
    def test_what_two_readers_may_take_for_two_places_is_nobodys(self, share: Share, url: str) -> None:
        assert shares_of([share], url) == ()
        assert not same_keystone(url, url)
        assert not may_speak(url, verified=True)

    @pytest.mark.parametrize(
        "url", ["https://[FD00::1]:5000/identity/v3/", "http://keystone", "https://a_b.example/x.y/v3"]
    )
    def test_plain_addresses(self, url: str) -> None:
        assert same_keystone(url, url.lower())
        assert may_speak(url, verified=True)
