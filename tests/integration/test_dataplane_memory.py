# SPDX-License-Identifier: Apache-2.0
"""A copying process takes little memory, however large its disk and however far away its source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.dataplane_disks import MIB, MISSING
from tests.perf.contest import GIB, Disk, check_some, make_disk, nbd_server, new_disk
from tests.perf.flow_bench import delayed_server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

LEAST_DATA = 192 * MIB  # more than may be in memory
MOST = 150 * MIB

# A process of its own: what a fork has from its parent would count as well.
COPY = """
import dataclasses, json, sys
from pathlib import Path
from coriolis.dataplane import NbdSink, NbdSource, copy_disk
source, sink, journal = sys.argv[1:]
done = copy_disk(NbdSource(uri=source), NbdSink(uri=sink, zeroed=True), journal=Path(journal), epoch=1)
(peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(json.dumps({**dataclasses.asdict(done), "peak": int(peak.split()[1]) << 10}))
"""


@pytest.mark.parametrize("size", [GIB, 2048 * GIB], ids=["1 GiB", "2 TiB"])
@pytest.mark.parametrize("distant", [False, True], ids=["near", "distant"])
def test_peak_memory(tmp_path: Path, size: int, distant: bool) -> None:
    image = make_disk(tmp_path / "disk", Disk("", size, LEAST_DATA))
    target = new_disk(tmp_path / "target", size)
    serve = delayed_server(image, delay_ms=5) if distant else nbd_server(image)
    with serve as (source, _), nbd_server(target, writable=True) as (sink, _):
        command = [sys.executable, "-c", COPY, source, sink, str(tmp_path / "journal")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        result: dict[str, Any] = json.loads(done.stdout)
    check_some(image, target)
    assert result["size"] == size
    assert LEAST_DATA <= result["bytes_read"] < LEAST_DATA + 64 * MIB
    assert result["peak"] <= MOST
    assert (tmp_path / "journal").stat().st_size < MIB
