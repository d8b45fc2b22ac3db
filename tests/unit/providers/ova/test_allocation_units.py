# SPDX-License-Identifier: Apache-2.0
"""Units of bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.providers.api import Invalid
from coriolis.providers.ova.allocation_units import unit_bytes


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", 1),
        ("byte", 1),
        ("byte * 2^20", 1 << 20),
        ("byte*2^30", 1 << 30),
        ("byte * 10^9", 10**9),
        ("byte * 1024", 1024),
        ("byte * 2^10 * 2^10", 1 << 20),
        ("  Byte  *  2 ^ 20 ", 1 << 20),
        ("MegaBytes", 1 << 20),
        ("GigaBytes", 1 << 30),
        ("GB", 1 << 30),
        ("KiB", 1 << 10),
        ("TeraBytes", 1 << 40),
    ],
)
def test_what_exporters_write(words: str, expected: int) -> None:
    assert unit_bytes(words) == expected


@pytest.mark.parametrize("words", ["hertz * 10^6", "byte * 2^-1", "byte * 2^999", "byte * 0", "byte ** 2", "lots"])
def test_what_is_no_unit(words: str) -> None:
    with pytest.raises(Invalid):
        unit_bytes(words)


@given(st.integers(min_value=0, max_value=60), st.sampled_from(["byte * 2^{}", "byte*2 ^{}", "BYTE * 2^{}"]))
def test_every_power_of_two(exponent: int, form: str) -> None:
    assert unit_bytes(form.format(exponent)) == 1 << exponent


@given(st.text(max_size=40))
def test_any_text_is_a_unit_or_refused(words: str) -> None:
    with contextlib.suppress(Invalid):
        assert unit_bytes(words) > 0
