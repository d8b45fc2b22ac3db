# SPDX-License-Identifier: Apache-2.0
"""Units of OVF quantities: the programmatic form of DSP0004 (``byte * 2^20``) and the words that tools write."""

from __future__ import annotations

import re

from coriolis.providers.api import Invalid

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

# What exporters write where DSP0243 wants a programmatic unit; all of them mean powers of two.
_WORDS: dict[str, int] = {
    "": 1, "byte": 1, "bytes": 1, "b": 1,
    "kilobyte": KIB, "kilobytes": KIB, "kb": KIB, "kib": KIB, "kibibytes": KIB,
    "megabyte": MIB, "megabytes": MIB, "mb": MIB, "mib": MIB, "mebibytes": MIB,
    "gigabyte": GIB, "gigabytes": GIB, "gb": GIB, "gib": GIB, "gibibytes": GIB,
    "terabyte": TIB, "terabytes": TIB, "tb": TIB, "tib": TIB, "tebibytes": TIB,
}  # fmt: skip
_FACTOR = re.compile(r"\*\s*([0-9]{1,19})\s*(?:\^\s*([0-9]{1,3}))?\s*")
_PROGRAMMATIC = re.compile(r"bytes?\s*((?:\*\s*[0-9]{1,19}\s*(?:\^\s*[0-9]{1,3})?\s*)+)")
_LARGEST = 1 << 70


def unit_bytes(words: str) -> int:
    """How many bytes one of ``words`` has.

    :raises Invalid: not a unit of bytes
    """
    text = " ".join(words.lower().split())
    if text in _WORDS:
        return _WORDS[text]
    match = _PROGRAMMATIC.fullmatch(text)
    if match is None:
        raise Invalid(f"{words!r} is not a unit of bytes that OVF knows; use a form like 'byte * 2^20'.")
    total = 1
    for base, exponent in _FACTOR.findall(match[1]):
        total *= int(base) ** int(exponent or 1)
        if not 0 < total <= _LARGEST:
            raise Invalid(f"The unit {words!r} is beyond all measure.")
    return total
