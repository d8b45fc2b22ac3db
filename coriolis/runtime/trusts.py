# SPDX-License-Identifier: Apache-2.0
"""Keystone trusts: a user lets the trustee, a user of this service alone, act in one project while a job lasts.

A user's token ends after an hour or so; a trust does not, and it gives no more than the user had. Nobody can use it
without the trustee's password, so its id is no secret.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1 import adapter, loading, token_endpoint
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1 import session as sessions

from coriolis.domain.delegation import unscoped
from coriolis.domain.errors import CoriolisError, Forbidden, Invalid, Unavailable

_TIMEOUT_SECONDS = 30
_PATH = "/OS-TRUST/trusts"
_GONE = (401, 403, 404)


class TrustGone(CoriolisError):
    """The trust that a job runs under cannot be used any more. Trying again does not help."""

    code = "coriolis.trust_gone"
    status = 403


@dataclass(frozen=True, kw_only=True)
class Trustee:
    """How the trustee proves itself, for keystoneauth: ``auth_type`` and its options. ``cafile``: CA of Keystone."""

    auth_type: str
    auth: dict[str, Any] = field(repr=False)
    cafile: str | None = None

    def session(self, keystone_id: str | None = None) -> sessions.Session:
        """As the trustee, or, with a trust, as the user who gave it."""
        options = unscoped(self.auth)
        if keystone_id is not None:
            options["trust_id"] = keystone_id
        auth: Any = loading.get_plugin_loader(self.auth_type).load_from_options(**options)
        return self._session(auth)

    def passing_on(self, token: str, project_id: str) -> sessions.Session:
        """As the user whose token this is. Keystone is asked for one of its own, which ends with it."""
        options = {"auth_url": self.auth["auth_url"], "token": token, "project_id": project_id}
        auth: Any = loading.get_plugin_loader("v3token").load_from_options(**options)
        return self._session(auth)

    def with_token(self, token: str) -> sessions.Session:
        return self._session(token_endpoint.Token(self.auth["auth_url"], token))

    def _session(self, auth: Any) -> sessions.Session:
        return sessions.Session(auth=auth, verify=self.cafile or True, timeout=_TIMEOUT_SECONDS)


class Trusts:
    """Makes and ends trusts. Safe to share between threads."""

    def __init__(self, trustee: Trustee, *, roles: Sequence[str] = (), lifetime: dt.timedelta | None = None) -> None:
        """``roles``: those that are handed on, of those that the user has; none named: all."""
        self._trustee = trustee
        self._roles = tuple(roles)
        self.lifetime = lifetime
        self._as_trustee = functools.cache(trustee.session)

    def create(
        self, *, token: str, user_id: str, project_id: str, roles: Sequence[str], expires_at: dt.datetime | None
    ) -> str:
        """Keystone's id of a new trust, made with the user's own token.

        :raises Forbidden: Keystone refuses: the token is itself delegated, or the user lacks a role
        :raises Unavailable: Keystone does not answer; the trust may have been made
        """
        handed_on = [name for name in roles if not self._roles or name in self._roles]
        body = {
            "trustor_user_id": user_id,
            "trustee_user_id": self._trustee_id(),
            "project_id": project_id,
            "impersonation": True,
            "allow_redelegation": False,
            "roles": [{"name": name} for name in handed_on],
            "expires_at": None if expires_at is None else expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            answer = self._keystone(self._trustee.with_token(token)).post(_PATH, json={"trust": body})
        except keystone_errors.HttpError as error:
            if error.http_status >= 500:
                raise _away(error) from None
            raise Forbidden(
                f"The job needs your leave to act for you while it runs (a Keystone trust), and Keystone refuses it: "
                f"{error.message}. Use a token that is not itself delegated"
            ) from None
        except keystone_errors.ClientException as error:
            raise _away(error) from None
        return str(answer.json()["trust"]["id"])

    def delete(self, keystone_id: str) -> None:
        """Content when it is gone already. :raises Unavailable: Keystone does not answer"""
        try:
            self._keystone(self._trustee.session(keystone_id)).delete(f"{_PATH}/{keystone_id}")
        except keystone_errors.HttpError as error:
            if error.http_status not in _GONE:
                raise _away(error) from None
        except keystone_errors.ClientException as error:
            raise _away(error) from None

    def given_by(self, user_id: str, project_id: str) -> list[str]:
        """Keystone's ids of all trusts that the trustee has of this user for this project.

        :raises Unavailable: Keystone does not answer
        """
        try:
            query = {"trustee_user_id": self._trustee_id()}
            found = self._keystone(self._as_trustee()).get(_PATH, params=query).json()["trusts"]
        except keystone_errors.ClientException as error:
            raise _away(error) from None
        both = (user_id, project_id)
        return [str(one["id"]) for one in found if (one["trustor_user_id"], one["project_id"]) == both]

    def _trustee_id(self) -> str:
        as_trustee = self._as_trustee()
        try:
            return str(as_trustee.get_user_id())
        except keystone_errors.ClientException as error:
            raise _away(error) from None

    def _keystone(self, of: sessions.Session) -> adapter.Adapter:
        return adapter.Adapter(of, endpoint_override=self._trustee.auth["auth_url"])


def is_gone(error: Exception) -> bool:
    """Whether a session of a trust fails so because the trust has ended."""
    return isinstance(error, keystone_errors.HttpError) and error.http_status in _GONE


def ended() -> TrustGone:
    return TrustGone(
        "The leave that this job was given to act for its user (a Keystone trust) has ended: it expired, was deleted, "
        "or the user lost a role. Submit the job again"
    )


def token_ended() -> Invalid:
    return Invalid(
        "Keystone refuses to let the token of this request be passed on: it has ended, or it is itself delegated. "
        "Ask again with a new one"
    )


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"Keystone does not answer, so that your leave for the job cannot be stored: {error}")
