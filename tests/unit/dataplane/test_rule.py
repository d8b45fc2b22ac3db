# SPDX-License-Identifier: Apache-2.0
"""Which engine moves what."""

from __future__ import annotations

import itertools

import pytest

from coriolis.dataplane.rule import EngineName, choose
from coriolis.dataplane.types import DiskFormat

FORMATS = [None, *DiskFormat]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMATS, FORMATS)))
def test_what_is_not_local_goes_over_nbd(source: DiskFormat | None, target: DiskFormat | None) -> None:
    assert choose(source, target, local=False).engine is EngineName.LIBNBD
    if source is None or target is None:
        assert choose(source, target, local=True, digest=False, resume=False).engine is EngineName.LIBNBD


@pytest.mark.parametrize("source", list(DiskFormat))
def test_formats_that_only_qemu_writes(source: DiskFormat) -> None:
    for target in (DiskFormat.VHD, DiskFormat.VHDX, DiskFormat.VMDK):
        assert choose(source, target, local=True).engine is EngineName.QEMU_IMG
        assert choose(source, target, local=True).flags == ("-W", "-m", "16")
        assert choose(source, target, local=True, compressed=True).flags == ()


@pytest.mark.parametrize("source", list(DiskFormat))
@pytest.mark.parametrize("target", [DiskFormat.RAW, DiskFormat.QCOW2])
def test_our_engine_where_a_digest_or_a_journal_is_wanted(source: DiskFormat, target: DiskFormat) -> None:
    for digest, resume in ((True, True), (True, False), (False, True)):
        assert choose(source, target, local=True, digest=digest, resume=resume).engine is EngineName.LIBNBD


def test_the_kernel_moves_raw_to_raw_when_nobody_looks() -> None:
    choice = choose(DiskFormat.RAW, DiskFormat.RAW, local=True, digest=False, resume=False)
    assert choice.engine is EngineName.KERNEL
    assert choose(DiskFormat.QCOW2, DiskFormat.RAW, local=True, digest=False, resume=False).engine is EngineName.LIBNBD
