# SPDX-License-Identifier: Apache-2.0
"""Answers about providers."""

from __future__ import annotations

from coriolis.api.schemas.answers import NUMBER, OBJECT, by_name, one, record, several

PROVIDERS = one("providers", by_name(record({"types": several(NUMBER)})))
SCHEMAS = one("schemas", by_name(OBJECT))
