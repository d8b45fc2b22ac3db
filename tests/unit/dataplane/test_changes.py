# SPDX-License-Identifier: Apache-2.0
"""Lists of changes as platforms write them."""

from __future__ import annotations

import json

import pytest

from coriolis.dataplane import Extent, Kind, SourceError, rbd_diff
from coriolis.dataplane.types import MIB

OBJECT = 4 * MIB
LISTED = json.dumps(
    [
        {"offset": 0, "length": OBJECT, "exists": "true"},
        {"offset": 3 * OBJECT, "length": OBJECT, "exists": "false"},
    ]
)


def test_a_diff_since_a_snapshot_leaves_the_rest_unchanged() -> None:
    assert rbd_diff(LISTED, 5 * OBJECT, since_snapshot=True) == [
        Extent(0, OBJECT, Kind.DATA),
        Extent(OBJECT, 2 * OBJECT, Kind.UNCHANGED),
        Extent(3 * OBJECT, OBJECT, Kind.ZERO),
        Extent(4 * OBJECT, OBJECT, Kind.UNCHANGED),
    ]


def test_a_diff_of_a_whole_image_leaves_the_rest_zero() -> None:
    assert rbd_diff(LISTED, 5 * OBJECT, since_snapshot=False) == [
        Extent(0, OBJECT, Kind.DATA),
        Extent(OBJECT, 4 * OBJECT, Kind.ZERO),
    ]


def test_a_disk_that_has_grown_is_zero_behind_its_old_end_where_nothing_is_listed() -> None:
    assert rbd_diff(LISTED, 5 * OBJECT, since_snapshot=True, earlier_size=2 * OBJECT) == [
        Extent(0, OBJECT, Kind.DATA),
        Extent(OBJECT, OBJECT, Kind.UNCHANGED),
        Extent(2 * OBJECT, 3 * OBJECT, Kind.ZERO),
    ]
    grown = json.dumps([{"offset": 0, "length": 4 * OBJECT, "exists": "true"}])
    assert rbd_diff(grown, 5 * OBJECT, since_snapshot=True, earlier_size=2 * OBJECT) == [
        Extent(0, 4 * OBJECT, Kind.DATA),
        Extent(4 * OBJECT, OBJECT, Kind.ZERO),
    ]


@pytest.mark.parametrize("text", ["", "{}", '[{"offset": 0}]', '[{"offset": 0, "length": 1, "exists": "perhaps"}]'])
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(SourceError, match="not understood") as caught:
        rbd_diff(text, 10, since_snapshot=True)
    assert not caught.value.retryable
