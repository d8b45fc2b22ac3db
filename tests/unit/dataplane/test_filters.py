# SPDX-License-Identifier: Apache-2.0
"""Filters as operators write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coriolis.dataplane.filters import (
    Cut,
    Delay,
    Fault,
    FaultAt,
    FilterFailed,
    Hang,
    Rate,
    Retry,
    Stats,
    filtered,
    parse_filters,
)


def test_filters_as_text() -> None:
    text = "retry; delay:read_ms=5,write_ms=2; rate:bytes_per_second=1000000;fault:command=pread,share=0.5"
    assert parse_filters(text) == (
        Retry(),
        Delay(read_ms=5, write_ms=2),
        Rate(bytes_per_second=1_000_000),
        Fault(command="pread", share=0.5),
    )
    text = (
        "fault-at:command=pwrite,error=ENOSPC,offset=4096;cut:after_bytes=10,times=1;hang:command=flush;stats:path=/x"
    )
    assert parse_filters(text) == (
        FaultAt(command="pwrite", error="ENOSPC", offset=4096),
        Cut(after_bytes=10, times=1),
        Hang(command="flush"),
        Stats(path=Path("/x")),
    )
    assert parse_filters(" ; ") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slow", "no filter 'slow'; there are rate"),
        ("delay:ms=5", "no setting 'ms'; it has read_ms"),
        ("rate", "needs bytes_per_second"),
        ("rate:bytes_per_second=fast", "is a number"),
        ("fault:command=eat", "one of pread"),
        ("fault:command=pread,error=EWHAT", "one of EIO"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(FilterFailed, match=says):
        parse_filters(text)


def test_a_breaker_needs_a_socket_of_this_host() -> None:
    with pytest.raises(FilterFailed, match="unix socket"), filtered("nbd://elsewhere:10809", Cut()):
        pass
