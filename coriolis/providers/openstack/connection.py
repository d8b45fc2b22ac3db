# SPDX-License-Identifier: Apache-2.0
"""Opens a cloud and holds what the capabilities share."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

import requests
from keystoneauth1 import loading
from keystoneauth1.session import Session
from openstack.block_storage.v3._proxy import Proxy as BlockStorage
from openstack.connection import Connection as Sdk

from coriolis.providers.api import DELEGATION, Context, Invalid, delegation_plugin
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.keystones import may_speak
from coriolis.providers.openstack.tokens import Tokens

_CONNECT_RETRIES = 2
_STATUS_RETRIES = 3  # of 503; keystoneauth waits longer each time
_TIMEOUT_SECONDS = 60.0
_USER_AGENT = "coriolis"
_APPLICATION_CREDENTIAL_FIELDS: tuple[str, ...] = ("application_credential_id", "application_credential_secret")
_PASSWORD_FIELDS: tuple[str, ...] = (
    "username",
    "password",
    "project_name",
    "project_id",
    "project_domain_name",
    "project_domain_id",
    "user_domain_name",
    "user_domain_id",
)


@dataclass
class Calls:
    """How many requests went to the cloud, and which ones: what a test or a report may look at."""

    count: int = 0
    made: list[str] = field(default_factory=list)

    def __call__(self, response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
        self.count += 1
        self.made.append(f"{response.request.method} {response.request.url}")


class _Session(Session):
    """Sends nothing twice that makes a thing: when the answer was lost, the thing may be there. The next attempt finds
    it by its mark. ``tokens``: of its plugin."""

    tokens: Tokens | None = None

    def get_auth_headers(self, auth: Any = None) -> dict[str, str] | None:
        headers = super().get_auth_headers(auth)
        if self.tokens is not None:
            self.tokens.leave()
        return headers

    def request(self, url: str, method: str, *args: Any, **options: Any) -> Any:
        if method.upper() == "POST" and options.get("authenticated") is not False:  # which asks for a token
            options["connect_retries"] = 0
        return super().request(url, method, *args, **options)


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """An open cloud, as one user in one project."""

    sdk: Sdk
    name: str  # for messages: the region's name, or the address of Keystone
    calls: Calls
    auth_url: str = ""
    #: Its Keystone is held to the worker's own authorities, and every service is where that Keystone says. Only then
    #: may what it tells lead to what the operator keeps for the cloud of this Keystone: see ``keystones``.
    proven: bool = False

    @property
    def project_id(self) -> str:
        """:raises ProviderError: Keystone does not answer, or refuses us"""
        with translated(f"asking Keystone of {self.name} for a token"):
            return str(self.sdk.current_project_id)

    @property
    def cinder(self) -> BlockStorage:
        """The block storage service; there is only version 3."""
        return cast(BlockStorage, self.sdk.block_storage)

    @property
    def roles(self) -> frozenset[str]:
        """Names of the roles that our token has."""
        with translated(f"asking Keystone of {self.name} for a token"):
            access = self.sdk.session.auth.get_access(self.sdk.session)  # type: ignore[union-attr]
            return frozenset(access.role_names)

    def has_service(self, service_type: str) -> bool:
        with translated(f"reading the catalogue of {self.name}"):
            return bool(self.sdk.has_service(service_type))


def open_cloud(info: dict[str, Any], context: Context) -> Cloud:
    """Opens nothing but a session: the first call asks for a token.

    :raises Invalid: the connection info cannot be used
    """
    calls = Calls()
    wire = requests.Session()
    wire.hooks["response"].append(calls)
    with translated("connection_info"):
        auth = _auth(info)
        session = _Session(
            auth=auth,
            session=wire,
            verify=_verify(info, context),
            timeout=_TIMEOUT_SECONDS,
            app_name=_USER_AGENT,  # for the logs of the cloud
        )
        session.tokens = Tokens(auth, info, context.keepsake)
        session.tokens.begin()
        sdk = Sdk(session=session, region_name=info.get("region_name"), **_config(info))
    where = str(info.get("region_name") or info.get("auth_url") or "the user's own cloud")
    return Cloud(sdk=sdk, name=where, calls=calls, auth_url=_auth_url(info), proven=is_proven(info))


def is_proven(info: dict[str, Any]) -> bool:
    """Whether nothing that the user gave lets somebody else speak for the cloud."""
    verified = not info.get("allow_untrusted") and not info.get("cacert")
    return not info.get("endpoint_overrides") and may_speak(_auth_url(info), verified=verified)


def _auth_url(info: dict[str, Any]) -> str:
    return str((info.get(DELEGATION) or info).get("auth_url") or "")


def _auth(info: dict[str, Any]) -> Any:
    if DELEGATION in info:
        if info.get("endpoint_overrides"):  # the endpoint may be another user's, who would be sent this one's token
            raise Invalid(
                "connection_info: endpoint_overrides are for clouds whose credentials the endpoint has; without "
                "credentials, the services are where the catalogue says"
            )
        options = {name: value for name, value in info[DELEGATION].items() if name != "cafile"}
        return loading.get_plugin_loader(delegation_plugin(options)).load_from_options(**options)
    if not info.get("auth_url"):
        raise Invalid("connection_info: give auth_url, the address of the cloud's Keystone")
    if info.get("application_credential_id"):
        names, loader = _APPLICATION_CREDENTIAL_FIELDS, "v3applicationcredential"
    elif info.get("password"):
        names, loader = _PASSWORD_FIELDS, "v3password"
    else:
        raise Invalid(
            "connection_info: give username and password, or an application credential. Without either, the cloud has "
            "to be the one that this service runs in, so that it can act for its user"
        )
    options = {name: info[name] for name in names if info.get(name)}
    if loader == "v3password":
        for who in ("user", "project"):
            if not options.get(f"{who}_domain_name") and not options.get(f"{who}_domain_id"):
                options[f"{who}_domain_id"] = "default"
    return loading.get_plugin_loader(loader).load_from_options(auth_url=info["auth_url"], **options)


def _verify(info: dict[str, Any], context: Context) -> bool | str:
    """What requests takes: whether to check certificates, or the file with the CA. Who acts for a user does so with the
    operator's credentials: no user says whom these may be shown to."""
    if DELEGATION in info:
        return info[DELEGATION].get("cafile") or True
    if info.get("allow_untrusted"):
        context.log.warning("the certificates of %s are not checked: allow_untrusted is set", info.get("auth_url"))
        return False
    if info.get("cacert"):
        text = str(info["cacert"]).encode()
        # A task may have two clouds open: neither vouches for the other.
        path = context.scratch / f"openstack-ca-{hashlib.sha256(text).hexdigest()[:32]}.pem"
        path.write_bytes(text)
        return str(path)
    return True


def _config(info: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "interface": info.get("interface", "public"),
        "connect_retries": _CONNECT_RETRIES,
        "status_code_retries": _STATUS_RETRIES,
    }
    for service_type, url in (info.get("endpoint_overrides") or {}).items():
        config[f"{service_type.replace('-', '_')}_endpoint_override"] = url
    return config


def check_cloud(cloud: Cloud) -> None:
    """Proves that the services that we need answer, and let us in. :raises ProviderError:"""
    for doing, call in (
        ("compute", lambda: next(iter(cloud.sdk.compute.servers(limit=1, details=False)), None)),
        ("image", lambda: next(iter(cloud.sdk.image.images(limit=1)), None)),
        ("network", lambda: next(iter(cloud.sdk.network.networks(limit=1)), None)),
        ("block storage", lambda: next(iter(cloud.sdk.block_storage.volumes(limit=1, details=False)), None)),
    ):
        with translated(f"asking the {doing} service of {cloud.name}"):
            call()  # type: ignore[no-untyped-call]


def close_cloud(cloud: Cloud) -> None:
    with contextlib.suppress(OSError):
        cloud.sdk.close()
