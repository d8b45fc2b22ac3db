# SPDX-License-Identifier: Apache-2.0
"""Three ways to a proxy: a cloud's catalog, a bare address with a token, a standalone on this host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import openstack
from keystoneauth1 import session as ks_session
from keystoneauth1 import token_endpoint
from openstack import exceptions, service_description

from coriolis.client.proxy import Proxy

STATE_DIR_VARIABLE = "CORIOLIS_STATE_DIR"
RUN_FILE = "standalone.json"


class MigrationService(service_description.ServiceDescription[Proxy]):
    """For ``openstack.connection.Connection.add_service``; the catalog type is ``migration``."""

    supported_versions = {"1": Proxy}


def vendor_hook(connection: openstack.connection.Connection) -> None:
    """For ``vendor_hook: "coriolis.client:vendor_hook"`` in clouds.yaml: a connection then has ``.migration``."""
    connection.add_service(MigrationService("migration"))


def connect_cloud(cloud: str | None = None, **options: Any) -> Proxy:
    """Through Keystone, with ``clouds.yaml`` or the ``OS_*`` environment."""
    connection = openstack.connect(cloud=cloud, **options)
    vendor_hook(connection)
    return cast(Proxy, connection.migration)  # type: ignore[attr-defined]


def connect_url(url: str, token: str) -> Proxy:
    """``url`` ends in ``/v1/{project_id}``."""
    session = ks_session.Session(auth=token_endpoint.Token(url, token), app_name="coriolis")
    proxy = Proxy(session, service_type="migration", endpoint_override=url)
    # A proxy takes cache settings from a connection, which sets this attribute when it makes the proxy itself.
    proxy._connection = openstack.connection.Connection(session=session)
    return proxy


def default_state_dir() -> Path:
    """Where a standalone keeps its state unless told otherwise: a user's own directory."""
    named = os.environ.get(STATE_DIR_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "coriolis"


def connect_standalone(state_dir: str | Path | None = None) -> Proxy:
    """To the standalone that runs with this state directory.

    :raises openstack.exceptions.ConfigException: none runs there
    """
    directory = Path(state_dir) if state_dir else default_state_dir()
    try:
        run = json.loads((directory / RUN_FILE).read_text())
        token = Path(run["token_file"]).read_text().strip()
    except (OSError, ValueError, KeyError) as error:
        raise exceptions.ConfigException(
            f"No standalone runs with the state directory {directory} ({error.__class__.__name__}). Start one with "
            f"'coriolis-standalone', name its directory with --state-dir, or name a cloud with --os-cloud."
        ) from None
    return connect_url(run["url"], token)
