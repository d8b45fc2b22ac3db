# SPDX-License-Identifier: Apache-2.0
"""The table of all option groups: what is registered, and what goes into the sample file."""

from __future__ import annotations

import itertools
from types import ModuleType

from keystoneauth1 import loading as ks_loading
from oslo_config import cfg
from oslo_db import options as db_options
from oslo_middleware import cors

from coriolis.conf import api, default, engine, link, metrics, openstack, secrets, trusts, worker

MODULES: tuple[ModuleType, ...] = (default, api, engine, worker, link, openstack, secrets, metrics, trusts)
BARBICAN_GROUP = "barbican"
TRUSTEE_GROUP = "trustee"


def register_all(conf: cfg.ConfigOpts) -> None:
    """Registers every option of ours, the database's and the Barbican session's."""
    for module in MODULES:
        conf.register_opts(module.OPTS, group=None if module.GROUP == "DEFAULT" else module.GROUP)
    conf.register_opts(db_options.database_opts, group="database")
    ks_loading.register_session_conf_options(conf, BARBICAN_GROUP)
    ks_loading.register_auth_conf_options(conf, BARBICAN_GROUP)
    ks_loading.register_adapter_conf_options(conf, BARBICAN_GROUP)
    ks_loading.register_session_conf_options(conf, TRUSTEE_GROUP)
    ks_loading.register_auth_conf_options(conf, TRUSTEE_GROUP)


def set_defaults() -> None:
    """Of the libraries' options those that fit this API, so that ``[cors]/allowed_origin`` is all that a console
    needs."""
    cors.set_defaults(
        allow_headers=["X-Auth-Token", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-OpenStack-Request-ID"],
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"],
        expose_headers=["X-OpenStack-Request-ID", "Retry-After", "Allow"],
    )


def check_values(conf: cfg.ConfigOpts) -> None:
    """Reads every option of ours once. :raises oslo_config.cfg.Error: names the first one with an unusable value"""
    for module in MODULES:
        group = conf if module.GROUP == "DEFAULT" else conf[module.GROUP]
        for option in module.OPTS:
            _ = group[option.dest]


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For oslo-config-generator."""
    barbican = itertools.chain(
        ks_loading.get_session_conf_options(),
        ks_loading.get_auth_common_conf_options(),
        ks_loading.get_auth_plugin_conf_options("v3password"),
        ks_loading.get_adapter_conf_options(),
    )
    trustee = itertools.chain(
        ks_loading.get_session_conf_options(),
        ks_loading.get_auth_common_conf_options(),
        ks_loading.get_auth_plugin_conf_options("v3password"),
    )
    return [
        *((module.GROUP, list(module.OPTS)) for module in MODULES),
        (BARBICAN_GROUP, list(barbican)),
        (TRUSTEE_GROUP, list(trustee)),
    ]
