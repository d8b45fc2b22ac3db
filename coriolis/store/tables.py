# SPDX-License-Identifier: Apache-2.0
"""All tables. Times are naive UTC with microseconds, identifiers are UUIDs in text form.

Who writes what under which guard: the planner's writes to ``task`` hold their ``execution_instance`` row (its
``version`` is raised first) and name the state they decided on; an attempt's writes carry the fence (``fence``);
a claim is one conditional UPDATE. No row ever holds a secret in clear.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from coriolis.store.types import Json, Moment, Seconds, key_type, long_text, name_type

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = key_type(36)
_WORD = key_type(64)
# SQLite numbers rows by itself only in a column that is exactly INTEGER.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}

endpoint = Table(
    "endpoint",
    metadata,
    Column("id", _ID, primary_key=True, comment="Public identifier"),
    Column("project_id", name_type(64), nullable=False, comment="Owner"),
    Column("user_id", name_type(64), nullable=False, comment="Who made it"),
    Column("name", name_type(255), nullable=False, comment="Given by the user, need not be unique"),
    Column("type", _WORD, nullable=False, comment="Name of the provider"),
    Column("description", String(1024), nullable=False, comment="Free text"),
    Column("sealed", long_text(), comment="Ciphertext of the connection info, or NULL"),
    Column("secret_ref", String(1024), comment="Barbican reference of the connection info, or NULL"),
    Column("mapped_regions", Json(), nullable=False, comment="List of region ids whose workers may serve it"),
    Column("hidden", Boolean(), nullable=False, comment="Made inline with a migration and deleted with it; not listed"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When it was last changed"),
    Index("ix_endpoint_list", "project_id", "hidden", "created_at", "id"),
    comment="Platform accounts",
    **_INNODB,
)

action = Table(
    "action",
    metadata,
    Column("id", _ID, primary_key=True, comment="Public identifier"),
    Column("kind", _WORD, nullable=False, comment="migration, transfer or deployment"),
    Column("project_id", name_type(64), nullable=False, comment="Owner"),
    Column("user_id", name_type(64), nullable=False, comment="Who made it"),
    Column("scenario", _WORD, comment="Of a transfer and its deployments: replica or live_migration"),
    Column("transfer_id", _ID, ForeignKey("action.id"), comment="Of a deployment: the transfer that it deploys"),
    Column("deployer_id", _ID, comment="Of an automatic deployment: the execution that it waits for"),
    Column("origin_endpoint_id", _ID, ForeignKey("endpoint.id"), nullable=False, comment="Where from"),
    Column("destination_endpoint_id", _ID, ForeignKey("endpoint.id"), nullable=False, comment="Where to"),
    Column("instances", Json(), nullable=False, comment="List of the names the user gave"),
    Column("source_environment", Json(), nullable=False, comment="Options of the source provider"),
    Column("destination_environment", Json(), nullable=False, comment="Options of the destination provider"),
    Column("network_map", Json(), nullable=False, comment="Source network to destination network"),
    Column("storage_mappings", Json(), nullable=False, comment="Storage backends and disks to destination storage"),
    Column("user_scripts", Json(), nullable=False, comment="Scripts for the guests, by OS type and by instance"),
    Column("notes", long_text(), comment="Free text of the user"),
    Column("shutdown_instances", Boolean(), nullable=False, comment="Shut the source down before the last round"),
    Column("replication_count", Integer(), nullable=False, comment="Rounds of copying asked for"),
    Column("clone_disks", Boolean(), nullable=False, comment="Deploy copies of the replicas, which stay as they are"),
    Column("skip_os_morphing", Boolean(), nullable=False, comment="Leave the guest as it is"),
    Column(
        "fence",
        Integer(),
        nullable=False,
        comment="Counts the runs that write one replica: the executions of a transfer and of its deployments",
    ),
    Column("last_execution_status", _WORD, nullable=False, comment="Roll-up: state of its latest execution"),
    Column("message", String(1024), comment="Roll-up: why it ended as it did"),
    Column("percent", Integer(), nullable=False, comment="Roll-up: 0 to 100"),
    Column("bytes_done", BigInteger(), nullable=False, comment="Roll-up: bytes copied or skipped"),
    Column("bytes_total", BigInteger(), nullable=False, comment="Roll-up: bytes to copy, as far as known"),
    Column("transfer_result", Json(), comment="Instance name to the description of the machine made, when finished"),
    Column("request_id", name_type(64), comment="Request that made it, for tracing"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When its row was last changed"),
    Column("deleted_at", Moment, comment="When a user deleted it; its rows stay until they are purged"),
    Index("ix_action_list", "project_id", "kind", "created_at", "id"),
    Index("ix_action_origin", "origin_endpoint_id"),
    Index("ix_action_destination", "destination_endpoint_id"),
    Index("ix_action_transfer", "transfer_id"),
    Index("ix_action_deployer", "deployer_id"),
    comment="The user's jobs: migrations, transfers and deployments",
    **_INNODB,
)

execution = Table(
    "execution",
    metadata,
    Column("id", _ID, primary_key=True, comment="Public identifier"),
    Column("action_id", _ID, ForeignKey("action.id"), nullable=False, comment="The job it runs"),
    Column("project_id", name_type(64), nullable=False, comment="Owner"),
    Column("number", Integer(), nullable=False, comment="Counts the executions of a job, from 1"),
    Column("type", _WORD, nullable=False, comment="Wire name of the kind of run"),
    Column("recipe", _WORD, nullable=False, comment="Name of the recipe it is compiled from"),
    Column("capabilities", Json(), nullable=False, comment="Provider to its capabilities when the job was accepted"),
    Column("shutdown_instances", Boolean(), nullable=False, comment="Shut the source down before the last round"),
    Column("auto_deploy", Boolean(), nullable=False, comment="A deployment waits for its end"),
    Column("fence", Integer(), nullable=False, comment="Its number among the runs that write one replica"),
    Column("changes", Json(), comment="Of an update: the job's new values, which hold once it has succeeded"),
    Column("state", _WORD, nullable=False, comment="domain.model.ExecutionState; CANCELLING is the flag below"),
    Column("cancel_requested", Boolean(), nullable=False, comment="A user asked to cancel"),
    Column("cancel_force", Boolean(), nullable=False, comment="... without waiting for the workers"),
    Column("cancel_pending", Boolean(), nullable=False, comment="The conductor has not yet carried out a cancel"),
    Column("version", Integer(), nullable=False, comment="Raised by each transaction that decides on the execution"),
    Column("message", String(1024), comment="Why it ended as it did"),
    Column("percent", Integer(), nullable=False, comment="Roll-up: 0 to 100"),
    Column("bytes_done", BigInteger(), nullable=False, comment="Roll-up: bytes copied or skipped"),
    Column("bytes_total", BigInteger(), nullable=False, comment="Roll-up: bytes to copy, as far as known"),
    Column("request_id", name_type(64), comment="Request that asked for it, for tracing"),
    Column("created_at", Moment, nullable=False, comment="When it was asked for"),
    Column("started_at", Moment, comment="When it was compiled"),
    Column("finished_at", Moment, comment="When its last task ended"),
    Column("updated_at", Moment, comment="When its row was last changed"),
    Column("deleted_at", Moment, comment="When a user deleted it"),
    # The name dates from when the column had another one.
    UniqueConstraint("action_id", "number", name="uq_execution_migration_id_number"),
    Index("ix_execution_state", "state", "created_at"),
    Index("ix_execution_cancel", "cancel_pending"),
    comment="Runs of jobs",
    **_INNODB,
)

execution_instance = Table(
    "execution_instance",
    metadata,
    Column("execution_id", _ID, ForeignKey("execution.id"), primary_key=True, comment="The run"),
    Column("position", Integer(), primary_key=True, autoincrement=False, comment="Place in the job's list, from 0"),
    Column("instance", name_type(1024), nullable=False, comment="Name as the user gave it"),
    Column("state", _WORD, nullable=False, comment="domain.model.ExecutionState, of this instance alone"),
    Column("version", Integer(), nullable=False, comment="Raised first by each transaction that plans for it"),
    Column("message", String(1024), comment="Why it ended as it did"),
    Column("percent", Integer(), nullable=False, comment="0 to 100"),
    Column("bytes_done", BigInteger(), nullable=False, comment="Bytes copied or skipped"),
    Column("bytes_total", BigInteger(), nullable=False, comment="Bytes to copy, as far as known"),
    Column("result", Json(), comment="Description of the machine made"),
    Column("started_at", Moment, comment="When its graph was stored"),
    Column("finished_at", Moment, comment="When its last task ended"),
    Index("ix_execution_instance_state", "state", "execution_id"),
    comment="One machine of one run: its graph's guard and its roll-up",
    **_INNODB,
)

replica = Table(
    "replica",
    metadata,
    Column("transfer_id", _ID, ForeignKey("action.id"), primary_key=True, comment="The transfer"),
    Column("position", Integer(), primary_key=True, autoincrement=False, comment="The machine: as in its executions"),
    Column("instance", name_type(1024), nullable=False, comment="The machine's name"),
    Column("volumes", Json(), comment="What it has on the destination, or NULL"),
    Column("complete", Boolean(), nullable=False, comment="The volumes hold a whole point in time of the source"),
    Column("vm", Json(), comment="The machine at that point in time"),
    Column("layout", Json(), comment="How the destination planned for it"),
    Column("snapshot", Json(), comment="The source's mark of that point in time, base of the next execution"),
    Column("digest", Json(), comment="Disk to what its copy reported: digest and size"),
    Column("execution_id", _ID, comment="The execution that left it so"),
    Column("updated_at", Moment, nullable=False, comment="When it was last changed"),
    comment="What the executions of a transfer have left of each machine",
    **_INNODB,
)

task = Table(
    "task",
    metadata,
    Column("id", _ID, primary_key=True, comment="Public identifier"),
    Column("execution_id", _ID, ForeignKey("execution.id"), nullable=False, comment="The run"),
    Column("position", Integer(), nullable=False, comment="The machine: execution_instance.position"),
    Column("instance", name_type(1024), nullable=False, comment="The machine's name"),
    Column("name", name_type(255), nullable=False, comment="Unique in (execution, instance): copy.2/disk-0"),
    Column("kind", _WORD, nullable=False, comment="The worker's function"),
    Column("type", _WORD, nullable=False, comment="Wire name"),
    Column("index", Integer(), nullable=False, comment="Order on the wire, from 1"),
    Column("side", _WORD, nullable=False, comment="domain.model.Side"),
    Column("role", _WORD, nullable=False, comment="domain.model.Role"),
    Column("maker", _ID, comment="Of an undo or cleanup: the task whose effects it removes"),
    Column("item", name_type(255), comment="What an expanded task is for: a disk id"),
    Column("placeholder", Boolean(), nullable=False, comment="Stands for one task per item, which are not known yet"),
    Column("spec", long_text(), nullable=False, comment="JSON of what the compiler fixed for all instances alike"),
    Column("parents", Json(), nullable=False, comment="Ids of the tasks that it waits for"),
    Column("state", _WORD, nullable=False, comment="domain.model.TaskState"),
    Column("needs_key", _WORD, nullable=False, comment="Tasks with the same key can be placed on the same workers"),
    Column("not_before", Moment, comment="Earliest placing; set while PENDING"),
    Column("epoch", Integer(), nullable=False, comment="Fencing number: grows at each assignment and revocation"),
    Column("session_id", _ID, comment="Who runs it, or ran it last"),
    Column("host", name_type(255), comment="Host of that session"),
    Column("stop_asked", Boolean(), nullable=False, comment="The running attempt is told to stop"),
    Column("attempts", Integer(), nullable=False, comment="Failed, retryable attempts so far"),
    Column("lost_sessions", Integer(), nullable=False, comment="How often its worker died"),
    Column("error_code", _WORD, comment="Stable code of the last failure"),
    Column("error_message", long_text(), comment="Text of the last failure, for the user"),
    Column("error_retryable", Boolean(), nullable=False, comment="Whether the last failure may pass by itself"),
    Column("event_seq", Integer(), nullable=False, comment="Highest event number taken in of the current epoch"),
    Column("synced_at", Moment, comment="Last fenced write of its attempt"),
    Column("created_at", Moment, nullable=False, comment="When it was compiled or expanded"),
    Column("started_at", Moment, comment="First assignment"),
    Column("finished_at", Moment, comment="When it reached a final state"),
    Column("updated_at", Moment, comment="When its row was last changed"),
    UniqueConstraint("execution_id", "position", "name"),
    Index("ix_task_wire", "execution_id", "index"),
    Index("ix_task_ready", "state", "not_before", "id"),
    Index("ix_task_session", "session_id", "state"),
    comment="Steps: the durable graph",
    **_INNODB,
)

task_output = Table(
    "task_output",
    metadata,
    Column("execution_id", _ID, primary_key=True, comment="The run"),
    Column("position", Integer(), primary_key=True, autoincrement=False, comment="The machine"),
    Column("name", name_type(255), primary_key=True, comment="domain.outputs: digest@2/disk-0"),
    Column("whole", name_type(255), nullable=False, comment="The name without its item: digest@2"),
    Column("task_id", _ID, ForeignKey("task.id"), nullable=False, comment="Who gave it"),
    Column("value", Json(), comment="At most 64 KiB of JSON"),
    Index("ix_task_output_task", "task_id"),
    comment="What tasks hand on; a task is sent only the outputs it names",
    **_INNODB,
)

session = Table(
    "session",
    metadata,
    Column("id", _ID, primary_key=True, comment="Public identifier, the worker's name on the bus"),
    Column("host", name_type(255), nullable=False, comment="Where the process runs"),
    Column("pid", Integer(), nullable=False, comment="Its process id there"),
    Column("regions", Json(), nullable=False, comment="Region ids it serves; empty: any"),
    Column("providers", Json(), nullable=False, comment="Provider name to its capabilities"),
    Column("slots", Integer(), nullable=False, comment="Attempts it runs at once"),
    Column("load", Seconds, nullable=False, comment="Load of the host as last told"),
    Column("release", name_type(64), nullable=False, comment="Version of the worker"),
    Column("state", _WORD, nullable=False, comment="live or dead; dead is final"),
    Column("draining", Boolean(), nullable=False, comment="Takes no new tasks: the worker says so"),
    Column("drain_requested", Boolean(), nullable=False, comment="... an operator asks for it"),
    Column("seen_at", Seconds, nullable=False, comment="Last heartbeat: seconds since 1970 by the database's clock"),
    Column("created_at", Moment, nullable=False, comment="When it registered"),
    Column("ended_at", Moment, comment="When it was found dead"),
    Index("ix_session_state", "state", "seen_at"),
    comment="Lives of worker processes",
    **_INNODB,
)

effect = Table(
    "effect",
    metadata,
    Column("key", _ID, primary_key=True, comment="domain.effects.key_of; also the tag on the platform"),
    Column("task_id", _ID, ForeignKey("task.id"), nullable=False, comment="Owner: the task that makes it"),
    Column("execution_id", _ID, nullable=False, comment="The run"),
    Column("position", Integer(), nullable=False, comment="The machine"),
    Column("kind", _WORD, nullable=False, comment="snapshot, volume, instance, power ..."),
    Column("name", name_type(255), nullable=False, comment="volume/disk-0"),
    Column("state", _WORD, nullable=False, comment="domain.model.EffectState"),
    Column("ref", Json(), comment="The platform's name for it, once live"),
    Column("epoch", Integer(), nullable=False, comment="Of the attempt that may make it"),
    Column("doubtful_until", Moment, comment="Its attempt was cut off while it was intended: end of the quarantine"),
    Column("removed_at", Moment, comment="When it was last found gone"),
    Column("created_at", Moment, nullable=False, comment="When it was intended"),
    Column("updated_at", Moment, nullable=False, comment="Last write"),
    Index("ix_effect_instance", "execution_id", "position"),
    Index("ix_effect_task", "task_id"),
    comment="Ledger of the external things we made, written before they exist",
    **_INNODB,
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("task_id", _ID, ForeignKey("task.id"), primary_key=True, comment="Resumable task"),
    Column("epoch", Integer(), nullable=False, comment="Who wrote it; an older epoch never overwrites a newer one"),
    Column("value", Json(), nullable=False, comment="At most 64 KiB of JSON; `host` in it is preferred at a retry"),
    Column("updated_at", Moment, nullable=False, comment="Last write"),
    comment="Where a resumable attempt can go on",
    **_INNODB,
)

journal = Table(
    "journal",
    metadata,
    Column("replica_id", _ID, primary_key=True, comment="The job whose copy of a disk it describes"),
    Column("name", _WORD, primary_key=True, comment="worker.journals.name_of: of instance, disk and volume"),
    Column("turn", Integer(), nullable=False, comment="Counts the writers that took it over"),
    Column("task_id", _ID, nullable=False, comment="Whose attempt may write"),
    Column("generation", Integer(), nullable=False, comment="Of the pieces that count; grows when they are replaced"),
    Column("length", BigInteger(), nullable=False, comment="Bytes of these pieces together"),
    Column("updated_at", Moment, nullable=False, comment="Last write"),
    comment="Copy journals, kept for the case that a worker's host is lost",
    **_INNODB,
)

journal_piece = Table(
    "journal_piece",
    metadata,
    Column("replica_id", _ID, primary_key=True, comment="Whose"),
    Column("name", _WORD, primary_key=True, comment="Which journal"),
    Column("generation", Integer(), primary_key=True, autoincrement=False, comment="Pieces of others do not count"),
    Column("offset", _NUMBER, primary_key=True, autoincrement=False, comment="Of its first byte in the journal"),
    Column("size", Integer(), nullable=False, comment="Bytes of it in the journal"),
    Column("data", LargeBinary(1 << 20), nullable=False, comment="These bytes, compressed by zlib"),
    comment="Appended pieces of copy journals",
    **_INNODB,
)

progress = Table(
    "progress",
    metadata,
    Column("task_id", _ID, ForeignKey("task.id"), primary_key=True, comment="Which task"),
    Column("item", name_type(255), primary_key=True, comment="What of it: a disk, a phase"),
    Column("index", Integer(), nullable=False, comment="Order of appearance in the task, from 0"),
    Column("done", BigInteger(), nullable=False, comment="Bytes or steps done"),
    Column("total", BigInteger(), nullable=False, comment="Of how many; 0: unknown"),
    Column("message", String(1024), nullable=False, comment="One line for the user"),
    Column("created_at", Moment, nullable=False, comment="First report"),
    Column("updated_at", Moment, nullable=False, comment="Last report"),
    comment="Overwritten state of an item",
    **_INNODB,
)

event = Table(
    "event",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True, comment="Order of arrival; the key of pages"),
    Column("execution_id", _ID, ForeignKey("execution.id"), nullable=False, comment="The run"),
    Column("task_id", _ID, ForeignKey("task.id"), comment="The task, or NULL for the run itself"),
    Column("level", _WORD, nullable=False, comment="INFO, WARNING, ERROR"),
    Column("message", String(1024), nullable=False, comment="One line for the user"),
    Column("created_at", Moment, nullable=False, comment="When it was taken in"),
    Index("ix_event_execution", "execution_id", "id"),
    Index("ix_event_task", "task_id", "id"),
    comment="Append-only history",
    **_INNODB,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True, comment="Order of writing"),
    Column("topic", _WORD, nullable=False, comment="rpc.messages topic"),
    Column("server", _ID, comment="A worker's session, or NULL for any server of the topic"),
    Column("method", _WORD, nullable=False, comment="rpc.messages method, always a hint"),
    Column("payload", Json(), nullable=False, comment="Fields of the message"),
    Column("created_at", Moment, nullable=False, comment="When the change that it announces was made"),
    comment="Hints that were decided in a transaction and are sent after it",
    **_INNODB,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("project_id", name_type(64), primary_key=True, comment="Whose key"),
    Column("key", name_type(255), primary_key=True, comment="Idempotency-Key of the request"),
    Column("request_hash", _WORD, nullable=False, comment="Digest of the request; another one is a conflict"),
    Column("object_id", _ID, nullable=False, comment="What the first request made"),
    Column("created_at", Moment, nullable=False, comment="When; old ones are forgotten"),
    Index("ix_idempotency_age", "created_at"),
    Index("ix_idempotency_object", "object_id"),
    comment="Creates that may be repeated",
    **_INNODB,
)

bandwidth_budget = Table(
    "bandwidth_budget",
    metadata,
    Column("id", _ID, primary_key=True, comment="Public identifier"),
    Column("name", name_type(255), nullable=False, comment="For people"),
    Column("description", String(1024), nullable=False, comment="For people"),
    Column("enabled", Boolean(), nullable=False, comment="Whether it limits anything"),
    Column("scope", _WORD, nullable=False, comment="domain.bandwidth.Scope"),
    Column("target", Json(), nullable=False, comment="What it matches: the keys of the scope"),
    Column("bytes_per_second", BigInteger(), comment="All streams together, outside of the windows; NULL: no limit"),
    Column("streams", Integer(), comment="That move bytes at the same time, outside of the windows; NULL: no limit"),
    Column("backoff_factor", Seconds, comment="Slow down when reads take so many times the usual; NULL: never"),
    Column("time_zone", name_type(64), nullable=False, comment="IANA name, of the windows"),
    Column("windows", Json(), nullable=False, comment="Times of the day with other limits, as on the wire"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When it was last changed"),
    Index("ix_bandwidth_budget_list", "created_at", "id"),
    comment="Limits of the bytes that streams move",
    **_INNODB,
)

stream = Table(
    "stream",
    metadata,
    Column("task_id", _ID, ForeignKey("task.id"), primary_key=True, comment="Whose attempt moves bytes"),
    Column("epoch", Integer(), nullable=False, comment="Of the attempt"),
    Column("budgets", Json(), nullable=False, comment="Ids of the budgets that apply"),
    Column("used", Seconds, nullable=False, comment="Bytes per second, as last told"),
    Column("demand", Seconds, comment="Bytes per second that it could use; NULL: more than it has"),
    Column("granted", Seconds, comment="Bytes per second that its worker was told; NULL: no limit"),
    Column("updated_at", Moment, nullable=False, comment="Last report"),
    comment="Attempts that share budgets",
    **_INNODB,
)
