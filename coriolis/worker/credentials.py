# SPDX-License-Identifier: Apache-2.0
"""Opens an endpoint's connection info, in the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coriolis.domain.delegation import DELEGATION, acts_for_user, under_trust, with_token
from coriolis.domain.errors import Invalid, Unavailable
from coriolis.providers.api import Provider
from coriolis.rpc.messages import Endpoint
from coriolis.runtime import secrets
from coriolis.runtime.local_token import UnsafeFile
from coriolis.runtime.secrets import Lent, Vault
from coriolis.worker.settings import VaultSettings


def open_endpoint(endpoint: Endpoint, settings: VaultSettings, provider: Provider | None = None) -> dict[str, Any]:
    """The connection info in clear. Without credentials in it, and under a trust or with the caller's token, a
    provider that can act for the user gets under ``delegation`` how (``domain.delegation``).

    :raises Invalid: it cannot be read, or the caller's token has ended. :raises Unavailable: Barbican does not answer
    :raises TrustGone: the trust of the job has ended
    """
    if endpoint.sealed is None and endpoint.secret_ref is None:
        return {}
    vault = _vault(settings)
    lent = vault.unseal_token(endpoint.token) if endpoint.token is not None else None
    if endpoint.sealed is None and settings.barbican is not None:
        vault = _vault(settings, _barbican(settings.barbican, endpoint.trust, lent, settings.trustee))
    info = vault.open(endpoint)
    if provider is None or not acts_for_user(provider.connection_schema, info):
        return info
    if endpoint.trust is None and lent is None:
        return info
    if settings.trustee is None:
        raise Unavailable("This worker has no section [trustee], and cannot act for the user of the job")
    auth, cafile = settings.trustee["auth"], settings.trustee.get("cafile")
    if endpoint.trust is not None:
        return {**info, DELEGATION: under_trust(auth, endpoint.trust, cafile)}
    assert lent is not None
    return {**info, DELEGATION: with_token(auth["auth_url"], lent.token, lent.project_id, cafile)}


def _vault(settings: VaultSettings, fetch: secrets.FetchSecret | None = None) -> Vault:
    try:
        keys = secrets.load_keys(Path(settings.key_file))
    except UnsafeFile as error:
        raise Invalid(str(error)) from None
    except OSError as error:
        raise Invalid(f"The worker cannot read its key file {settings.key_file}: {error.strerror}.") from None
    return Vault(keys, fetch)


def _barbican(
    options: dict[str, Any], trust: str | None, lent: Lent | None, trustee: dict[str, Any] | None
) -> secrets.FetchSecret:
    where: dict[str, Any] = {"endpoint": options.get("endpoint"), "region": options.get("region")}
    if trustee is not None and (trust is not None or lent is not None):
        from coriolis.runtime import trusts

        user = trusts.Trustee(**trustee)
        if trust is not None:
            return secrets.barbican(user.session(trust), **where, ended=trusts.ended)
        assert lent is not None
        session = user.passing_on(lent.token, lent.project_id)
        return secrets.barbican(session, **where, ended=trusts.token_ended)
    if options.get("auth_type") is None:
        raise Invalid(
            "The endpoint's secret can be read only under a trust of its user (there are no credentials in section "
            "[barbican]), and the job has none. Submit it again"
        )
    from keystoneauth1 import loading  # only where Barbican is in use
    from keystoneauth1 import session as sessions

    auth: Any = loading.get_plugin_loader(options["auth_type"]).load_from_options(**options["auth"])
    return secrets.barbican(sessions.Session(auth=auth, verify=options.get("cafile") or True), **where)
