# SPDX-License-Identifier: Apache-2.0
"""Tables of minion pools. A pool's row has the id of the job (``action``) whose executions make its machines."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, UniqueConstraint

from coriolis.store.types import Json, Moment, long_text, name_type
from coriolis.store.vocabulary import ID, INNODB, WORD, metadata

minion_pool = Table(
    "minion_pool",
    metadata,
    Column("id", ID, ForeignKey("action.id"), primary_key=True, comment="Public identifier"),
    Column("project_id", name_type(64), nullable=False, comment="Owner"),
    Column("user_id", name_type(64), nullable=False, comment="Who made it"),
    Column("name", name_type(255), nullable=False, comment="Given by the user, need not be unique"),
    Column("notes", long_text(), comment="Free text of the user"),
    Column("endpoint_id", ID, ForeignKey("endpoint.id"), nullable=False, comment="Where its machines are made"),
    Column("platform", WORD, nullable=False, comment="source or destination: whose disks its machines serve"),
    Column("os_type", WORD, nullable=False, comment="Operating system of its machines"),
    Column("environment_options", Json(), nullable=False, comment="Options of the provider"),
    Column("minimum_minions", Integer(), nullable=False, comment="Machines that are kept ready"),
    Column("maximum_minions", Integer(), nullable=False, comment="Machines at most"),
    Column("minion_max_idle_time", Integer(), nullable=False, comment="Seconds after which a spare one is retired"),
    Column("minion_retention_strategy", WORD, nullable=False, comment="delete or poweroff"),
    Column("status", WORD, nullable=False, comment="domain.minions.PoolStatus"),
    Column("trust_id", ID, comment="trust.id under which what it does by itself acts, or NULL"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When it was last changed"),
    Index("ix_minion_pool_trust", "trust_id"),
    Index("ix_minion_pool_list", "project_id", "created_at", "id"),
    Index("ix_minion_pool_endpoint", "endpoint_id"),
    Index("ix_minion_pool_status", "status"),
    comment="Sets of temporary machines beside the disks",
    **INNODB,
)

minion_machine = Table(
    "minion_machine",
    metadata,
    Column("id", ID, primary_key=True, comment="Public identifier"),
    Column("pool_id", ID, ForeignKey("minion_pool.id"), nullable=False, comment="Its pool"),
    Column("position", Integer(), nullable=False, comment="Its place in the pool, from 0"),
    Column("status", WORD, nullable=False, comment="domain.minions.MachineStatus"),
    Column("powered_on", Boolean(), nullable=False, comment="As far as we know"),
    Column("action_id", ID, comment="The job that uses it, or shall use it"),
    Column("execution_id", ID, comment="... and the execution"),
    Column("made", Json(), comment="providers.api.Minion, once it was ready"),
    Column("last_used_at", Moment, comment="When it was last given back"),
    Column("created_at", Moment, nullable=False, comment="When it was asked for"),
    Column("updated_at", Moment, comment="When it was last changed"),
    UniqueConstraint("pool_id", "position"),
    Index("ix_minion_machine_execution", "execution_id"),
    comment="Machines of minion pools",
    **INNODB,
)
