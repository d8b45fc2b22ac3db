# SPDX-License-Identifier: Apache-2.0
"""Opens an endpoint's connection info, in the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coriolis.domain.errors import Invalid
from coriolis.rpc.messages import Endpoint
from coriolis.runtime import secrets
from coriolis.runtime.local_token import UnsafeFile
from coriolis.worker.settings import VaultSettings


def open_endpoint(endpoint: Endpoint, settings: VaultSettings) -> dict[str, Any]:
    """The connection info in clear.

    :raises Invalid: it cannot be read. :raises Unavailable: Barbican does not answer
    """
    if endpoint.sealed is None and endpoint.secret_ref is None:
        return {}
    fetch = None
    if endpoint.sealed is None and endpoint.secret_ref is not None and settings.barbican is not None:
        fetch = _barbican(settings.barbican)
    try:
        keys = secrets.load_keys(Path(settings.key_file))
    except UnsafeFile as error:
        raise Invalid(str(error)) from None
    except OSError as error:
        raise Invalid(f"The worker cannot read its key file {settings.key_file}: {error.strerror}.") from None
    return secrets.Vault(keys, fetch).open(endpoint)


def _barbican(options: dict[str, Any]) -> secrets.FetchSecret:
    from keystoneauth1 import loading, session  # only where Barbican is in use

    auth: Any = loading.get_plugin_loader(options.get("auth_type", "password")).load_from_options(**options["auth"])
    return secrets.barbican(
        session.Session(auth=auth, verify=options.get("cafile") or True),
        endpoint=options.get("endpoint"),
        region=options.get("region"),
    )
