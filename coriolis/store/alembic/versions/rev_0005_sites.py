# SPDX-License-Identifier: Apache-2.0
"""Regions, services, and the processes that are there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, Seconds, key_type, name_type

revision = "0005"
down_revision = "0004"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.create_table(
        "region",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("name", name_type(255), nullable=False, comment="Given by an administrator, need not be unique"),
        sa.Column("description", sa.String(length=1024), nullable=False, comment="Free text"),
        sa.Column("enabled", sa.Boolean(), nullable=False, comment="Work may be placed there"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When it was last changed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_region")),
        comment="Where workers stand and endpoints are reached from",
        **INNODB,
    )
    op.create_index("ix_region_list", "region", ["created_at", "id"], unique=False)
    op.create_index("ix_region_name", "region", ["name"], unique=False)
    op.create_table(
        "service",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("host", name_type(255), nullable=False, comment="Host of the workers, as they name it"),
        sa.Column("binary", key_type(64), nullable=False, comment="Name of the program"),
        sa.Column("topic", key_type(64), nullable=False, comment="rpc.messages topic that it serves"),
        sa.Column("enabled", sa.Boolean(), nullable=False, comment="It gets work"),
        sa.Column("mapped_regions", Json(), nullable=False, comment="List of region ids that it serves; empty: any"),
        sa.Column(
            "configured_regions",
            Json(),
            nullable=False,
            comment="Names or ids that the worker's configuration gave",
        ),
        sa.Column("providers", Json(), nullable=False, comment="Provider to capabilities, as last registered"),
        sa.Column("specs", Json(), nullable=False, comment="Diagnostics, as last registered"),
        sa.Column("registered_at", Moment, nullable=True, comment="When a worker last registered; NULL: never"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When an administrator last changed it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
        sa.UniqueConstraint("host", "binary", "topic", name=op.f("uq_service_host_binary_topic")),
        comment="Hosts with workers, known from their first registration on",
        **INNODB,
    )
    op.create_index("ix_service_list", "service", ["created_at", "id"], unique=False)
    op.create_table(
        "process",
        sa.Column("id", key_type(36), nullable=False, comment="A worker's is its session's"),
        sa.Column("application", key_type(64), nullable=False, comment="Name of the program"),
        sa.Column("host", name_type(255), nullable=False, comment="Where it runs"),
        sa.Column("pid", sa.Integer(), nullable=False, comment="Its process id there"),
        sa.Column("specs", Json(), nullable=False, comment="Diagnostics: host, system, packages, addresses"),
        sa.Column(
            "seen_at",
            Seconds,
            nullable=False,
            comment="Last sign of life: seconds since 1970 by the database's clock",
        ),
        sa.Column("created_at", Moment, nullable=False, comment="When it started"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process")),
        comment="Running programs and what they run on",
        **INNODB,
    )
    op.create_index("ix_process_seen", "process", ["seen_at"], unique=False)
    op.add_column(
        "session", sa.Column("service_id", key_type(36), nullable=True, comment="The service that it is a life of")
    )
