# SPDX-License-Identifier: Apache-2.0
"""Who may do what with endpoints. Reading from a platform uses its credentials, but changes nothing there."""

from __future__ import annotations

from coriolis.runtime.policy import MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List endpoints."),
    ("show", READER, "Show an endpoint, its secrets masked."),
    ("create", MEMBER, "Create an endpoint."),
    ("update", MEMBER, "Update an endpoint."),
    ("delete", MEMBER, "Delete an endpoint."),
    ("validate_connection", MEMBER, "Check an endpoint with its credentials."),
    ("list_instances", READER, "List the instances of an endpoint."),
    ("get_instance", READER, "Show an instance of an endpoint."),
    ("list_networks", READER, "List the networks of an endpoint."),
    ("list_storage", READER, "List the storage of an endpoint."),
    ("list_source_options", READER, "List the values of the source options of an endpoint."),
    ("list_destination_options", READER, "List the values of the destination options of an endpoint."),
    ("list_source_minion_pool_options", READER, "List the values of the options of source minion pools."),
    ("list_destination_minion_pool_options", READER, "List the values of the options of destination minion pools."),
    ("export_inventory", READER, "Export the instances of an endpoint as CSV."),
)
