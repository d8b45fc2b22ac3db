# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets, and the streams that share them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, Seconds, key_type, name_type

revision = "0004"
down_revision = "0003"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.create_table(
        "bandwidth_budget",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("name", name_type(255), nullable=False, comment="For people"),
        sa.Column("description", sa.String(length=1024), nullable=False, comment="For people"),
        sa.Column("enabled", sa.Boolean(), nullable=False, comment="Whether it limits anything"),
        sa.Column("scope", key_type(64), nullable=False, comment="domain.bandwidth.Scope"),
        sa.Column("target", Json(), nullable=False, comment="What it matches: the keys of the scope"),
        sa.Column(
            "bytes_per_second",
            sa.BigInteger(),
            nullable=True,
            comment="All streams together, outside of the windows; NULL: no limit",
        ),
        sa.Column(
            "streams",
            sa.Integer(),
            nullable=True,
            comment="That move bytes at the same time, outside of the windows; NULL: no limit",
        ),
        sa.Column(
            "backoff_factor",
            Seconds,
            nullable=True,
            comment="Slow down when reads take so many times the usual; NULL: never",
        ),
        sa.Column("time_zone", name_type(64), nullable=False, comment="IANA name, of the windows"),
        sa.Column("windows", Json(), nullable=False, comment="Times of the day with other limits, as on the wire"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When it was last changed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bandwidth_budget")),
        comment="Limits of the bytes that streams move",
        **INNODB,
    )
    op.create_index("ix_bandwidth_budget_list", "bandwidth_budget", ["created_at", "id"], unique=False)
    op.create_table(
        "stream",
        sa.Column("task_id", key_type(36), nullable=False, comment="Whose attempt moves bytes"),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="Of the attempt"),
        sa.Column("budgets", Json(), nullable=False, comment="Ids of the budgets that apply"),
        sa.Column("used", Seconds, nullable=False, comment="Bytes per second, as last told"),
        sa.Column(
            "demand", Seconds, nullable=True, comment="Bytes per second that it could use; NULL: more than it has"
        ),
        sa.Column(
            "granted", Seconds, nullable=True, comment="Bytes per second that its worker was told; NULL: no limit"
        ),
        sa.Column("updated_at", Moment, nullable=False, comment="Last report"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_stream_task_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_stream")),
        comment="Attempts that share budgets",
        **INNODB,
    )
