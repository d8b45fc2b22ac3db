# SPDX-License-Identifier: Apache-2.0
"""A worker with its fake conductor in a process of its own, to be killed: ``python -m ... STATE KEYS MADE INSTANCE``.

Prints ``running FORKSERVER-PID`` once the attempt's provider code runs.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import Endpoint
from coriolis.runtime.secrets import Vault, load_keys
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import Bench, FakeConductor


def main(state: str, keys: str, made: str, instance: str) -> None:
    bus = LocalBus()
    conductor = FakeConductor(bus, lease_seconds=6.0).serve()
    settings = WorkerSettings(host="lonely", state_path=Path(state), providers=("trial",))
    service = WorkerService(settings, bus, VaultSettings(key_file=keys))
    service.start()
    conductor.wait(lambda: conductor.syncs, 60)
    sealed = Vault(load_keys(Path(keys))).seal({"password": "secret-secret", "made": made})
    bench = Bench(bus, conductor, service)
    bench.endpoint = Endpoint(type="trial", sealed=sealed)
    conductor.said(bench.assign(instance))
    server = service._warm.current()
    assert server is not None
    print("running", server.pid, flush=True)
    threading.Event().wait(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
