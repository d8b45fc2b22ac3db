# SPDX-License-Identifier: Apache-2.0
"""OpenStack's errors as the provider API's five classes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from coriolis.providers.api import Conflict, Gone, Invalid, ProviderError, Unauthorized, Unavailable

#: HTTP status of an answer -> class. Others of 400 to 499 are Invalid, from 500 on Unavailable.
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: Gone,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    413: Conflict,  # Cinder: over quota
    425: Unavailable,
    429: Unavailable,
}
#: HTTP status -> what can be done about it.
_CURES = {
    401: "; the credentials are wrong, or have ended: give others, or start again",
    404: "; the credentials are wrong, or have ended, or auth_url has a wrong path",
    403: "; the credentials lack the right to do this",
}
_QUOTA = "quota"  # services answer 403, 409 or 413 when a quota is used up, and say so only in the text
_QUOTA_CURE = "; delete what the project does not need, or ask an administrator for more"


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an SDK or keystoneauth error carries."""
    status = getattr(error, "status_code", None) or getattr(error, "http_status", None)
    return int(status) if status else None


def classify(error: Exception, doing: str) -> ProviderError:
    """The provider error for what a service said while ``doing``."""
    status, text = status_of(error), _text(error)
    if status is not None:
        meant = 401 if status == 404 and _of_a_token(error) else status
        kind = _BY_STATUS.get(meant, Unavailable if status >= 500 else Invalid)
        if status == 403 and _QUOTA in text.lower():
            kind = Conflict
        cure = _CURES.get(status, "") if kind is Unauthorized else ""
        if kind is Conflict and _QUOTA in text.lower():
            cure = _QUOTA_CURE
        said = f"{doing}: {text} (HTTP {status}{_of(error, status)}){cure}"
        return kind(said, retry_after_seconds=_retry_after(error))
    if isinstance(error, sdk.NotFoundException | keystone.EndpointNotFound | keystone.catalog.CatalogException):
        return Gone(f"{doing}: {text}")
    if isinstance(error, keystone.SSLError):
        return Unauthorized(f"{doing}: {text}; give the CA as cacert, or set allow_untrusted")
    if isinstance(error, keystone.AuthorizationFailure | keystone.MissingAuthPlugin):
        return Unauthorized(f"{doing}: {text}")
    if isinstance(error, sdk.DuplicateResource):
        return Conflict(f"{doing}: {text}; give its id")
    if isinstance(error, sdk.ConfigException | keystone.OptionError | keystone.MissingRequiredOptions):
        return Invalid(f"{doing}: {text}")
    return Unavailable(f"{doing}: {text}")


def _of_a_token(error: Exception) -> bool:
    """Keystone does not find an application credential, or a trust, that has ended. What we looked for is not gone."""
    return urlsplit(str(getattr(error, "url", None) or "")).path.endswith("/auth/tokens")


def _text(error: Exception) -> str:
    """What the service said, on one line."""
    said = getattr(error, "details", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(str(said).split()).rstrip(".")


def _of(error: Exception, status: int) -> str:
    """Who answered, where the fault is the service's own: its operator looks there. Without the query, which may be
    long."""
    url = getattr(error, "url", None)
    if status < 500 or not url:
        return ""
    place = urlsplit(str(url))
    return f" of {place.scheme}://{place.netloc}{place.path}"


def _retry_after(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    value = (getattr(response, "headers", None) or {}).get("Retry-After", "")
    return float(value) if value.isdigit() else None


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """:raises ProviderError: in place of any error of openstacksdk or keystoneauth in the block"""
    try:
        yield
    except (sdk.SDKException, keystone.ClientException) as error:
        raise classify(error, doing) from error
