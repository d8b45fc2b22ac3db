# SPDX-License-Identifier: Apache-2.0
"""From configuration to services: the only place that knows both."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions as ks_errors
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg
from oslo_log import log

from coriolis import conf as configuration
from coriolis.api.app import make_app, make_watch
from coriolis.api.settings import ApiSettings
from coriolis.commands.presence import Presence
from coriolis.conductor.service import ConductorService, ConductorSettings
from coriolis.conf import openstack
from coriolis.conf.opts import BARBICAN_GROUP, TRUSTEE_GROUP
from coriolis.domain.errors import Conflict, Invalid
from coriolis.rpc.bus import Bus
from coriolis.runtime import certificates, identity, launcher, local_token, secrets
from coriolis.runtime.metrics import Exporter
from coriolis.runtime.trusts import Trustee, Trusts
from coriolis.runtime.wsgi import WsgiService
from coriolis.scheduler.service import SchedulerService, SchedulerSettings
from coriolis.store.engine import Database
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import LinkSettings, VaultSettings, WorkerSettings

DISTRIBUTION = "coriolis"


def release() -> str:
    return metadata.version(DISTRIBUTION)


def settings_of(cls: Any, options: cfg.ConfigOpts.GroupAttr, **more: Any) -> Any:
    """A settings record from the options of a group that have its fields' names."""
    shared = {name: options[name] for name in cls.__dataclass_fields__ if name in options and name not in more}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in shared.items()}, **more)


def broker(conf: cfg.ConfigOpts) -> Bus:
    """The bus over oslo.messaging."""
    from coriolis.rpc.oslo_bus import OsloBus  # heavy, and not needed by a standalone

    return OsloBus(conf)


def vault_settings(conf: cfg.ConfigOpts) -> VaultSettings:
    found = trustee(conf)
    return VaultSettings(
        key_file=conf.secrets.key_file,
        barbican=_barbican(conf) if conf.secrets.barbican else None,
        trustee=dataclasses.asdict(found) if found is not None else None,
    )


def trustee(conf: cfg.ConfigOpts) -> Trustee | None:
    """None: section [trustee] is empty, and no trusts are used."""
    group = conf.trustee
    if group.auth_type is None:
        return None
    return Trustee(auth_type=group.auth_type, auth=_auth(conf, TRUSTEE_GROUP), cafile=group.cafile)


def trusts(conf: cfg.ConfigOpts) -> Trusts | None:
    found = trustee(conf)
    if found is None:
        return None
    hours = conf.trusts.lifetime_hours
    return Trusts(found, roles=conf.trusts.roles, lifetime=dt.timedelta(hours=hours) if hours else None)


def _barbican(conf: cfg.ConfigOpts) -> dict[str, Any]:
    group = conf.barbican
    return {
        "auth_type": group.auth_type,
        "auth": _auth(conf, BARBICAN_GROUP) if group.auth_type is not None else {},
        "endpoint": group.endpoint_override,
        "region": group.region_name,
        "cafile": group.cafile,
    }


def _auth(conf: cfg.ConfigOpts, section: str) -> dict[str, Any]:
    """The options of the section's keystoneauth plugin, as far as they are set. Which ones there are depends on the
    plugin, so they are registered here.

    :raises SystemExit: there is no such plugin
    """
    try:
        options = ks_loading.get_auth_plugin_conf_options(conf[section].auth_type)
    except ks_errors.NoMatchingPlugin as error:
        sys.exit(f"Section [{section}], auth_type: {error}")
    conf.register_opts(options, group=section)
    found = {option.dest: conf[section][option.dest] for option in options}
    return {name: value for name, value in found.items() if value is not None}


def vault(conf: cfg.ConfigOpts) -> secrets.Vault:
    """The API seals; it never opens a Barbican secret. :raises SystemExit: the key file is missing or open to others"""
    try:
        return secrets.Vault(secrets.load_keys(Path(conf.secrets.key_file)))
    except PermissionError as error:
        sys.exit(f"The key file cannot be used: {error}. Give it to the user that the service runs as (chown).")
    except (OSError, local_token.UnsafeFile) as error:
        sys.exit(f"The key file cannot be used: {error}. Make one with 'coriolis-manage secrets create-key'.")


