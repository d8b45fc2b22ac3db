# SPDX-License-Identifier: Apache-2.0
"""How the service proves itself to Keystone, from the sections of its configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from coriolis import conf as configuration
from coriolis.cmd import assembly

PROOF = """
auth_type = {kind}
auth_url = https://keystone.example.org/v3
username = coriolis-trustee
password = secret
user_domain_name = Default
"""
READ = {
    "auth_url": "https://keystone.example.org/v3",
    "username": "coriolis-trustee",
    "password": "secret",
    "user_domain_name": "Default",
}


def loaded(folder: Path, text: str) -> cfg.ConfigOpts:
    path = folder / "coriolis.conf"
    path.write_text(text)
    return configuration.load([], program="coriolis-worker", files=[path])


@pytest.mark.parametrize("kind", ["password", "v3password"])
def test_the_options_of_the_plugin_are_read(tmp_path: Path, kind: str) -> None:
    proof = PROOF.format(kind=kind)
    conf = loaded(tmp_path, f"[trustee]{proof}[secrets]\nbarbican = true\n[barbican]{proof}region_name = here\n")
    found = assembly.vault_settings(conf)
    assert found.trustee == {"auth_type": kind, "auth": READ, "cafile": None}
    assert found.barbican is not None
    assert (found.barbican["auth"], found.barbican["region"]) == (READ, "here")
    assert assembly.trusts(conf) is not None


def test_without_the_sections_there_are_none(tmp_path: Path) -> None:
    conf = loaded(tmp_path, "[secrets]\nbarbican = true\n")
    found = assembly.vault_settings(conf)
    assert found.trustee is None
    assert found.barbican is not None
    assert found.barbican["auth"] == {}
    assert assembly.trusts(conf) is None


def test_an_unknown_plugin_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"\[trustee\], auth_type: .*nonsense"):
        assembly.trustee(loaded(tmp_path, "[trustee]\nauth_type = nonsense\n"))
