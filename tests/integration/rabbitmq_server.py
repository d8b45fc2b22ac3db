# SPDX-License-Identifier: Apache-2.0
"""A private RabbitMQ: its own epmd, loopback only, everything in one directory, killed with the test.

Neither systemd nor a ``rabbitmq`` user is needed. Data survive ``kill`` and ``start``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START_SECONDS = 90.0


def available() -> bool:
    return PROGRAM.exists() and shutil.which("epmd") is not None


class RabbitServer:
    """``url`` is valid for as long as the directory is, also while the broker is down."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "rabbit"
        self._home.mkdir(parents=True, exist_ok=True)
        self._port, self._epmd_port, self._dist_port = _free_ports(3)
        self._password = secrets.token_hex(8)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._broker: subprocess.Popen[bytes] | None = None
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            "loopback_users = none\n"
            f"default_user = coriolis\ndefault_pass = {self._password}\n"
            "log.console = true\nlog.file = false\n"
            "vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 100MB\n"
        )

    @property
    def url(self) -> str:
        return f"rabbit://coriolis:{self._password}@127.0.0.1:{self._port}/"

    @property
    def pid(self) -> int:
        """Of the process group that ``kill`` kills."""
        assert self._broker is not None
        return self._broker.pid

    def start(self) -> None:
        """Until it accepts connections."""
        environment = self._environment()
        if self._epmd is None:
            command = ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)]
            self._epmd = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
            _wait_for_port(self._epmd_port, 10)
        with open(self._home / "console.log", "ab") as log:
            self._broker = subprocess.Popen(
                [str(PROGRAM)],
                env=environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_for_port(self._port, _START_SECONDS)

    def kill(self) -> None:
        """As a crash: no time for last words."""
        assert self._broker is not None
        os.killpg(self._broker.pid, signal.SIGKILL)
        self._broker.wait()
        self._broker = None

    def stop(self) -> None:
        if self._broker is not None:
            self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def log(self) -> str:
        return (self._home / "console.log").read_text(errors="replace")

    def queues(self) -> list[str]:
        """Names of all queues."""
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "list_queues", "name", "--no-table-headers"],
            env=self._environment(),
            cwd=self._home,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(self._home / "data"),
            "RABBITMQ_LOG_BASE": str(self._home),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
            "+sbwt none +sbwtdcpu none +sbwtdio none",
        }


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _wait_for_port(port: int, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > limit:
                raise TimeoutError(f"nothing listens on port {port}") from None
            time.sleep(0.1)
