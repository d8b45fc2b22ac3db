# SPDX-License-Identifier: Apache-2.0
"""Schedules of transfers, and trusts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, key_type, name_type

revision = "0007"
down_revision = "0006"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("transfer_id", key_type(36), nullable=False, comment="What it executes; the schedule goes with it"),
        sa.Column("project_id", name_type(64), nullable=False, comment="Owner"),
        sa.Column("user_id", name_type(64), nullable=False, comment="Who made it, and in whose name it runs"),
        sa.Column("calendar", Json(), nullable=False, comment="minute, hour, dom, month, dow as far as given; UTC"),
        sa.Column("expiration_date", Moment, nullable=True, comment="It does not fire from then on"),
        sa.Column("enabled", sa.Boolean(), nullable=False, comment="It fires"),
        sa.Column("shutdown_instance", sa.Boolean(), nullable=False, comment="Of the executions that it starts"),
        sa.Column("auto_deploy", sa.Boolean(), nullable=False, comment="Of the executions that it starts"),
        sa.Column("trust_id", key_type(36), nullable=True, comment="trust.id that its executions use, or NULL"),
        sa.Column(
            "next_fire_at",
            Moment,
            nullable=True,
            comment="Minute in which it is to fire next; NULL: never, or not enabled",
        ),
        sa.Column(
            "last_fired_at",
            Moment,
            nullable=True,
            comment="Minute for which it fired last: it never fires for one before",
        ),
        sa.Column("message", sa.String(length=1024), nullable=True, comment="What came of the last firing"),
        sa.Column("version", sa.Integer(), nullable=False, comment="Raised by each change and each firing"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When a user last changed it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        comment="When transfers are executed by themselves",
        **INNODB,
    )
    op.create_index("ix_schedule_transfer", "schedule", ["transfer_id", "created_at", "id"], unique=False)
    op.create_index("ix_schedule_due", "schedule", ["enabled", "next_fire_at"], unique=False)
    op.create_index("ix_schedule_trust", "schedule", ["trust_id"], unique=False)
    op.create_table(
        "trust",
        sa.Column(
            "id", key_type(36), nullable=False, comment="Our identifier, written before Keystone has given its own"
        ),
        sa.Column(
            "keystone_id",
            key_type(64),
            nullable=True,
            comment="Keystone's identifier; NULL: asked for, and perhaps made",
        ),
        sa.Column("project_id", name_type(64), nullable=False, comment="Project that it is for"),
        sa.Column("user_id", name_type(64), nullable=False, comment="Who gave it"),
        sa.Column("expires_at", Moment, nullable=True, comment="When Keystone lets it end, or NULL"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was asked for"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trust")),
        comment="Leave that users gave us to act for them while their work lasts",
        **INNODB,
    )
    op.create_index("ix_trust_age", "trust", ["created_at"], unique=False)
