# SPDX-License-Identifier: Apache-2.0
"""Replicas count how often something else than a copy may have written their volumes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    comment = "How often something else than a copy may have written the volumes: older journals say nothing"
    op.add_column("replica", sa.Column("era", sa.Integer(), nullable=False, server_default="0", comment=comment))
