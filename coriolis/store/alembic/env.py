# SPDX-License-Identifier: Apache-2.0
"""Run by Alembic. The connection, in a transaction, comes from ``coriolis.store.schema``."""

from __future__ import annotations

from alembic import context

from coriolis.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    render_as_batch=False,
)
context.run_migrations()
