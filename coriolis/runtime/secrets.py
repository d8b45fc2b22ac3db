# SPDX-License-Identifier: Apache-2.0
"""Credentials at rest and in flight: sealed with Fernet keys from a private file, or fetched from Barbican.

The key file holds one URL-safe base64 key per line, newest first. The first key seals, every key opens: to rotate,
put a new key on top (``rotate``), and drop an old line once nothing sealed with it is left (``Vault.reseal``).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from keystoneauth1 import exceptions as keystone_errors

from coriolis.domain.errors import CoriolisError, Invalid, Unavailable
from coriolis.runtime import trusts
from coriolis.runtime.local_token import read_private

ConnectionInfo = dict[str, Any]
FetchSecret = Callable[[str], str]  # reference -> payload text


@dataclass(frozen=True, kw_only=True)
class Lent:
    """A caller's token, for the questions of one request. Sealed wherever it is written."""

    token: str = field(repr=False)
    project_id: str


class Account(Protocol):
    """What has connection info: an endpoint row or the ``rpc.messages.Endpoint`` of a message."""

    @property
    def sealed(self) -> str | None: ...

    @property
    def secret_ref(self) -> str | None: ...


class Vault:
    """Seals and opens connection info. Safe to share between threads."""

    def __init__(self, keys: Sequence[str], fetch: FetchSecret | None = None) -> None:
        """``keys``: newest first. ``fetch``: reads a Barbican secret; None where Barbican is not configured."""
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise Invalid(f"A key of the key file is unusable ({error}): run coriolis-manage to make one") from None
        self._tag_key = hashlib.sha256(b"coriolis fingerprint" + keys[-1].encode("ascii")).digest()
        self._fetch = fetch

    def seal(self, info: ConnectionInfo) -> str:
        """Ciphertext of the connection info, as stored and sent."""
        return self._fernet.encrypt(json.dumps(info, separators=(",", ":")).encode("utf-8")).decode("ascii")

    def unseal(self, sealed: str) -> ConnectionInfo:
        """:raises Invalid: sealed with a key that is no longer in the key file"""
        try:
            return dict(json.loads(self._fernet.decrypt(sealed.encode("ascii"))))
        except (InvalidToken, UnicodeEncodeError):
            raise Invalid(
                "The stored connection info cannot be decrypted: its key is not in the key file. "
                "Put the key back, or update the endpoint's connection_info"
            ) from None

    def seal_token(self, lent: Lent) -> str:
        """For ``rpc.messages.Endpoint.token``."""
        return self.seal(asdict(lent))

    def unseal_token(self, sealed: str) -> Lent:
        """:raises Invalid: as ``unseal``"""
        return Lent(**self.unseal(sealed))

    def open(self, account: Account) -> ConnectionInfo:
        """The connection info in clear. Keep it out of logs, messages and answers.

        :raises Invalid: the key is gone, the Barbican secret is no JSON object, or there is no Barbican here
        :raises Unavailable: Barbican does not answer
        """
        if account.sealed is not None:
            return self.unseal(account.sealed)
        if account.secret_ref is None:
            return {}
        if self._fetch is None:
            raise Invalid(
                "The endpoint refers to a Barbican secret, but this service has no Barbican: give the endpoint its"
                " connection_info itself, or let the operator configure [barbican]"
            )
        return _parse(self._fetch(account.secret_ref), account.secret_ref)

    def reseal(self, sealed: str) -> str:
        """The same content under the newest key. :raises Invalid: as ``unseal``"""
        return self.seal(self.unseal(sealed))

    def fingerprint(self, data: bytes) -> str:
        """A keyed digest: tells whether two bodies are equal, without letting a reader of the database guess
        the passwords in them. Changes when the oldest key is dropped."""
        return hmac.new(self._tag_key, data, hashlib.sha256).hexdigest()


def _parse(payload: str, reference: str) -> ConnectionInfo:
    try:
        info = json.loads(payload)
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise Invalid(f"The Barbican secret {reference} does not hold a JSON object with the connection info")
    return info


# ---- the key file ----------------------------------------------------------------------------------------------


def load_keys(path: Path) -> list[str]:
    """The keys, newest first. :raises UnsafeFile: others may read the file. :raises OSError: no such file"""
    keys = [line.strip() for line in read_private(path).splitlines() if line.strip()]
    if not keys:
        raise Invalid(f"The key file {path} is empty")
    return keys


def create_keys(path: Path) -> list[str]:
    """Make the key file (mode 0600) with one new key; give the keys of the file when it exists already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return load_keys(path)
    key = Fernet.generate_key().decode("ascii")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return [key]


def rotate_keys(path: Path, keep: int = 3) -> list[str]:
    """Put a new key on top, atomically, and keep at most ``keep`` keys. Processes see it when they start anew."""
    if keep < 2:
        raise ValueError("Keep at least two keys: what the last one sealed must stay readable")
    keys = [Fernet.generate_key().decode("ascii"), *load_keys(path)][:keep]
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("".join(key + "\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return keys


# ---- Barbican --------------------------------------------------------------------------------------------------


def barbican(
    session: Any,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    ended: Callable[[], CoriolisError] | None = None,
) -> FetchSecret:
    """Reads secrets as the user of a keystoneauth session, from the configured Barbican only: the host that a
    reference names is not asked, so that a reference cannot draw the token elsewhere.

    ``ended``: makes the error for a session whose trust or token Keystone no longer knows.
    """
    from barbicanclient import client as barbican_client  # heavy, and needed only where Barbican is configured
    from barbicanclient import exceptions as barbican_errors

    @functools.cache
    def client() -> Any:
        """Asks Barbican for its versions when it is made."""
        return barbican_client.Client(session=session, endpoint=endpoint, region_name=region)

    def fetch(reference: str) -> str:
        try:
            payload = client().secrets.get(reference).payload
        except (barbican_errors.HTTPAuthError, KeyError):  # the client stumbles over the 401 of a token check
            if ended is not None:
                raise ended() from None
            raise Invalid(f"Barbican refuses the token with which the secret {reference} is read") from None
        except (barbican_errors.HTTPClientError, ValueError) as error:
            raise Invalid(f"Barbican refuses the secret {reference}: {error}") from None
        except (barbican_errors.HTTPError, keystone_errors.ClientException) as error:
            if ended is not None and trusts.is_gone(error):
                raise ended() from None
            raise Unavailable(f"Barbican does not give the secret {reference}: {error}") from None
        return payload.decode("utf-8") if isinstance(payload, bytes) else str(payload)

    return fetch
