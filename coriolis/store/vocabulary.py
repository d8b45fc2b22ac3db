# SPDX-License-Identifier: Apache-2.0
"""What every table is made with: the metadata, the types of identifiers and names, the engine of MariaDB."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, MetaData

from coriolis.store.types import key_type

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID = key_type(36)
WORD = key_type(64)
# SQLite numbers rows by itself only in a column that is exactly INTEGER.
NUMBER = BigInteger().with_variant(Integer(), "sqlite")
INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}
