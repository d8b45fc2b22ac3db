# SPDX-License-Identifier: Apache-2.0
"""Signs and checks certificates: Ed25519 (RFC 8032) over the canonical bytes.

The private key is a PEM file (PKCS 8) that only its owner can read. Public keys go as base64 of their 32 bytes; the
first 16 hex digits of the SHA-256 of these are the key's id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from coriolis.certificate.document import FORMAT, canonical

ALGORITHM = "ed25519"
Json = Any


class BadKey(Exception):
    """A key cannot be used; the message says why and what to do."""


class BadCertificate(Exception):
    """A document is no certificate, or was not signed by the key; the message says which."""


def create_key(path: Path) -> Ed25519PrivateKey:
    """Makes the private key's file, mode 0600. :raises FileExistsError: it is there"""
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """:raises BadKey: absent, readable by others, or no such key"""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise BadKey(f"the key {path} cannot be read: {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BadKey(f"{path} is no file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_mode & 0o077:
            raise BadKey(f"the key {path} can be used by others: run chmod 600 {path}")
        text = file.read()
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except ValueError:
        raise BadKey(f"{path} is no PEM file with a private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"{path} is no Ed25519 key")
    return key


def public(key: Ed25519PrivateKey) -> Json:
    """What is told of a key."""
    raw = key.public_key().public_bytes_raw()
    return {"algorithm": ALGORITHM, "key_id": _id_of(raw), "public_key": base64.b64encode(raw).decode()}


def sign(document: Mapping[str, Json], key: Ed25519PrivateKey) -> Json:
    """The document with its signature."""
    value = base64.b64encode(key.sign(canonical(document))).decode()
    return {**document, "signature": {**public(key), "value": value}}


def verify(document: Any, trusted: bytes | None = None) -> str:
    """Checks the signature; gives the id of the key that made it. ``trusted``: the public key that must have made it;
    None takes the key that the document itself names, which proves only that nothing was changed since.

    :raises BadCertificate: no certificate, changed, or signed by another key
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadCertificate(f"this is no certificate of the format '{FORMAT}'")
    told = document.get("signature")
    if not isinstance(told, Mapping) or told.get("algorithm") != ALGORITHM:
        raise BadCertificate(f"it has no signature of the kind {ALGORITHM}")
    named, value = _bytes(told.get("public_key"), "public key"), _bytes(told.get("value"), "signature")
    raw = named if trusted is None else trusted
    if raw != named:
        raise BadCertificate(f"it was signed by the key {_id_of(named)}, not by the given one, {_id_of(raw)}")
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(value, canonical(document))
    except (InvalidSignature, ValueError):
        raise BadCertificate("its signature is wrong: it was changed after it was signed") from None
    return _id_of(raw)


def read_public(text: str) -> bytes:
    """A public key from a PEM file, from what the service tells of its key, or from bare base64.

    :raises BadKey: none of these
    """
    try:
        if "BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
            if isinstance(key, Ed25519PublicKey):
                return key.public_bytes_raw()
        elif text.lstrip().startswith("{"):
            told = json.loads(text)
            return _bytes(told.get("certificate_key", told)["public_key"], "public key")
        else:
            return _bytes(text.strip(), "public key")
    except (ValueError, KeyError, AttributeError, BadCertificate):
        pass
    raise BadKey("there is no Ed25519 public key in it: give PEM, base64, or the answer of the service")


def _id_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _bytes(text: Any, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise BadCertificate(f"its {what} is no base64") from None
