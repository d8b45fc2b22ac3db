# SPDX-License-Identifier: Apache-2.0
"""A whole site of real processes: RabbitMQ, MariaDB, libvirt, and each service of ours as a process of its own.

Any of them can be killed and started again. Everything listens on loopback or unix sockets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from coriolis.client import Proxy, connect_url
from coriolis.runtime import local_token
from tests.integration import libvirt_host
from tests.integration.database_servers import MariaDb
from tests.integration.rabbitmq_server import RabbitServer
from tests.service.interruptions import attempts

SERVICES = ("conductor", "scheduler", "worker", "api")
LEASE_SECONDS = 6
START_SECONDS = 60.0

_CONF = """\
[DEFAULT]
host = chaos
state_path = {state}
transport_url = {transport}
log_file = {state}/coriolis.log
[database]
connection = {database}
[api]
auth_strategy = local_token
local_token_file = {state}/token
listen_port = {port}
[engine]
lease_seconds = {lease}
sync_seconds = 0.5
poll_seconds = 0.5
[worker]
drain_seconds = 2
[secrets]
key_file = {state}/secrets.key
[oslo_messaging_rabbit]
kombu_reconnect_delay = 0.5
rabbit_retry_interval = 1
"""


@dataclass(kw_only=True)
class Site:
    """``directory``: short, for unix sockets are below it."""

    directory: Path
    broker: RabbitServer
    database: MariaDb
    libvirt: libvirt_host.LibvirtHost
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.directory / "coriolis.conf"

    @property
    def client(self) -> Proxy:
        url = f"http://127.0.0.1:{self.port}/v1/{local_token.PROJECT_ID}"
        return connect_url(url, local_token.load(self.directory / "state/token"))

    def run(self, *words: str) -> None:
        """One of our administrator's commands, to its end."""
        program = Path(sys.executable).with_name("coriolis-manage")
        subprocess.run([program, "--config-file", self.config, *words], check=True, capture_output=True)

    def start(self, name: str) -> None:
        """Starts a service, or the broker or the database, on the state that it had."""
        if name == "broker":
            self.broker.start()
        elif name == "database":
            self.database.start()
        else:
            program = Path(sys.executable).with_name(f"coriolis-{name}")
            with (self.directory / f"{name}.out").open("ab") as out:
                self.processes[name] = subprocess.Popen(
                    [program, "--config-file", self.config, "--log-file", self.directory / f"{name}.log"],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                )  # fmt: skip

    def kill(self, name: str) -> bool:
        """``kill -9``. ``child``: one running attempt of the worker. False: there was nothing to kill."""
        if name == "broker":
            self.broker.kill()
        elif name == "database":
            self.database.kill()
        elif name == "child":
            children = self.attempts()
            if not children:
                return False
            os.kill(children[0], signal.SIGKILL)
        else:
            process = self.processes[name]
            process.kill()
            process.wait()
        return True

    def attempts(self) -> list[int]:
        """Process ids of the worker's running attempts: the children of its fork server."""
        return attempts(self.processes["worker"].pid)

    def stop(self) -> None:
        for name in reversed(SERVICES):
            process = self.processes.get(name)
            if process and process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Site]:
    """A site that answers, for as long as the block lasts."""
    state = directory / "state"
    state.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        broker = RabbitServer(directory / "broker")
        database = MariaDb(directory / "database")
        for server in (broker, database):
            stack.callback(server.stop)
            server.start()
        libvirt = stack.enter_context(libvirt_host.running(directory / "libvirt"))
        libvirt.define_pool()
        site = Site(directory=directory, broker=broker, database=database, libvirt=libvirt, port=free_port())
        site.config.write_text(
            _CONF.format(
                state=state,
                transport=broker.url,
                database=database.url("coriolis"),
                port=site.port,
                lease=LEASE_SECONDS,
            )
        )
        site.run("secrets", "create-key")
        site.run("db", "sync")
        stack.callback(site.stop)
        for name in SERVICES:
            site.start(name)
        await_answer(site)
        yield site


def await_answer(site: Site) -> None:
    """Returns when the API answers and a worker has registered. :raises TimeoutError:"""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(Exception):
            if {provider.name for provider in site.client.providers()} >= {"ova", "libvirt"}:
                return
        time.sleep(0.3)
    raise TimeoutError(f"the site does not answer; see the logs in {site.directory}")
