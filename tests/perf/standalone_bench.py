# SPDX-License-Identifier: Apache-2.0
"""A real ``coriolis-standalone`` with the null provider: tasks per second through forked children, and SQL statements
per task, for 1,000 and 10,000 migrations of four tasks, each asked for over HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coriolis.client import Proxy, connect_standalone
from tests.perf.control_plane_bench import Figures, rows

SIZES, QUICK_SIZES = (1_000, 10_000), (25, 50)
TASKS = 4
LIMIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Running:
    client: Proxy
    metrics: str

    def statements(self) -> float:
        with urllib.request.urlopen(self.metrics) as answer:
            found = re.search(r"^coriolis_sql_statements_total (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found is not None
        return float(found[1])


def run(*, quick: bool = False) -> list[dict[str, Any]]:
    with standalone() as running:
        ends = [
            running.client.create_endpoint(name=name, type="null_definition", connection_info={"instances": 10_000}).id
            for name in ("from", "to")
        ]
        sizes = QUICK_SIZES if quick else SIZES
        return [row for size in sizes for row in rows("standalone with children", measure(running, ends, size))]


def measure(running: Running, ends: list[str], size: int) -> Figures:
    """From the first request until all migrations have completed."""
    before, begun = running.statements(), time.monotonic()

    def create(number: int) -> str:
        spec = {"origin_endpoint_id": ends[0], "destination_endpoint_id": ends[1]}
        made: str = running.client.create_migration(instances=[f"null-{number + 1:07}"], **spec).id
        return made

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(create, range(size)))
    # In the order of a migration's life: none slips through between two questions.
    while left := [
        m.id for s in ("PENDING", "RUNNING") for m in running.client.migrations(paginated=False, status=s, limit=1)
    ]:
        if time.monotonic() > begun + LIMIT_SECONDS:
            raise TimeoutError(f"{left} are not over")
        time.sleep(0.5)
    seconds, spent = time.monotonic() - begun, running.statements() - before
    ended = [m for m in running.client.migrations(limit=1000) if m.id in ids and m.status == "COMPLETED"]
    if len(ended) != size:
        raise RuntimeError(f"only {len(ended)} of {size} migrations completed")
    return Figures(size, size * TASKS, seconds, int(spent))


@contextlib.contextmanager
def standalone(providers: str = "null_definition", log: Path | None = None) -> Iterator[Running]:
    """``log``: a file for its log, with all details."""
    with tempfile.TemporaryDirectory(prefix="cor-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config, state = Path(folder) / "coriolis.conf", Path(folder) / "state"
        config.write_text(
            (f"[DEFAULT]\ndebug = true\nlog_file = {log}\n" if log else "") + f"[metrics]\nlisten_port = {port}\n"
            "[api]\nprovider_call_timeout_seconds = 600\n[engine]\ntasks_per_endpoint = 1000\n"
            f"[worker]\nslots = 16\nproviders = {providers}\n"
        )
        command = [Path(sys.executable).with_name("coriolis-standalone"), "--config-file", config]
        process = subprocess.Popen(
            [*command, "--state-dir", state, "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            end = time.monotonic() + 60
            while not (state / "standalone.json").exists():
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError("coriolis-standalone did not start")
                time.sleep(0.1)
            yield Running(connect_standalone(state), f"http://127.0.0.1:{port}/metrics")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


if __name__ == "__main__":
    print(json.dumps(run(quick="--quick" in sys.argv), indent=2))
