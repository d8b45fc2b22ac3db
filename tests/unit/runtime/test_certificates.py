# SPDX-License-Identifier: Apache-2.0
"""The small authority: what it signs, what it refuses, and who can read its files."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509

from coriolis.domain.errors import Invalid
from coriolis.runtime import certificates
from coriolis.runtime.local_token import UnsafeFile

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> certificates.Authority:
    return certificates.create_authority(tmp_path / "ca.pem", tmp_path / "ca.key", now=NOW)


def test_keys_are_private_and_an_authority_is_never_replaced(authority: certificates.Authority, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert certificates.load_authority(tmp_path / "ca.pem", tmp_path / "ca.key").pem == authority.pem
    with pytest.raises(FileExistsError):
        certificates.create_authority(tmp_path / "ca.pem", tmp_path / "other.key", now=NOW)
    (tmp_path / "ca.key").chmod(0o644)
    with pytest.raises(UnsafeFile):
        certificates.load_authority(tmp_path / "ca.pem", tmp_path / "ca.key")


def test_it_signs_the_names_that_it_was_told_for_a_day(authority: certificates.Authority) -> None:
    key = certificates.new_key()
    made = x509.load_pem_x509_certificate(
        certificates.sign(authority, certificates.request(key), ["worker-1", "a.example"], now=NOW).encode()
    )
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["worker-1", "a.example"]
    assert made.not_valid_after_utc == NOW + dt.timedelta(hours=24)
    assert made.public_key() == key.public_key()
    made.verify_directly_issued_by(authority.certificate)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("names", [[], ["a b"], ["*.example"], ["-x"], [""], ["x" * 64]])
def test_bad_names_are_refused(authority: certificates.Authority, names: list[str]) -> None:
    with pytest.raises(Invalid):
        certificates.sign(authority, certificates.request(certificates.new_key()), names, now=NOW)


def test_bad_requests_are_refused(authority: certificates.Authority) -> None:
    good = certificates.request(certificates.new_key())
    lines = good.splitlines()
    swapped = certificates.request(certificates.new_key()).splitlines()
    for bad in ("", "no request", good[: len(good) // 2], "\n".join([*lines[:-2], swapped[-2], lines[-1]])):
        with pytest.raises(Invalid):
            certificates.sign(authority, bad, ["worker-1"], now=NOW)


def test_a_foreign_key_is_no_key_of_the_authority(authority: certificates.Authority, tmp_path: Path) -> None:
    certificates.issue(authority, ["w"], tmp_path / "w.pem", tmp_path / "w.key", now=NOW)
    assert stat.S_IMODE((tmp_path / "w.key").stat().st_mode) == 0o600
    with pytest.raises(Invalid):
        certificates.load_authority(tmp_path / "ca.pem", tmp_path / "w.key")
