# SPDX-License-Identifier: Apache-2.0
"""Arguments that are JSON: given in place, in a file, or on standard input."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


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
    path = Path(text.removeprefix("@"))
    try:
        return str(path), path.read_text()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error.strerror}") from None


def pair(text: str) -> tuple[str, str]:
    """For argparse: ``SOURCE=DESTINATION``."""
    left, separator, right = text.partition("=")
    if not separator or not left or not right:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form SOURCE=DESTINATION")
    return left, right
