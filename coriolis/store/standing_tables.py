# SPDX-License-Identifier: Apache-2.0
"""Tables of what stands for longer than a run: schedules of transfers, and the trusts that users gave us."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table

from coriolis.store.types import Json, Moment, name_type
from coriolis.store.vocabulary import ID, INNODB, WORD, metadata

schedule = Table(
    "schedule",
    metadata,
    Column("id", ID, primary_key=True, comment="Public identifier"),
    Column("transfer_id", ID, nullable=False, comment="What it executes; the schedule goes with it"),
    Column("project_id", name_type(64), nullable=False, comment="Owner"),
    Column("user_id", name_type(64), nullable=False, comment="Who made it, and in whose name it runs"),
    Column("calendar", Json(), nullable=False, comment="minute, hour, dom, month, dow as far as given; UTC"),
    Column("expiration_date", Moment, comment="It does not fire from then on"),
    Column("enabled", Boolean(), nullable=False, comment="It fires"),
    Column("shutdown_instance", Boolean(), nullable=False, comment="Of the executions that it starts"),
    Column("auto_deploy", Boolean(), nullable=False, comment="Of the executions that it starts"),
    Column("trust_id", ID, comment="trust.id that its executions use, or NULL"),
    Column("next_fire_at", Moment, comment="Minute in which it is to fire next; NULL: never, or not enabled"),
    Column("last_fired_at", Moment, comment="Minute for which it fired last: it never fires for one before"),
    Column("message", String(1024), comment="What came of the last firing"),
    Column("version", Integer(), nullable=False, comment="Raised by each change and each firing"),
    Column("created_at", Moment, nullable=False, comment="When it was made"),
    Column("updated_at", Moment, comment="When a user last changed it"),
    Index("ix_schedule_transfer", "transfer_id", "created_at", "id"),
    Index("ix_schedule_due", "enabled", "next_fire_at"),
    Index("ix_schedule_trust", "trust_id"),
    comment="When transfers are executed by themselves",
    **INNODB,
)

trust = Table(
    "trust",
    metadata,
    Column("id", ID, primary_key=True, comment="Our identifier, written before Keystone has given its own"),
    Column("keystone_id", WORD, comment="Keystone's identifier; NULL: asked for, and perhaps made"),
    Column("project_id", name_type(64), nullable=False, comment="Project that it is for"),
    Column("user_id", name_type(64), nullable=False, comment="Who gave it"),
    Column("expires_at", Moment, comment="When Keystone lets it end, or NULL"),
    Column("created_at", Moment, nullable=False, comment="When it was asked for"),
    Index("ix_trust_age", "created_at"),
    comment="Leave that users gave us to act for them while their work lasts",
    **INNODB,
)
