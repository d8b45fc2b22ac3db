# SPDX-License-Identifier: Apache-2.0
"""A small certificate authority of our own, for the links between workers.

Keys are ECDSA on P-256. Certificates of workers name them by DNS names, serve both sides of TLS, and are short-lived:
who loses a key has lost it for a day. Whoever has an authority already uses its certificates instead.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coriolis.domain.errors import Invalid
from coriolis.runtime.local_token import UnsafeFile

HOURS = 24
AUTHORITY_DAYS = 3650
_SLACK = dt.timedelta(minutes=5)  # clocks of hosts differ
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def create_authority(certificate: Path, key: Path, *, now: dt.datetime, name: str = "Coriolis") -> Authority:
    """Makes both files. ``now``: aware. :raises FileExistsError: one of them is there, and is kept"""
    for path in (certificate, key):
        if path.exists():
            raise FileExistsError(f"{path} exists and is kept")
    secret = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} links")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), critical=False)
        .sign(secret, hashes.SHA256())
    )
    write_private(key, _key_pem(secret))
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Authority(certificate=made, key=secret)


def load_authority(certificate: Path, key: Path) -> Authority:
    """:raises OSError: a file is missing. :raises UnsafeFile: the key is open to others. :raises Invalid: not a pair"""
    if key.stat().st_mode & 0o077:
        raise UnsafeFile(f"{key} can be read by others; run: chmod 0600 {key}")
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise Invalid(f"{certificate} and {key} are no certificate and key in PEM: {error}") from None
    if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.public_key() != loaded.public_key():
        raise Invalid(f"{key} is not the ECDSA key of {certificate}")
    return Authority(certificate=loaded, key=secret)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request(key: ec.EllipticCurvePrivateKey) -> str:
    """A request for a certificate of this key, in PEM. Which names it gets, the authority decides."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def sign(authority: Authority, asked: str, names: Sequence[str], *, now: dt.datetime, hours: float = HOURS) -> str:
    """A certificate, in PEM, for the key of a request, under these DNS names and no others.

    :raises Invalid: the request is damaged or not signed by its own key, or a name is none
    """
    try:
        csr = x509.load_pem_x509_csr(asked.encode())
        public = csr.public_key()
        if not csr.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey):
            raise Invalid("The certificate request is not signed by its own ECDSA key.")
    except (ValueError, InvalidSignature) as error:
        raise Invalid(f"The certificate request is damaged: {error}") from None
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise Invalid(f"'{name}' is no DNS name.")
    if not names:
        raise Invalid("A certificate needs a name.")
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(authority.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + dt.timedelta(hours=hours))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def issue(
    authority: Authority, names: Sequence[str], certificate: Path, key: Path, *, now: dt.datetime, hours: float = HOURS
) -> None:
    """A new key and its certificate, as files; older ones are replaced."""
    secret = new_key()
    text = sign(authority, request(secret), names, now=now, hours=hours)
    write_private(key, _key_pem(secret))
    certificate.write_text(text)


def save_key(key: ec.EllipticCurvePrivateKey, path: Path) -> None:
    """As a file that only its owner can read."""
    write_private(path, _key_pem(key))


def end_of(certificate: str) -> dt.datetime:
    """When it expires (aware)."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def write_private(path: Path, content: bytes) -> None:
    """Atomically, mode 0600 from its first moment on."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.replace(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
