# SPDX-License-Identifier: Apache-2.0
"""Minion pools and their machines."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, key_type, long_text, name_type

revision = "0006"
down_revision = "0005"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.create_table(
        "minion_pool",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("project_id", name_type(64), nullable=False, comment="Owner"),
        sa.Column("user_id", name_type(64), nullable=False, comment="Who made it"),
        sa.Column("name", name_type(255), nullable=False, comment="Given by the user, need not be unique"),
        sa.Column("notes", long_text(), nullable=True, comment="Free text of the user"),
        sa.Column("endpoint_id", key_type(36), nullable=False, comment="Where its machines are made"),
        sa.Column(
            "platform", key_type(64), nullable=False, comment="source or destination: whose disks its machines serve"
        ),
        sa.Column("os_type", key_type(64), nullable=False, comment="Operating system of its machines"),
        sa.Column("environment_options", Json(), nullable=False, comment="Options of the provider"),
        sa.Column("minimum_minions", sa.Integer(), nullable=False, comment="Machines that are kept ready"),
        sa.Column("maximum_minions", sa.Integer(), nullable=False, comment="Machines at most"),
        sa.Column(
            "minion_max_idle_time", sa.Integer(), nullable=False, comment="Seconds after which a spare one is retired"
        ),
        sa.Column("minion_retention_strategy", key_type(64), nullable=False, comment="delete or poweroff"),
        sa.Column("status", key_type(64), nullable=False, comment="domain.minions.PoolStatus"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When it was last changed"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], name=op.f("fk_minion_pool_endpoint_id")),
        sa.ForeignKeyConstraint(["id"], ["action.id"], name=op.f("fk_minion_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_minion_pool")),
        comment="Sets of temporary machines beside the disks",
        **INNODB,
    )
    op.create_index("ix_minion_pool_endpoint", "minion_pool", ["endpoint_id"], unique=False)
    op.create_index("ix_minion_pool_list", "minion_pool", ["project_id", "created_at", "id"], unique=False)
    op.create_index("ix_minion_pool_status", "minion_pool", ["status"], unique=False)
    op.create_table(
        "minion_machine",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("pool_id", key_type(36), nullable=False, comment="Its pool"),
        sa.Column("position", sa.Integer(), nullable=False, comment="Its place in the pool, from 0"),
        sa.Column("status", key_type(64), nullable=False, comment="domain.minions.MachineStatus"),
        sa.Column("powered_on", sa.Boolean(), nullable=False, comment="As far as we know"),
        sa.Column("action_id", key_type(36), nullable=True, comment="The job that uses it, or shall use it"),
        sa.Column("execution_id", key_type(36), nullable=True, comment="... and the execution"),
        sa.Column("made", Json(), nullable=True, comment="providers.api.Minion, once it was ready"),
        sa.Column("last_used_at", Moment, nullable=True, comment="When it was last given back"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was asked for"),
        sa.Column("updated_at", Moment, nullable=True, comment="When it was last changed"),
        sa.ForeignKeyConstraint(["pool_id"], ["minion_pool.id"], name=op.f("fk_minion_machine_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_minion_machine")),
        sa.UniqueConstraint("pool_id", "position", name=op.f("uq_minion_machine_pool_id_position")),
        comment="Machines of minion pools",
        **INNODB,
    )
    op.create_index("ix_minion_machine_execution", "minion_machine", ["execution_id"], unique=False)
    op.add_column(
        "action",
        sa.Column("origin_minion_pool_id", key_type(36), nullable=True, comment="Pool whose machines serve the source"),
    )
    op.add_column(
        "action",
        sa.Column(
            "destination_minion_pool_id",
            key_type(36),
            nullable=True,
            comment="Pool whose machines serve the destination",
        ),
    )
    op.add_column(
        "action",
        sa.Column(
            "instance_osmorphing_minion_pool_mappings",
            Json(),
            nullable=True,
            comment="Instance to the pool that morphs it",
        ),
    )
    op.create_index("ix_action_destination_pool", "action", ["destination_minion_pool_id"], unique=False)
    op.create_index("ix_action_origin_pool", "action", ["origin_minion_pool_id"], unique=False)
    # ### end Alembic commands ###
