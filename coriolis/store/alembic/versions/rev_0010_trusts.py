# SPDX-License-Identifier: Apache-2.0
"""Executions know the trust under which their workers act."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import key_type

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column(
        "execution",
        sa.Column("trust_id", key_type(36), nullable=True, comment="trust.id under which its workers act, or NULL"),
    )
    op.create_index("ix_execution_trust", "execution", ["trust_id"], unique=False)
