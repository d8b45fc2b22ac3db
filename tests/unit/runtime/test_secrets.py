# SPDX-License-Identifier: Apache-2.0
"""Sealing, the key file, and Barbican payloads."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from coriolis.domain.errors import Invalid
from coriolis.runtime import secrets
from coriolis.runtime.local_token import UnsafeFile


@dataclass(frozen=True)
class Account:
    sealed: str | None = None
    secret_ref: str | None = None


INFO = {"host": "h\u00f6st", "password": "hidden", "port": 5}


def key() -> str:
    return Fernet.generate_key().decode()


def test_what_is_sealed_can_be_opened_and_not_read() -> None:
    vault = secrets.Vault([key()])
    sealed = vault.seal(INFO)
    assert "hidden" not in sealed
    assert vault.open(Account(sealed=sealed)) == INFO
    assert vault.seal(INFO) != sealed  # a fresh nonce each time


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    old = secrets.Vault(secrets.create_keys(path))
    sealed = old.seal(INFO)
    new = secrets.Vault(secrets.rotate_keys(path))
    assert new.unseal(sealed) == INFO
    fresh = secrets.Vault(secrets.load_keys(path)[:1])
    with pytest.raises(Invalid, match="key"):
        fresh.unseal(sealed)
    assert fresh.unseal(new.reseal(sealed)) == INFO
    assert new.fingerprint(b"x") == old.fingerprint(b"x") != new.fingerprint(b"y")


def test_rotation_forgets_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = secrets.create_keys(path)[0]
    for _ in range(3):
        keys = secrets.rotate_keys(path, keep=3)
    assert len(keys) == 3
    assert first not in keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]
    with pytest.raises(ValueError, match="two"):
        secrets.rotate_keys(path, keep=1)


def test_the_key_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = secrets.create_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secrets.create_keys(path) == made
    path.chmod(0o640)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        secrets.load_keys(path)


def test_unusable_key_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    with pytest.raises(Invalid, match="empty"):
        secrets.load_keys(path)
    with pytest.raises(Invalid, match="unusable"):
        secrets.Vault(["short"])


@pytest.mark.parametrize("sealed", ["", "text", "gAAAA", "\u00e4"])
def test_what_was_not_sealed_is_refused(sealed: str) -> None:
    with pytest.raises(Invalid, match="decrypted"):
        secrets.Vault([key()]).unseal(sealed)


def test_references_are_fetched() -> None:
    vault = secrets.Vault([key()], {"ref": '{"a": 1}'}.__getitem__)
    assert vault.open(Account(secret_ref="ref")) == {"a": 1}
    assert vault.open(Account()) == {}
    with pytest.raises(Invalid, match="Barbican"):
        secrets.Vault([key()]).open(Account(secret_ref="ref"))


@pytest.mark.parametrize("payload", ["", "text", "[1]", "null", "[" * 100000])
def test_payloads_that_are_no_object(payload: str) -> None:
    with pytest.raises(Invalid, match="JSON object"):
        secrets.Vault([key()], lambda _: payload).open(Account(secret_ref="ref"))
