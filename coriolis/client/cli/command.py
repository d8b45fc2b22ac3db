# SPDX-License-Identifier: Apache-2.0
"""What the commands that talk to the service share."""

from __future__ import annotations

from typing import Any, cast

from cliff import command
from openstack import exceptions

from coriolis.client.proxy import Proxy


class ServiceCommand(command.Command):
    """To be named before the kind of command: ``class List(ServiceCommand, lister.Lister)``."""

    @property
    def service(self) -> Proxy:
        """Connected at first use. :raises openstack.exceptions.SDKException: no service is found"""
        return cast(Proxy, cast(Any, self.app).service)

    def run(self, parsed_args: Any) -> int:
        """:raises openstack.exceptions.SDKException: with the server's own words, which name cause and cure"""
        try:
            return super().run(parsed_args)
        except exceptions.HttpException as error:
            raise exceptions.SDKException(said_by_server(error)) from error


def said_by_server(error: exceptions.HttpException) -> str:
    """The message of the error body; else what the library made of the answer."""
    try:
        return str(cast(Any, error.response).json()["error"]["message"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return str(error.details or error.message)
