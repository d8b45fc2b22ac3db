# SPDX-License-Identifier: Apache-2.0
"""Start of an attempt: milliseconds from the assignment on the bus to the first line of provider code.

The provider has openstacksdk with its service proxies among its imports. The peer is a fresh interpreter that imports
the same, as a worker without a warm fork server would start for each attempt; both are measured in turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import WORKER, Assign, Attempt, Endpoint
from coriolis.runtime.secrets import Vault, create_keys
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import FakeConductor
from tests.unit.worker.plugin.coriolis_trial import HEAVY

BAR_MS = 100.0
PLUGIN = Path(__file__).parent.parent / "unit" / "worker" / "plugin"
_FRESH = (
    "import importlib, time, coriolis.worker.host, coriolis_trial\n"
    "for name in coriolis_trial.HEAVY: importlib.import_module(name)\n"
    "print(time.monotonic())"
)


def run(*, quick: bool = False) -> list[dict[str, Any]]:
    rounds = 5 if quick else 25
    ours, fresh = _measure(rounds)
    row = {
        "name": f"attempt start, {len(HEAVY)} openstacksdk modules imported (median of {rounds})",
        "ours": round(statistics.median(ours), 1),
        "peer": round(statistics.median(fresh), 1),
        "unit": "ms",
        "ratio": round(statistics.median(ours) / statistics.median(fresh), 3),
        "bar": f"<= {BAR_MS:.0f} ms",
        "holds": statistics.median(ours) <= BAR_MS,
    }
    return [row]


def _measure(rounds: int) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    fresh: list[float] = []
    with tempfile.TemporaryDirectory(prefix="cor-bench-") as folder:
        path = Path(folder)
        keys = create_keys(path / "keys")
        sealed = Vault(keys).seal({"password": "of-the-bench"})
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(PLUGIN)  # the trial provider is installed for the fork server
        bus = LocalBus()
        conductor = FakeConductor(bus).serve()
        settings = WorkerSettings(host="bench", state_path=path / "state", providers=("trial-warm",))
        worker = WorkerService(settings, bus, VaultSettings(key_file=str(path / "keys")))
        worker.start()
        try:
            conductor.wait(lambda: conductor.syncs, 60)
            for number in range(rounds + 1):
                mine = _attempt(bus, conductor, worker, sealed, number)
                if number:  # the first one warms the agent's own code
                    ours.append(mine)
                    fresh.append(_interpreter())
        finally:
            worker.stop(drain=False)
            bus.close()
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
    return ours, fresh


def _attempt(bus: LocalBus, conductor: FakeConductor, worker: WorkerService, sealed: str, number: int) -> float:
    session = worker.session_id
    assert session is not None
    task = f"task-{number}"
    assign = Assign(
        attempt=Attempt(task_id=task, epoch=1, session_id=session),
        execution_id="e",
        project_id="p",
        instance="clock",
        kind="inspect",
        name="inspect",
        source=Endpoint(type="trial-warm", sealed=sealed),
    )
    start = time.monotonic()
    bus.cast(WORKER, assign, server=session)
    conductor.result_of(task)
    return (float(conductor.said(task)) - start) * 1000


def _interpreter() -> float:
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _FRESH], check=True, capture_output=True, text=True)
    return (float(done.stdout) - start) * 1000


if __name__ == "__main__":
    print(run())