def identity_filter(conf: cfg.ConfigOpts) -> identity.IdentityFilter:
    if conf.api.auth_strategy == "keystone":
        return identity.keystone(conf)
    if not conf.api.local_token_file:
        sys.exit("auth_strategy local_token needs [api]/local_token_file")
    return identity.local(local_token.load_or_create(Path(conf.api.local_token_file)))


def api(conf: cfg.ConfigOpts, db: Database, bus: Bus) -> WsgiService:
    settings = settings_of(ApiSettings, conf.api, conf=conf, max_body_bytes=conf.api.max_request_body_bytes)
    watch = make_watch(settings, db)
    return WsgiService(
        make_app(settings, db, bus, vault(conf), identity_filter(conf), watch=watch, trusts=trusts(conf)),
        address=conf.api.listen_address,
        port=conf.api.listen_port,
        threads=conf.api.threads + conf.api.waiting_requests,
        head_seconds=conf.api.head_timeout_seconds,
        body_seconds=conf.api.body_timeout_seconds,
        on_stop=watch.close,
        certificate_file=conf.api.tls_certificate_file,
        key_file=conf.api.tls_key_file,
    )


def conductor(conf: cfg.ConfigOpts, db: Database, bus: Bus) -> ConductorService:
    settings = settings_of(ConductorSettings, conf.engine)
    return ConductorService(settings, db, bus, trusts(conf), link_authority(conf))


def link_authority(conf: cfg.ConfigOpts) -> certificates.Authority | None:
    """What certifies workers for links. :raises SystemExit: its files are missing, or the key is open to others"""
    if not conf.link.authority_certificate_file:
        return None
    try:
        return certificates.load_authority(
            Path(conf.link.authority_certificate_file), Path(conf.link.authority_key_file)
        )
    except (OSError, local_token.UnsafeFile, Invalid) as error:
        sys.exit(f"The authority of the links cannot be used: {error}")


def scheduler(conf: cfg.ConfigOpts, db: Database, bus: Bus) -> SchedulerService:
    return SchedulerService(settings_of(SchedulerSettings, conf.engine), db, bus)


def worker(conf: cfg.ConfigOpts, bus: Bus) -> WorkerService:
    settings = settings_of(
        WorkerSettings,
        conf.worker,
        host=conf.host,
        state_path=Path(conf.state_path),
        regions=tuple(conf.regions),
        release=release(),
        link=settings_of(LinkSettings, conf.link),
    )
    for option, variable in openstack.HANDED_ON.items():
        if conf.openstack[option]:
            os.environ[variable] = conf.openstack[option]  # providers run in children
    return WorkerService(settings, bus, vault_settings(conf))


def presence(conf: cfg.ConfigOpts, db: Database, application: str) -> Presence:
    return Presence(db, application=application, host=conf.host)


def exporter(conf: cfg.ConfigOpts) -> Exporter:
    return Exporter(address=conf.metrics.listen_address, port=conf.metrics.listen_port)


def serve(program: str, description: str, make: Callable[[cfg.ConfigOpts], Sequence[launcher.Service]]) -> int:
    """The main function of a service: reads the configuration, starts logging, runs until a signal."""
    try:
        conf = configuration.load(sys.argv[1:], program=program, description=description)
    except cfg.Error as error:
        sys.exit(f"{program}: {error}")
    log.setup(conf, program)
    try:
        launcher.run([exporter(conf), *make(conf)])
    except (OSError, Conflict) as error:  # no right to the state directory, a port in use, another worker's directory
        log.getLogger(program).debug("start failed", exc_info=True)
        sys.exit(f"{program} cannot run: {error}")
    return 0


def write_json(path: Path, value: Any) -> None:
    """Atomically, readable by the owner only."""
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
