# SPDX-License-Identifier: Apache-2.0
"""Opens an endpoint's connection info, in the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coriolis.domain.delegation import DELEGATION, acts_for_user
from coriolis.domain.errors import Invalid, Unavailable
from coriolis.providers.api import Provider
from coriolis.rpc.messages import Endpoint
from coriolis.runtime import secrets
from coriolis.runtime.local_token import UnsafeFile
from coriolis.worker.settings import VaultSettings


def open_endpoint(endpoint: Endpoint, settings: VaultSettings, provider: Provider | None = None) -> dict[str, Any]:
    """The connection info in clear. Without credentials in it, and under a trust, a provider that can act for the
    user gets under ``delegation`` what keystoneauth's v3password takes.

    :raises Invalid: it cannot be read. :raises Unavailable: Barbican does not answer
    :raises TrustGone: the trust of the job has ended
    """
    info = _stored(endpoint, settings)
    if provider is None or endpoint.trust is None or not acts_for_user(provider.connection_schema, info):
        return info
    if settings.trustee is None:
        raise Unavailable("This worker has no section [trustee], and cannot act for the user of the job")
    auth = {name: value for name, value in settings.trustee["auth"].items() if not name.startswith("project_")}
    return {**info, DELEGATION: {**auth, "trust_id": endpoint.trust, "cafile": settings.trustee.get("cafile")}}


def _stored(endpoint: Endpoint, settings: VaultSettings) -> dict[str, Any]:
    if endpoint.sealed is None and endpoint.secret_ref is None:
        return {}
    fetch = None
    if endpoint.sealed is None and endpoint.secret_ref is not None and settings.barbican is not None:
        fetch = _barbican(settings.barbican, endpoint.trust, settings.trustee)
    try:
        keys = secrets.load_keys(Path(settings.key_file))
    except UnsafeFile as error:
        raise Invalid(str(error)) from None
    except OSError as error:
        raise Invalid(f"The worker cannot read its key file {settings.key_file}: {error.strerror}.") from None
    return secrets.Vault(keys, fetch).open(endpoint)


def _barbican(options: dict[str, Any], trust: str | None, trustee: dict[str, Any] | None) -> secrets.FetchSecret:
    where: dict[str, Any] = {"endpoint": options.get("endpoint"), "region": options.get("region")}
    if trust is not None and trustee is not None:
        from coriolis.runtime.trusts import Trustee

        return secrets.barbican(Trustee(**trustee).session(trust), **where, under_trust=True)
    if options.get("auth_type") is None:
        raise Invalid(
            "The endpoint's secret can be read only under a trust of its user (there are no credentials in section "
            "[barbican]), and the job has none. Submit it again"
        )
    from keystoneauth1 import loading, session  # only where Barbican is in use

    auth: Any = loading.get_plugin_loader(options["auth_type"]).load_from_options(**options["auth"])
    return secrets.barbican(session.Session(auth=auth, verify=options.get("cafile") or True), **where)
