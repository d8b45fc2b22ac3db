# SPDX-License-Identifier: Apache-2.0
"""The Python client library: an openstacksdk service, and the command line on top of it.

With a cloud in ``clouds.yaml`` that has ``vendor_hook: "coriolis.client:vendor_hook"``::

    connection = openstack.connect(cloud="mycloud")
    for migration in connection.migration.migrations(): ...

With a bare address and a token, or a standalone on this host::

    proxy = connect_url("http://127.0.0.1:7667/v1/local", token)
    proxy = connect_standalone()

Imports nothing of the services.
"""

from coriolis.client.connect import MigrationService, connect_cloud, connect_standalone, connect_url, vendor_hook
from coriolis.client.proxy import Proxy

__all__ = ["MigrationService", "Proxy", "connect_cloud", "connect_standalone", "connect_url", "vendor_hook"]
