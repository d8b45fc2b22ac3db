# SPDX-License-Identifier: Apache-2.0
"""Tables about where work is done: regions, registered workers, and the processes that are there. They belong to no
project."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, UniqueConstraint

from coriolis.store.types import Json, Moment, Seconds, name_type
from coriolis.store.vocabulary import ID, INNODB, WORD, metadata

region = Table(
    "region",
    metadata,
    Column("id", ID, primary_key=True, comment="Public identifier"),
    Column("name", name_type(255), nullable=False, comment="Given by an administrator, need not be unique"),
    Column("description", String(1024), nullable=False, comment="Free text"),
    Column("enabled", Boolean(), nullable=False, comment="Work may be placed there"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When it was last changed"),
    Index("ix_region_list", "created_at", "id"),
    Index("ix_region_name", "name"),
    comment="Where workers stand and endpoints are reached from",
    **INNODB,
)

service = Table(
    "service",
    metadata,
    Column("id", ID, primary_key=True, comment="Public identifier"),
    Column("host", name_type(255), nullable=False, comment="Host of the workers, as they name it"),
    Column("binary", WORD, nullable=False, comment="Name of the program"),
    Column("topic", WORD, nullable=False, comment="rpc.messages topic that it serves"),
    Column("enabled", Boolean(), nullable=False, comment="It gets work"),
    Column("mapped_regions", Json(), nullable=False, comment="List of region ids that it serves; empty: any"),
    Column("configured_regions", Json(), nullable=False, comment="Names or ids that the worker's configuration gave"),
    Column("providers", Json(), nullable=False, comment="Provider to capabilities, as last registered"),
    Column("specs", Json(), nullable=False, comment="Diagnostics, as last registered"),
    Column("registered_at", Moment, comment="When a worker last registered; NULL: never"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When an administrator last changed it"),
    UniqueConstraint("host", "binary", "topic"),
    Index("ix_service_list", "created_at", "id"),
    comment="Hosts with workers, known from their first registration on",
    **INNODB,
)

process = Table(
    "process",
    metadata,
    Column("id", ID, primary_key=True, comment="A worker's is its session's"),
    Column("application", WORD, nullable=False, comment="Name of the program"),
    Column("host", name_type(255), nullable=False, comment="Where it runs"),
    Column("pid", Integer(), nullable=False, comment="Its process id there"),
    Column("specs", Json(), nullable=False, comment="Diagnostics: host, system, packages, addresses"),
    Column("seen_at", Seconds, nullable=False, comment="Last sign of life: seconds since 1970 by the database's clock"),
    Column("created_at", Moment, nullable=False, comment="When it started"),
    Index("ix_process_seen", "seen_at"),
    comment="Running programs and what they run on",
    **INNODB,
)
