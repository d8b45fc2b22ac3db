# SPDX-License-Identifier: Apache-2.0
"""Writing to local files, and how failures are named."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from coriolis.dataplane import NoSpace, SinkError
from coriolis.dataplane.target import FileTarget, sink_error


def test_zero_makes_a_hole_and_only_there(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * (3 << 20))
    target = FileTarget(path, 3 << 20)
    target.zero(1 << 20, 1 << 20)
    target.write(memoryview(b"yy"), (2 << 20) - 1)
    target.flush()
    target.close()
    data = path.read_bytes()
    assert data == b"x" * (1 << 20) + bytes((1 << 20) - 1) + b"yy" + b"x" * ((1 << 20) - 1)


def test_a_small_target_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x")
    with pytest.raises(SinkError, match="has 1 bytes"):
        FileTarget(tmp_path / "disk", 2)


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (errno.ENOSPC, NoSpace, False),
        (errno.EDQUOT, NoSpace, False),
        (errno.EFBIG, NoSpace, False),
        (errno.EIO, SinkError, True),
        (errno.EROFS, SinkError, False),
        (errno.EACCES, SinkError, False),
    ],
)
def test_an_errno_says_whether_trying_again_helps(code: int, kind: type[SinkError], retryable: bool) -> None:
    error = sink_error("volume-1", code, "why")
    assert type(error) is kind
    assert error.retryable is retryable
    assert "volume-1" in str(error)
    assert "why" in str(error)
