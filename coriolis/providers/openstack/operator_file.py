# SPDX-License-Identifier: Apache-2.0
"""Files in which the operator tells a worker what it may enter by itself: INI, a section for each such place."""

from __future__ import annotations

import configparser
from collections.abc import Set

from coriolis.providers.api import Invalid


def read_sections(
    path: str | None, kind: str, *, fields: Set[str], needed: Set[str]
) -> tuple[tuple[str, dict[str, str]], ...]:
    """Names and fields of all sections; none without a file. ``kind``: what a section is, in the words of errors.

    :raises Invalid: the file cannot be read, or a section has other than ``fields`` or not all ``needed``; says where
    """
    if not path:
        return ()
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        with open(path) as file:
            parser.read_file(file)
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        raise Invalid(f"the worker's file of {kind}s cannot be read: {error}") from None
    sections = tuple((name, dict(parser[name])) for name in parser.sections())
    for name, told in sections:
        unknown = sorted(set(told) - fields)
        if unknown:
            known = ", ".join(sorted(fields))
            raise Invalid(f"{kind} [{name}]: unknown fields {', '.join(unknown)}; there are {known}")
        missing = [field for field in sorted(needed) if not told.get(field)]
        if missing:
            raise Invalid(f"{kind} [{name}]: give {', '.join(missing)}")
    return sections
