# SPDX-License-Identifier: Apache-2.0
"""The first tables. Comments on columns are in ``coriolis.store.tables`` and in the database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from coriolis.store.types import Json, Moment, Seconds, key_type, long_text, name_type

revision = "0001"
down_revision = None

INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}


def upgrade() -> None:
    op.create_table(
        "endpoint",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("project_id", name_type(64), nullable=False, comment="Owner"),
        sa.Column("user_id", name_type(64), nullable=False, comment="Who made it"),
        sa.Column("name", name_type(255), nullable=False, comment="Given by the user, need not be unique"),
        sa.Column("type", key_type(64), nullable=False, comment="Name of the provider"),
        sa.Column("description", sa.String(length=1024), nullable=False, comment="Free text"),
        sa.Column("sealed", long_text(), nullable=True, comment="Ciphertext of the connection info, or NULL"),
        sa.Column(
            "secret_ref",
            sa.String(length=1024),
            nullable=True,
            comment="Barbican reference of the connection info, or NULL",
        ),
        sa.Column("mapped_regions", Json(), nullable=False, comment="List of region ids whose workers may serve it"),
        sa.Column(
            "hidden",
            sa.Boolean(),
            nullable=False,
            comment="Made inline with a migration and deleted with it; not listed",
        ),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When it was last changed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint")),
        comment="Platform accounts",
        **INNODB,
    )
    op.create_index("ix_endpoint_list", "endpoint", ["project_id", "hidden", "created_at", "id"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("project_id", name_type(64), nullable=False, comment="Whose key"),
        sa.Column("key", name_type(255), nullable=False, comment="Idempotency-Key of the request"),
        sa.Column(
            "request_hash", key_type(64), nullable=False, comment="Digest of the request; another one is a conflict"
        ),
        sa.Column("object_id", key_type(36), nullable=False, comment="What the first request made"),
        sa.Column("created_at", Moment, nullable=False, comment="When; old ones are forgotten"),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency")),
        comment="Creates that may be repeated",
        **INNODB,
    )
    op.create_index("ix_idempotency_age", "idempotency", ["created_at"], unique=False)
    op.create_index("ix_idempotency_object", "idempotency", ["object_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="Order of writing",
        ),
        sa.Column("topic", key_type(64), nullable=False, comment="rpc.messages topic"),
        sa.Column(
            "server", key_type(36), nullable=True, comment="A worker's session, or NULL for any server of the topic"
        ),
        sa.Column("method", key_type(64), nullable=False, comment="rpc.messages method, always a hint"),
        sa.Column("payload", Json(), nullable=False, comment="Fields of the message"),
        sa.Column("created_at", Moment, nullable=False, comment="When the change that it announces was made"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        comment="Hints that were decided in a transaction and are sent after it",
        **INNODB,
    )
    op.create_table(
        "session",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier, the worker's name on the bus"),
        sa.Column("host", name_type(255), nullable=False, comment="Where the process runs"),
        sa.Column("pid", sa.Integer(), nullable=False, comment="Its process id there"),
        sa.Column("regions", Json(), nullable=False, comment="Region ids it serves; empty: any"),
        sa.Column("providers", Json(), nullable=False, comment="Provider name to its capabilities"),
        sa.Column("slots", sa.Integer(), nullable=False, comment="Attempts it runs at once"),
        sa.Column("load", Seconds, nullable=False, comment="Load of the host as last told"),
        sa.Column("release", name_type(64), nullable=False, comment="Version of the worker"),
        sa.Column("state", key_type(64), nullable=False, comment="live or dead; dead is final"),
        sa.Column("draining", sa.Boolean(), nullable=False, comment="Takes no new tasks: the worker says so"),
        sa.Column("drain_requested", sa.Boolean(), nullable=False, comment="... an operator asks for it"),
        sa.Column(
            "seen_at", Seconds, nullable=False, comment="Last heartbeat: seconds since 1970 by the database's clock"
        ),
        sa.Column("created_at", Moment, nullable=False, comment="When it registered"),
        sa.Column("ended_at", Moment, nullable=True, comment="When it was found dead"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        comment="Lives of worker processes",
        **INNODB,
    )
    op.create_index("ix_session_state", "session", ["state", "seen_at"], unique=False)
    op.create_table(
        "migration",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("project_id", name_type(64), nullable=False, comment="Owner"),
        sa.Column("user_id", name_type(64), nullable=False, comment="Who made it"),
        sa.Column("origin_endpoint_id", key_type(36), nullable=False, comment="Where from"),
        sa.Column("destination_endpoint_id", key_type(36), nullable=False, comment="Where to"),
        sa.Column("instances", Json(), nullable=False, comment="List of the names the user gave"),
        sa.Column("source_environment", Json(), nullable=False, comment="Options of the source provider"),
        sa.Column("destination_environment", Json(), nullable=False, comment="Options of the destination provider"),
        sa.Column("network_map", Json(), nullable=False, comment="Source network to destination network"),
        sa.Column(
            "storage_mappings", Json(), nullable=False, comment="Storage backends and disks to destination storage"
        ),
        sa.Column("user_scripts", Json(), nullable=False, comment="Scripts for the guests, by OS type and by instance"),
        sa.Column("notes", long_text(), nullable=True, comment="Free text of the user"),
        sa.Column(
            "shutdown_instances", sa.Boolean(), nullable=False, comment="Shut the source down before the last round"
        ),
        sa.Column("replication_count", sa.Integer(), nullable=False, comment="Rounds of copying asked for"),
        sa.Column("skip_os_morphing", sa.Boolean(), nullable=False, comment="Leave the guest as it is"),
        sa.Column(
            "last_execution_status", key_type(64), nullable=False, comment="Roll-up: state of its latest execution"
        ),
        sa.Column("message", sa.String(length=1024), nullable=True, comment="Roll-up: why it ended as it did"),
        sa.Column("percent", sa.Integer(), nullable=False, comment="Roll-up: 0 to 100"),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False, comment="Roll-up: bytes copied or skipped"),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False, comment="Roll-up: bytes to copy, as far as known"),
        sa.Column(
            "transfer_result",
            Json(),
            nullable=True,
            comment="Instance name to the description of the machine made, when finished",
        ),
        sa.Column("request_id", name_type(64), nullable=True, comment="Request that made it, for tracing"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was made"),
        sa.Column("updated_at", Moment, nullable=True, comment="When its row was last changed"),
        sa.ForeignKeyConstraint(
            ["destination_endpoint_id"], ["endpoint.id"], name=op.f("fk_migration_destination_endpoint_id")
        ),
        sa.ForeignKeyConstraint(["origin_endpoint_id"], ["endpoint.id"], name=op.f("fk_migration_origin_endpoint_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_migration")),
        comment="The user's jobs",
        **INNODB,
    )
    op.create_index("ix_migration_destination", "migration", ["destination_endpoint_id"], unique=False)
    op.create_index("ix_migration_list", "migration", ["project_id", "created_at", "id"], unique=False)
    op.create_index("ix_migration_origin", "migration", ["origin_endpoint_id"], unique=False)
    op.create_table(
        "execution",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("migration_id", key_type(36), nullable=False, comment="The job it runs"),
        sa.Column("project_id", name_type(64), nullable=False, comment="Owner"),
        sa.Column("number", sa.Integer(), nullable=False, comment="Counts the executions of a job, from 1"),
        sa.Column("type", key_type(64), nullable=False, comment="Wire name of the kind of run"),
        sa.Column("recipe", key_type(64), nullable=False, comment="Name of the recipe it is compiled from"),
        sa.Column(
            "capabilities", Json(), nullable=False, comment="Provider to its capabilities when the job was accepted"
        ),
        sa.Column(
            "state", key_type(64), nullable=False, comment="domain.model.ExecutionState; CANCELLING is the flag below"
        ),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False, comment="A user asked to cancel"),
        sa.Column("cancel_force", sa.Boolean(), nullable=False, comment="... without waiting for the workers"),
        sa.Column(
            "cancel_pending", sa.Boolean(), nullable=False, comment="The conductor has not yet carried out a cancel"
        ),
        sa.Column(
            "version", sa.Integer(), nullable=False, comment="Raised by each transaction that decides on the execution"
        ),
        sa.Column("message", sa.String(length=1024), nullable=True, comment="Why it ended as it did"),
        sa.Column("percent", sa.Integer(), nullable=False, comment="Roll-up: 0 to 100"),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False, comment="Roll-up: bytes copied or skipped"),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False, comment="Roll-up: bytes to copy, as far as known"),
        sa.Column("request_id", name_type(64), nullable=True, comment="Request that asked for it, for tracing"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was asked for"),
        sa.Column("started_at", Moment, nullable=True, comment="When it was compiled"),
        sa.Column("finished_at", Moment, nullable=True, comment="When its last task ended"),
        sa.Column("updated_at", Moment, nullable=True, comment="When its row was last changed"),
        sa.ForeignKeyConstraint(["migration_id"], ["migration.id"], name=op.f("fk_execution_migration_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_execution")),
        sa.UniqueConstraint("migration_id", "number", name=op.f("uq_execution_migration_id_number")),
        comment="Runs of jobs",
        **INNODB,
    )
    op.create_index("ix_execution_cancel", "execution", ["cancel_pending"], unique=False)
    op.create_index("ix_execution_state", "execution", ["state", "created_at"], unique=False)
    op.create_table(
        "execution_instance",
        sa.Column("execution_id", key_type(36), nullable=False, comment="The run"),
        sa.Column(
            "position", sa.Integer(), autoincrement=False, nullable=False, comment="Place in the job's list, from 0"
        ),
        sa.Column("instance", name_type(1024), nullable=False, comment="Name as the user gave it"),
        sa.Column("state", key_type(64), nullable=False, comment="domain.model.ExecutionState, of this instance alone"),
        sa.Column(
            "version", sa.Integer(), nullable=False, comment="Raised first by each transaction that plans for it"
        ),
        sa.Column("message", sa.String(length=1024), nullable=True, comment="Why it ended as it did"),
        sa.Column("percent", sa.Integer(), nullable=False, comment="0 to 100"),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False, comment="Bytes copied or skipped"),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False, comment="Bytes to copy, as far as known"),
        sa.Column("result", Json(), nullable=True, comment="Description of the machine made"),
        sa.Column("started_at", Moment, nullable=True, comment="When its graph was stored"),
        sa.Column("finished_at", Moment, nullable=True, comment="When its last task ended"),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.id"], name=op.f("fk_execution_instance_execution_id")),
        sa.PrimaryKeyConstraint("execution_id", "position", name=op.f("pk_execution_instance")),
        comment="One machine of one run: its graph's guard and its roll-up",
        **INNODB,
    )
    op.create_index("ix_execution_instance_state", "execution_instance", ["state", "execution_id"], unique=False)
    op.create_table(
        "task",
        sa.Column("id", key_type(36), nullable=False, comment="Public identifier"),
        sa.Column("execution_id", key_type(36), nullable=False, comment="The run"),
        sa.Column("position", sa.Integer(), nullable=False, comment="The machine: execution_instance.position"),
        sa.Column("instance", name_type(1024), nullable=False, comment="The machine's name"),
        sa.Column("name", name_type(255), nullable=False, comment="Unique in (execution, instance): copy.2/disk-0"),
        sa.Column("kind", key_type(64), nullable=False, comment="The worker's function"),
        sa.Column("type", key_type(64), nullable=False, comment="Wire name"),
        sa.Column("index", sa.Integer(), nullable=False, comment="Order on the wire, from 1"),
        sa.Column("side", key_type(64), nullable=False, comment="domain.model.Side"),
        sa.Column("role", key_type(64), nullable=False, comment="domain.model.Role"),
        sa.Column(
            "maker", key_type(36), nullable=True, comment="Of an undo or cleanup: the task whose effects it removes"
        ),
        sa.Column("item", name_type(255), nullable=True, comment="What an expanded task is for: a disk id"),
        sa.Column(
            "placeholder", sa.Boolean(), nullable=False, comment="Stands for one task per item, which are not known yet"
        ),
        sa.Column(
            "spec", long_text(), nullable=False, comment="JSON of what the compiler fixed for all instances alike"
        ),
        sa.Column("parents", Json(), nullable=False, comment="Ids of the tasks that it waits for"),
        sa.Column("state", key_type(64), nullable=False, comment="domain.model.TaskState"),
        sa.Column(
            "needs_key",
            key_type(64),
            nullable=False,
            comment="Tasks with the same key can be placed on the same workers",
        ),
        sa.Column("not_before", Moment, nullable=True, comment="Earliest placing; set while PENDING"),
        sa.Column(
            "epoch", sa.Integer(), nullable=False, comment="Fencing number: grows at each assignment and revocation"
        ),
        sa.Column("session_id", key_type(36), nullable=True, comment="Who runs it, or ran it last"),
        sa.Column("host", name_type(255), nullable=True, comment="Host of that session"),
        sa.Column("stop_asked", sa.Boolean(), nullable=False, comment="The running attempt is told to stop"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="Failed, retryable attempts so far"),
        sa.Column("lost_sessions", sa.Integer(), nullable=False, comment="How often its worker died"),
        sa.Column("error_code", key_type(64), nullable=True, comment="Stable code of the last failure"),
        sa.Column("error_message", long_text(), nullable=True, comment="Text of the last failure, for the user"),
        sa.Column(
            "error_retryable", sa.Boolean(), nullable=False, comment="Whether the last failure may pass by itself"
        ),
        sa.Column(
            "event_seq", sa.Integer(), nullable=False, comment="Highest event number taken in of the current epoch"
        ),
        sa.Column("synced_at", Moment, nullable=True, comment="Last fenced write of its attempt"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was compiled or expanded"),
        sa.Column("started_at", Moment, nullable=True, comment="First assignment"),
        sa.Column("finished_at", Moment, nullable=True, comment="When it reached a final state"),
        sa.Column("updated_at", Moment, nullable=True, comment="When its row was last changed"),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.id"], name=op.f("fk_task_execution_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("execution_id", "position", "name", name=op.f("uq_task_execution_id_position_name")),
        comment="Steps: the durable graph",
        **INNODB,
    )
    op.create_index("ix_task_ready", "task", ["state", "not_before", "id"], unique=False)
    op.create_index("ix_task_session", "task", ["session_id", "state"], unique=False)
    op.create_index("ix_task_wire", "task", ["execution_id", "index"], unique=False)
    op.create_table(
        "checkpoint",
        sa.Column("task_id", key_type(36), nullable=False, comment="Resumable task"),
        sa.Column(
            "epoch", sa.Integer(), nullable=False, comment="Who wrote it; an older epoch never overwrites a newer one"
        ),
        sa.Column(
            "value", Json(), nullable=False, comment="At most 64 KiB of JSON; `host` in it is preferred at a retry"
        ),
        sa.Column("updated_at", Moment, nullable=False, comment="Last write"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_checkpoint_task_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_checkpoint")),
        comment="Where a resumable attempt can go on",
        **INNODB,
    )
    op.create_table(
        "effect",
        sa.Column("key", key_type(36), nullable=False, comment="domain.effects.key_of; also the tag on the platform"),
        sa.Column("task_id", key_type(36), nullable=False, comment="Owner: the task that makes it"),
        sa.Column("execution_id", key_type(36), nullable=False, comment="The run"),
        sa.Column("position", sa.Integer(), nullable=False, comment="The machine"),
        sa.Column("kind", key_type(64), nullable=False, comment="snapshot, volume, instance, power ..."),
        sa.Column("name", name_type(255), nullable=False, comment="volume/disk-0"),
        sa.Column("state", key_type(64), nullable=False, comment="domain.model.EffectState"),
        sa.Column("ref", Json(), nullable=True, comment="The platform's name for it, once live"),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="Of the attempt that may make it"),
        sa.Column(
            "doubtful_until",
            Moment,
            nullable=True,
            comment="Its attempt was cut off while it was intended: end of the quarantine",
        ),
        sa.Column("removed_at", Moment, nullable=True, comment="When it was last found gone"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was intended"),
        sa.Column("updated_at", Moment, nullable=False, comment="Last write"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_effect_task_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_effect")),
        comment="Ledger of the external things we made, written before they exist",
        **INNODB,
    )
    op.create_index("ix_effect_instance", "effect", ["execution_id", "position"], unique=False)
    op.create_index("ix_effect_task", "effect", ["task_id"], unique=False)
    op.create_table(
        "event",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="Order of arrival; the key of pages",
        ),
        sa.Column("execution_id", key_type(36), nullable=False, comment="The run"),
        sa.Column("task_id", key_type(36), nullable=True, comment="The task, or NULL for the run itself"),
        sa.Column("level", key_type(64), nullable=False, comment="INFO, WARNING, ERROR"),
        sa.Column("message", sa.String(length=1024), nullable=False, comment="One line for the user"),
        sa.Column("created_at", Moment, nullable=False, comment="When it was taken in"),
        sa.ForeignKeyConstraint(["execution_id"], ["execution.id"], name=op.f("fk_event_execution_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_event_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        comment="Append-only history",
        **INNODB,
    )
    op.create_index("ix_event_execution", "event", ["execution_id", "id"], unique=False)
    op.create_index("ix_event_task", "event", ["task_id", "id"], unique=False)
    op.create_table(
        "progress",
        sa.Column("task_id", key_type(36), nullable=False, comment="Which task"),
        sa.Column("item", name_type(255), nullable=False, comment="What of it: a disk, a phase"),
        sa.Column("index", sa.Integer(), nullable=False, comment="Order of appearance in the task, from 0"),
        sa.Column("done", sa.BigInteger(), nullable=False, comment="Bytes or steps done"),
        sa.Column("total", sa.BigInteger(), nullable=False, comment="Of how many; 0: unknown"),
        sa.Column("message", sa.String(length=1024), nullable=False, comment="One line for the user"),
        sa.Column("created_at", Moment, nullable=False, comment="First report"),
        sa.Column("updated_at", Moment, nullable=False, comment="Last report"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_progress_task_id")),
        sa.PrimaryKeyConstraint("task_id", "item", name=op.f("pk_progress")),
        comment="Overwritten state of an item",
        **INNODB,
    )
    op.create_table(
        "task_output",
        sa.Column("execution_id", key_type(36), nullable=False, comment="The run"),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False, comment="The machine"),
        sa.Column("name", name_type(255), nullable=False, comment="domain.outputs: digest@2/disk-0"),
        sa.Column("whole", name_type(255), nullable=False, comment="The name without its item: digest@2"),
        sa.Column("task_id", key_type(36), nullable=False, comment="Who gave it"),
        sa.Column("value", Json(), nullable=True, comment="At most 64 KiB of JSON"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_output_task_id")),
        sa.PrimaryKeyConstraint("execution_id", "position", "name", name=op.f("pk_task_output")),
        comment="What tasks hand on; a task is sent only the outputs it names",
        **INNODB,
    )
    op.create_index("ix_task_output_task", "task_output", ["task_id"], unique=False)
