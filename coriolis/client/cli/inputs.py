# SPDX-License-Identifier: Apache-2.0
"""Arguments with a form of their own: JSON in place, in a file, or on standard input; pairs; scripts; days."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PHASES = ("osmorphing_pre_os_mount", "osmorphing_post_os_mount", "replica_first_boot")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def json_object(text: str) -> dict[str, Any]:
    """For argparse: a JSON object, ``@FILE`` or a file's name, or ``-`` for standard input."""
    source, content = _read(text)
    try:
        value = json.loads(content)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{source} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{source} is not a JSON object: write {{...}}")
    return value


def _read(text: str) -> tuple[str, str]:
    if text == "-":
        return "standard input", sys.stdin.read()
    if text.lstrip().startswith("{"):
        return "the argument", text
    return text, file_text(text.removeprefix("@"))


def file_text(name: str) -> str:
    """For argparse: what is in a file."""
    try:
        return Path(name).read_text()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError(f"{name} is not text in UTF-8") from None


def pair(text: str) -> tuple[str, str]:
    """For argparse: ``SOURCE=DESTINATION``."""
    left, separator, right = text.partition("=")
    if not separator or not left or not right:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form SOURCE=DESTINATION")
    return left, right


def script(text: str) -> tuple[str, dict[str, str] | None]:
    """For argparse: ``NAME[:PHASE]=FILE``. :returns: the name and the script, ``None`` where it is to be removed"""
    left, separator, file = text.rpartition("=")
    if not separator or not left:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME[:PHASE]=FILE")
    name, colon, phase = left.rpartition(":")
    if not colon or phase not in PHASES:
        name, phase = left, ""
    if not file:
        return name, None
    return name, {"payload": file_text(file), **({"phase": phase} if phase else {})}


def scripts(given: Iterable[tuple[str, dict[str, str] | None]]) -> dict[str, list[dict[str, str]] | None]:
    """By name, in the order of the arguments."""
    collected: dict[str, list[dict[str, str]] | None] = {}
    for name, one in given:
        if one is None:
            collected[name] = None
        else:
            collected[name] = [*(collected.get(name) or ()), one]
    return collected


def day(text: str) -> int:
    """For argparse: a day of the week, ``mon`` to ``sun`` or 0 (Monday) to 6."""
    if text.isdecimal() and int(text) < len(DAYS):
        return int(text)
    try:
        return DAYS.index(text.lower()[:3])
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no day: write mon to sun, or 0 (Monday) to 6") from None


def moment(text: str) -> str:
    """For argparse: a time in ISO 8601, UTC unless it says otherwise. :returns: RFC 3339 with ``Z``"""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: write 2026-12-31T23:00:00Z") from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
