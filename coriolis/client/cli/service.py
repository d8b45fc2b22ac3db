# SPDX-License-Identifier: Apache-2.0
"""The service that a command talks to."""

from __future__ import annotations

from typing import Any, cast

from cliff import command

from coriolis.client.proxy import Proxy


def service_of(running: command.Command) -> Proxy:
    """Connected at first use. :raises openstack.exceptions.SDKException: no service is found"""
    return cast(Proxy, cast(Any, running.app).service)
