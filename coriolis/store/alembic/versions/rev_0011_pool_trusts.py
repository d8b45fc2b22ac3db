# SPDX-License-Identifier: Apache-2.0
"""Minion pools know the trust under which they make, check and retire machines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import key_type

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    comment = "trust.id under which what it does by itself acts, or NULL"
    op.add_column("minion_pool", sa.Column("trust_id", key_type(36), nullable=True, comment=comment))
    op.create_index("ix_minion_pool_trust", "minion_pool", ["trust_id"], unique=False)
