# SPDX-License-Identifier: Apache-2.0
"""One table of jobs for migrations, transfers and deployments, and the replicas that transfers leave.

Existing migrations are kept. Constraints that SQLite cannot rename keep the names of the first tables.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, key_type, name_type

revision = "0002"
down_revision = "0001"

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.rename_table("migration", "action")
    op.execute("ALTER TABLE execution RENAME COLUMN migration_id TO action_id")
    for column in _action_columns():
        op.add_column("action", column)
    _refer_to_transfer()
    _index_actions()
    for column in _execution_columns():
        op.add_column("execution", column)
    _make_replica()
    if op.get_bind().dialect.name != "sqlite":
        what = "The user's jobs"
        op.create_table_comment("action", f"{what}: migrations, transfers and deployments", existing_comment=what)


def _action_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column(
            "kind",
            key_type(64),
            nullable=False,
            server_default="migration",
            comment="migration, transfer or deployment",
        ),
        sa.Column(
            "scenario",
            key_type(64),
            nullable=True,
            comment="Of a transfer and its deployments: replica or live_migration",
        ),
        sa.Column(
            "deployer_id",
            key_type(36),
            nullable=True,
            comment="Of an automatic deployment: the execution that it waits for",
        ),
        sa.Column(
            "clone_disks",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="Deploy copies of the replicas, which stay as they are",
        ),
        sa.Column(
            "fence",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="Counts the runs that write one replica: the executions of a transfer and of its deployments",
        ),
        sa.Column(
            "deleted_at", Moment, nullable=True, comment="When a user deleted it; its rows stay until they are purged"
        ),
    ]


def _refer_to_transfer() -> None:
    comment = "Of a deployment: the transfer that it deploys"
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ALTER TABLE action ADD COLUMN transfer_id VARCHAR(36) REFERENCES action (id)")
        return
    op.add_column("action", sa.Column("transfer_id", key_type(36), nullable=True, comment=comment))
    op.create_foreign_key("fk_action_transfer_id", "action", "action", ["transfer_id"], ["id"])


def _index_actions() -> None:
    # The new ones first: MariaDB does not let go of the only index that serves a foreign key.
    op.create_index("ix_action_origin", "action", ["origin_endpoint_id"])
    op.create_index("ix_action_destination", "action", ["destination_endpoint_id"])
    op.create_index("ix_action_list", "action", ["project_id", "kind", "created_at", "id"])
    op.create_index("ix_action_transfer", "action", ["transfer_id"])
    op.create_index("ix_action_deployer", "action", ["deployer_id"])
    for name in ("ix_migration_list", "ix_migration_origin", "ix_migration_destination"):
        op.drop_index(name, table_name="action")


def _execution_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column(
            "shutdown_instances",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="Shut the source down before the last round",
        ),
        sa.Column(
            "auto_deploy",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="A deployment waits for its end",
        ),
        sa.Column(
            "fence",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="Its number among the runs that write one replica",
        ),
        sa.Column(
            "changes",
            Json(),
            nullable=True,
            comment="Of an update: the job's new values, which hold once it has succeeded",
        ),
        sa.Column("deleted_at", Moment, nullable=True, comment="When a user deleted it"),
    ]


def _make_replica() -> None:
    op.create_table(
        "replica",
        sa.Column("transfer_id", key_type(36), nullable=False, comment="The transfer"),
        sa.Column(
            "position",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="The machine: as in its executions",
        ),
        sa.Column("instance", name_type(1024), nullable=False, comment="The machine's name"),
        sa.Column("volumes", Json(), nullable=True, comment="What it has on the destination, or NULL"),
        sa.Column(
            "complete",
            sa.Boolean(),
            nullable=False,
            comment="The volumes hold a whole point in time of the source",
        ),
        sa.Column("vm", Json(), nullable=True, comment="The machine at that point in time"),
        sa.Column("layout", Json(), nullable=True, comment="How the destination planned for it"),
        sa.Column(
            "snapshot",
            Json(),
            nullable=True,
            comment="The source's mark of that point in time, base of the next execution",
        ),
        sa.Column("digest", Json(), nullable=True, comment="Disk to what its copy reported: digest and size"),
        sa.Column("execution_id", key_type(36), nullable=True, comment="The execution that left it so"),
        sa.Column("updated_at", Moment, nullable=False, comment="When it was last changed"),
        sa.ForeignKeyConstraint(["transfer_id"], ["action.id"], name=op.f("fk_replica_transfer_id")),
        sa.PrimaryKeyConstraint("transfer_id", "position", name=op.f("pk_replica")),
        comment="What the executions of a transfer have left of each machine",
        **INNODB,
    )
