# SPDX-License-Identifier: Apache-2.0
"""What differs between the releases of OpenStack: where the code is, and how each service starts.

A start is ``(kind, target)``: ``wsgi`` is an application that `serve.py` serves, ``main`` a function that reads
``sys.argv``. A third release is one more entry in ``RELEASES``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

Start = tuple[str, str]
APIS = ("keystone", "glance", "placement", "nova", "neutron", "cinder", "barbican")

# Set-up of the data bases: the program, then its commands in their order.
MANAGE: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "keystone": ("keystone.cmd.manage:main", (("db_sync",),)),
    "glance": ("glance.cmd.manage:main", (("db_sync",),)),
    "placement": ("placement.cmd.manage:main", (("db", "sync"),)),
    "cinder": ("cinder.cmd.manage:main", (("db", "sync"),)),
    "neutron": ("neutron.db.migration.cli:main", (("upgrade", "heads"),)),
    "barbican": ("barbican.cmd.barbican_manage:main", (("db", "upgrade"),)),
    "nova": (
        "nova.cmd.manage:main",
        (
            ("api_db", "sync"),
            # Templates, which Nova fills from its own configuration: one cached data base fits every port.
            (
                "cell_v2",
                "map_cell0",
                "--database_connection",
                "{scheme}://{username}:{password}@{hostname}:{port}/nova_cell0?{query}",
            ),
            ("db", "sync"),
            (
                "cell_v2",
                "create_cell",
                "--name",
                "cell1",
                "--database_connection",
                "{scheme}://{username}:{password}@{hostname}:{port}/nova?{query}",
                "--transport-url",
                "{scheme}://{username}:{password}@{hostname}:{port}/",
            ),
        ),
    ),
}

_EVERYWHERE: Mapping[str, Start] = {
    "nova-scheduler": ("main", "nova.cmd.scheduler:main"),
    "nova-conductor": ("main", "nova.cmd.conductor:main"),
    "nova-compute": ("main", "nova.cmd.compute:main"),
    "cinder-scheduler": ("main", "cinder.cmd.scheduler:main"),
    "cinder-volume": ("main", "cinder.cmd.volume:main"),
    "barbican": ("wsgi", "paste:barbican-paste.ini"),
    "placement": ("wsgi", "placement.wsgi:init_application()"),
}
# In this order they are started.
ORDER = (
    "keystone",
    "placement",
    "glance",
    "neutron",
    "nova",
    "nova-conductor",
    "nova-scheduler",
    "cinder",
    "cinder-scheduler",
    "cinder-volume",
    "barbican",
    "nova-compute",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """``paste``: of each service, its paste file below the folder that `install` gives."""

    name: str
    services: Mapping[str, Start]
    paste: Mapping[str, str]
    neutron_plugins: str
    import_methods: str
    vif_type: str


_PLUGINS = "router,qos,trunk,segments,port_forwarding,auto_allocate,network_ip_availability,flavors,revisions,timestamp"

RELEASES: Mapping[str, Release] = {
    "new": Release(
        name="new",
        services={
            **_EVERYWHERE,
            "keystone": ("wsgi", "keystone.wsgi.api:application"),
            "glance": ("wsgi", "glance.wsgi.api:application"),
            "placement": ("wsgi", "placement.wsgi.api:application"),
            "nova": ("wsgi", "nova.wsgi.osapi_compute:application"),
            "neutron": ("wsgi", "neutron.wsgi.api:application"),
            "cinder": ("wsgi", "cinder.wsgi.api:application"),
        },
        paste={
            "glance": "glance/glance-api-paste.ini",
            "nova": "nova/api-paste.ini",
            "neutron": "neutron/api-paste.ini",
            "cinder": "cinder/api-paste.ini",
            "barbican": "barbican/barbican-api-paste.ini",
        },
        neutron_plugins=_PLUGINS,
        import_methods="[glance-direct,web-download,copy-image,glance-download]",
        vif_type="tap",  # Nova 34: "Linux bridge VIFs are no longer supported"
    ),
    "old": Release(
        name="old",
        services={
            **_EVERYWHERE,
            "keystone": ("wsgi", "keystone.server.wsgi:initialize_public_application()"),
            "glance": ("main", "glance.cmd.api:main"),
            "nova": ("main", "nova.cmd.api_os_compute:main"),
            "neutron": ("main", "neutron.cmd.eventlet.server:main"),
            "cinder": ("main", "cinder.cmd.api:main"),
        },
        paste={
            "glance": "glance-common/glance-api-paste.ini",
            "nova": "nova-common/api-paste.ini",
            "neutron": "neutron-common/api-paste.ini",
            "cinder": "cinder-common/api-paste.ini",
            "barbican": "barbican-common/barbican-api-paste.ini",
        },
        neutron_plugins=f"{_PLUGINS},tag",
        import_methods="[glance-direct,web-download,copy-image]",
        vif_type="bridge",
    ),
}
