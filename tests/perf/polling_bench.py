# SPDX-License-Identifier: Apache-2.0
"""Consoles that poll: 200 clients at once ask for the details of 2,000 running executions over MariaDB for a minute.

The service is one ``coriolis-api`` process, the clients are `wrk`'s connections. The peer reads the same rows with bare
SQL from as many threads as the service has.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from coriolis.commands import endpoints, executions, transfers
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.transfers import NewTransfer
from coriolis.conductor import advance, ingest
from coriolis.providers import registry
from coriolis.rpc.messages import Register
from coriolis.runtime import local_token
from coriolis.store import events, schema
from coriolis.store.engine import Database
from coriolis.store.events import NewEvent
from tests.integration.database_servers import MariaDb

CLIENTS, EXECUTIONS, SECONDS = 200, 2_000, 60
THREADS = 32
EVENTS = 10
CALLER = Caller(user_id="bench", project_id=local_token.PROJECT_ID)

_WRK = """\
local paths = {}
function init(args)
  math.randomseed(os.time())
  for line in io.lines(args[1]) do
    if wrk.headers["X-Auth-Token"] == nil then wrk.headers["X-Auth-Token"] = line else paths[#paths + 1] = line end
  end
end
function request() return wrk.format("GET", paths[math.random(#paths)]) end
function done(summary, latency, requests)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
_SQL = (
    "SELECT * FROM action WHERE id = %s",
    "SELECT * FROM execution WHERE id = %s",
    "SELECT * FROM task WHERE execution_id = %s ORDER BY `index`",
    "SELECT * FROM event WHERE execution_id = %s ORDER BY id",
    "SELECT progress.* FROM progress JOIN task ON task.id = progress.task_id WHERE task.execution_id = %s",
)


@dataclass(frozen=True)
class Polled:
    transfer_id: str
    execution_id: str

    @property
    def path(self) -> str:
        return f"/v1/{local_token.PROJECT_ID}/transfers/{self.transfer_id}/executions/{self.execution_id}"


def run(*, quick: bool = False) -> list[dict[str, Any]]:
    clients, count, seconds = (20, 100, 3) if quick else (CLIENTS, EXECUTIONS, SECONDS)
    with tempfile.TemporaryDirectory(prefix="cor-bench-") as folder:
        server = MariaDb(Path(folder) / "maria")
        server.start()
        try:
            url = server.url("polling")
            polled = _fill(url, count)
            with _service(Path(folder), url) as (port, token):
                seen = _poll(Path(folder), port, token, polled, clients, seconds)
            per_second = _read(server.socket, polled, min(seconds, 20))
        finally:
            server.stop()
    rate = seen["requests"] / (seen["microseconds"] / 1e6)
    name = f"{clients} clients polling {count:,} running executions for {seconds} s"
    plain = {"peer": None, "ratio": None, "bar": None, "holds": None}
    return [
        {**plain, "name": f"{name}: median", "ours": round(seen["p50"] / 1000, 1), "unit": "ms"},
        {**plain, "name": f"{name}: 99th percentile", "ours": round(seen["p99"] / 1000, 1), "unit": "ms"},
        {
            **plain,
            "name": f"{name}: failed requests",
            "ours": seen["failed"],
            "unit": "requests",
            "bar": 0,
            "holds": seen["failed"] == 0,
        },
        {
            **plain,
            "name": f"{name}: rate, against bare SQL for the same rows",
            "ours": round(rate, 1),
            "peer": round(per_second, 1),
            "unit": "requests/s",
            "ratio": round(rate / per_second, 3),
        },
    ]


def _fill(url: str, count: int) -> list[Polled]:
    """Running executions of transfers between two null platforms, compiled, with some history."""
    db = Database(url)
    schema.upgrade(db)
    capabilities = sorted(str(one) for one in registry.load("null").capabilities)
    ingest.register(
        db,
        Register(host="bench", pid=1, providers={"null": capabilities}, slots=1),
        lease_seconds=1e6,
        sync_seconds=5.0,
    )
    ends = [endpoints.create(db, CALLER, NewEndpoint(name=name, type="null", sealed=name)).id for name in ("a", "b")]
    polled = []
    for number in range(count):
        spec = NewTransfer(origin=ends[0], destination=ends[1], instances=(f"null-{number:07}",))
        transfer = transfers.create(db, CALLER, spec)
        polled.append(Polled(transfer.id, executions.create(db, CALLER, transfer.id).id))
    while advance.compile_pending(db, limit=100):
        pass
    lines = [
        NewEvent(execution_id=one.execution_id, level="INFO", message=f"Event {n} of a long story.")
        for one in polled
        for n in range(EVENTS)
    ]
    for start in range(0, len(lines), 1000):
        db.write(events.append, lines[start : start + 1000], db.utcnow())
    db.dispose()
    return polled


@contextmanager
def _service(folder: Path, url: str) -> Iterator[tuple[int, str]]:
    """A ``coriolis-api`` process: its port and token."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config, token = folder / "coriolis.conf", folder / "token"
    config.write_text(
        f"[DEFAULT]\ntransport_url = rabbit://nobody:nothing@127.0.0.1:1/\n[database]\nconnection = {url}\n"
        f"[api]\nauth_strategy = local_token\nlocal_token_file = {token}\nlisten_port = {port}\nthreads = {THREADS}\n"
        f"[secrets]\nkey_file = {folder}/secrets.key\n"
    )
    programs = Path(sys.executable).parent
    subprocess.run([programs / "coriolis-manage", "--config-file", config, "secrets", "create-key"],
                   check=True, capture_output=True)  # fmt: skip
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen([programs / "coriolis-api", "--config-file", config], stdout=log, stderr=log)
    try:
        _await(port, process, folder / "api.log")
        yield port, local_token.load(token)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"coriolis-api did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def _poll(folder: Path, port: int, token: str, polled: list[Polled], clients: int, seconds: int) -> dict[str, int]:
    script, paths = folder / "poll.lua", folder / "paths"
    script.write_text(_WRK)
    paths.touch(mode=0o600)
    paths.write_text("\n".join([token, *(one.path for one in polled)]) + "\n")
    done = subprocess.run(
        ["wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s", "--timeout", "60s",
         "--script", script, f"http://127.0.0.1:{port}", "--", paths], check=True, capture_output=True, text=True,
    )  # fmt: skip
    seen: dict[str, int] = json.loads(done.stderr)
    return seen


def _read(server: Path, polled: list[Polled], seconds: float) -> float:
    """Executions read per second by bare SQL."""
    counts = [0] * THREADS
    end = time.monotonic() + seconds

    def read(place: int) -> None:
        choose = secrets.SystemRandom()
        with closing(pymysql.connect(unix_socket=str(server), user="root", database="polling")) as conn:
            while time.monotonic() < end:
                one = choose.choice(polled)
                with conn.cursor() as cursor:
                    for statement in _SQL:
                        cursor.execute(statement, (one.transfer_id if "action" in statement else one.execution_id,))
                        cursor.fetchall()
                counts[place] += 1

    threads = [threading.Thread(target=read, args=(place,)) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


if __name__ == "__main__":
    print(json.dumps(run(quick="--quick" in sys.argv), indent=2))
