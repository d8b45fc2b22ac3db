# SPDX-License-Identifier: Apache-2.0
"""Private MariaDB and PostgreSQL servers for tests: a directory of their own, a unix socket, no network.

Both can be killed and started again on the data that they had.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

START_SECONDS = 60.0


class _Server:
    """A database server as a child process. ``directory`` must have a short name, for the sake of the socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the server answers. The first start makes the data directory."""
        if not self._data.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._prepare()
        with open(self.directory / "server.log", "ab") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / "server.log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """``kill -9``."""
        self._end(lambda process: process.kill())

    def stop(self) -> None:
        """As a server is stopped, so that nothing has to be recovered."""
        self._end(lambda process: process.terminate())

    def _end(self, end: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            end(self._process)
            self._process.wait(timeout=START_SECONDS)
            self._process = None

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _prepare(self) -> None:
        raise AssertionError("a subclass prepares")

    def _command(self) -> list[str]:
        raise AssertionError("a subclass has a command")

    def _answers(self) -> bool:
        raise AssertionError("a subclass knows")


class MariaDb(_Server):
    """MariaDB, with durable commits."""

    @property
    def socket(self) -> Path:
        return self.directory / "m.sock"

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database, which is made when it is not there."""
        sql = f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4"
        subprocess.run([*self._client, "-e", sql], check=True, capture_output=True)
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self.socket}&charset=utf8mb4"

    @property
    def _client(self) -> list[str]:
        return ["mariadb", "--no-defaults", "-u", "root", "-S", str(self.socket)]

    def _prepare(self) -> None:
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self._data}",
                f"--user={_me()}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
        )

    def _command(self) -> list[str]:
        return [
            _sbin("mariadbd"),
            "--no-defaults",
            f"--datadir={self._data}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory}/m.pid",
            f"--user={_me()}",
            "--skip-networking",
            "--innodb-buffer-pool-size=256M",
            "--innodb-log-file-size=64M",
            "--max-connections=300",
        ]

    def _answers(self) -> bool:
        return subprocess.run([*self._client, "-e", "SELECT 1"], capture_output=True, check=False).returncode == 0


class PostgreSql(_Server):
    """PostgreSQL, which refuses to run as root: then it belongs to the user ``postgres``."""

    def __init__(self, directory: Path | None = None) -> None:
        # A directory of a test is closed to other users, so this makes its own.
        self._own = directory is None
        super().__init__(directory or Path(tempfile.mkdtemp(prefix="cor-pg-")))
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self.directory.mkdir(parents=True, exist_ok=True)
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database, which is made when it is not there."""
        look = f"SELECT 1 FROM pg_database WHERE datname = '{database}'"
        there = subprocess.run(self._psql(look), capture_output=True)
        if there.stdout.strip() != b"1":
            subprocess.run(self._psql(f'CREATE DATABASE "{database}"'), check=True, capture_output=True)
        return f"postgresql+psycopg://postgres@/{database}?host={self.directory}"

    def stop(self) -> None:
        """A fast shutdown; an own directory goes with it."""
        if self._process is not None:
            self._process.send_signal(2)
        super().stop()
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _psql(self, sql: str) -> list[str]:
        return ["psql", "-X", "-A", "-t", "-U", "postgres", "-h", str(self.directory), "-d", "postgres", "-c", sql]

    def _prepare(self) -> None:
        subprocess.run(
            [*self._as, _postgres("initdb"), "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            check=True,
            capture_output=True,
        )

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "max_connections": "300",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [*self._as, _postgres("postgres"), "-D", str(self._data), *words]

    def _answers(self) -> bool:
        return subprocess.run(self._psql("SELECT 1"), capture_output=True, check=False).returncode == 0


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _sbin(program: str) -> str:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or program


def _postgres(program: str) -> str:
    """Debian keeps the server's programs of each version apart."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else program
