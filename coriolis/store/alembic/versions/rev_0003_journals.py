# SPDX-License-Identifier: Apache-2.0
"""Copy journals, kept by the conductor."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Moment, blob, key_type

revision = "0003"
down_revision = "0002"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("replica_id", key_type(36), nullable=False, comment="The job whose copy of a disk it describes"),
        sa.Column(
            "name", key_type(64), nullable=False, comment="worker.journals.name_of: of instance, disk and volume"
        ),
        sa.Column("turn", sa.Integer(), nullable=False, comment="Counts the writers that took it over"),
        sa.Column("task_id", key_type(36), nullable=False, comment="Whose attempt may write"),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=False,
            comment="Of the pieces that count; grows when they are replaced",
        ),
        sa.Column("length", sa.BigInteger(), nullable=False, comment="Bytes of these pieces together"),
        sa.Column("updated_at", Moment, nullable=False, comment="Last write"),
        sa.PrimaryKeyConstraint("replica_id", "name", name=op.f("pk_journal")),
        comment="Copy journals, kept for the case that a worker's host is lost",
        **INNODB,
    )
    op.create_index("ix_journal_writer", "journal", ["task_id", "name"], unique=False)
    op.create_table(
        "journal_piece",
        sa.Column("replica_id", key_type(36), nullable=False, comment="Whose"),
        sa.Column("name", key_type(64), nullable=False, comment="Which journal"),
        sa.Column(
            "generation", sa.Integer(), autoincrement=False, nullable=False, comment="Pieces of others do not count"
        ),
        sa.Column("offset", NUMBER, autoincrement=False, nullable=False, comment="Of its first byte in the journal"),
        sa.Column("size", sa.Integer(), nullable=False, comment="Bytes of it in the journal"),
        sa.Column("data", blob(), nullable=False, comment="These bytes, compressed by zlib"),
        sa.PrimaryKeyConstraint("replica_id", "name", "generation", "offset", name=op.f("pk_journal_piece")),
        comment="Appended pieces of copy journals",
        **INNODB,
    )
