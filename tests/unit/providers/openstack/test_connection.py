# SPDX-License-Identifier: Apache-2.0
"""How a cloud is opened: with whose credentials, and who vouches for it. Nothing is asked of any."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.api import Context, Invalid
from coriolis.providers.openstack.connection import close_cloud, open_cloud

URL = "https://cloud.example:5000/v3"
USER = {"auth_url": URL, "username": "u", "password": "p", "project_name": "p"}
TRUST = {
    "auth_url": URL,
    "username": "coriolis",
    "user_domain_id": "default",
    "password": "service",
    "trust_id": "t",
    "cafile": "/etc/ssl/own.pem",
}


def _open(info: dict[str, Any], folder: Path) -> Any:
    with contextlib.ExitStack() as end:
        cloud = open_cloud(info, Context(log=logging.getLogger(), scratch=folder))
        end.callback(close_cloud, cloud)
        return cloud


def test_a_user_says_which_certificates_his_own_credentials_need(tmp_path: Path) -> None:
    assert _open(USER, tmp_path).sdk.session.verify is True
    assert _open({**USER, "allow_untrusted": True}, tmp_path).sdk.session.verify is False
    path = _open({**USER, "cacert": "# Österreich\n-----BEGIN"}, tmp_path).sdk.session.verify
    assert Path(path).read_text(encoding="utf-8").endswith("-----BEGIN")


def test_two_clouds_of_one_task_have_an_authority_each(tmp_path: Path) -> None:
    paths = {ca: _open({**USER, "cacert": ca}, tmp_path).sdk.session.verify for ca in ("one", "other")}
    assert {ca: Path(path).read_text(encoding="utf-8") for ca, path in paths.items()} == {
        "one": "one",
        "other": "other",
    }


@pytest.mark.parametrize("more", [{}, {"allow_untrusted": True}, {"cacert": "-----BEGIN"}])
def test_no_user_says_whom_the_operators_credentials_are_shown_to(more: dict[str, Any], tmp_path: Path) -> None:
    found = _open({**more, "delegation": TRUST}, tmp_path)
    assert found.sdk.session.verify == "/etc/ssl/own.pem"
    assert found.auth_url == URL
    assert _open({**more, "delegation": {**TRUST, "cafile": None}}, tmp_path).sdk.session.verify is True


def test_a_users_token_goes_nowhere_that_an_endpoint_says(tmp_path: Path) -> None:
    overrides = {"volumev3": "https://evil.example"}
    with pytest.raises(Invalid, match="endpoint_overrides are for clouds whose credentials"):
        _open({"endpoint_overrides": overrides, "delegation": TRUST}, tmp_path)
    assert _open({**USER, "endpoint_overrides": overrides}, tmp_path).proven is False


@pytest.mark.parametrize(
    ("info", "said"), [({}, "give auth_url"), ({"auth_url": URL}, "give username and password, or an application")]
)
def test_without_credentials_it_is_said_what_to_give(info: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=said):
        _open(info, tmp_path)
