# SPDX-License-Identifier: Apache-2.0
"""Workers tell digests of their providers' schemas, so that the same schemas are asked for once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    comment = "Provider name to the digest of its schemas; NULL: not told"
    op.add_column("session", sa.Column("schema_digests", Json(), nullable=True, comment=comment))
