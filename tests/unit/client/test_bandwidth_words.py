# SPDX-License-Identifier: Apache-2.0
"""Rates and windows, as people write them."""

from __future__ import annotations

import argparse

import pytest

from coriolis.client.cli.bandwidth_budget import rate, window


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1500", 1500),
        ("50M", 50_000_000),
        ("50MB/s", 50_000_000),
        ("64MiB", 64 << 20),
        ("1.5g", 1_500_000_000),
    ],
)
def test_rates(text: str, value: int) -> None:
    assert rate(text) == value


@pytest.mark.parametrize("text", ["", "fast", "-1", "5 bits", "5T"])
def test_no_rates(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rate(text)


def test_windows() -> None:
    assert window("22:00-06:00=unlimited") == {"start": "22:00", "end": "06:00", "bytes_per_second": None}
    made = window("mon-fri,sun,08:00-18:00=10MB")
    assert made["days"] == ["mon", "tue", "wed", "thu", "fri", "sun"]
    assert made["bytes_per_second"] == 10_000_000
    assert window("sat-mon,00:00-24:00=1k")["days"] == ["sat", "sun", "mon"]


@pytest.mark.parametrize("text", ["08:00=1", "08:00-18:00", "someday,08:00-18:00=1", "mon,08:00-18:00=much"])
def test_no_windows(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        window(text)
