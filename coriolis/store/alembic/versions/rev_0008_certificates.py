# SPDX-License-Identifier: Apache-2.0
"""Signed certificates of executions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, key_type

revision = "0008"
down_revision = "0007"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.create_table(
        "certificate",
        sa.Column("execution_id", key_type(36), nullable=False, comment="The run that it is of"),
        sa.Column("document", Json(), nullable=False, comment="As it was signed; never changed"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was signed"),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_certificate")),
        comment="Signed certificates",
        **INNODB,
    )
