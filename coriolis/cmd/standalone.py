# SPDX-License-Identifier: Apache-2.0
"""``coriolis-standalone``: API, conductor, scheduler and one worker in one process, for a laptop or a trial.

Everything is in one state directory: the database (SQLite), the local token, the key of the stored secrets, copy
journals, the log. Listens on loopback only. Killed and started again, it goes on with its migrations.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from oslo_config import cfg
from oslo_log import log

from coriolis import conf as configuration
from coriolis.certificate import signature
from coriolis.client.connect import RUN_FILE, STATE_DIR_VARIABLE, default_state_dir
from coriolis.cmd import assembly
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import launcher, local_token, secrets
from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.worker.agent import WorkerService

PROGRAM = "coriolis-standalone"
DATABASE = "coriolis.sqlite"
LOG = "standalone.log"
DESCRIPTION = (
    "API, conductor, scheduler and one worker in one process, on loopback only, with everything that is kept in one "
    "state directory. Killed and started again, it goes on with its migrations."
)
WORKER_START_SECONDS = 60.0

CLI = (
    cfg.StrOpt(
        "state-dir", help=f"Directory of everything that is kept. Default: ${STATE_DIR_VARIABLE}, or a user's own."
    ),
    cfg.PortOpt("port", default=7667, help="Port on 127.0.0.1; 0 takes a free one."),
)

# What differs from separate services. A short lease, since worker and conductor live and die together.
DEFAULTS = (
    ("lease_seconds", 15.0, "engine"),
    ("sync_seconds", 1.0, "engine"),
    ("poll_seconds", 1.0, "engine"),
    ("auth_strategy", "local_token", "api"),
)


class Running:
    """Tells other programs of this user where to find the service, as soon as its worker takes tasks."""

    def __init__(self, path: Path, facts: dict[str, object], worker: WorkerService) -> None:
        self._path = path
        self._facts = facts
        self._worker = worker

    def start(self) -> None:
        end = time.monotonic() + WORKER_START_SECONDS
        while self._worker.session_id is None and time.monotonic() < end:
            time.sleep(0.05)
        assembly.write_json(self._path, self._facts)
        sys.stdout.write(
            f"Coriolis {assembly.release()} on {self._facts['url']}\n"
            f"State and log in {self._facts['state_dir']}; stop with Ctrl-C.\n"
        )
        sys.stdout.flush()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Makes the state directory, for one standalone at a time. :raises SystemExit: another one has it

    A directory that was there keeps its mode, so that the database and the log are private by themselves.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (DATABASE, LOG):
        (directory / name).touch(mode=0o600)  # SQLite gives its -wal and -shm files the mode of the database
    with open(directory / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(
                f"Another standalone runs with {directory}. Stop it, or choose another directory with --state-dir."
            )
        yield


def main() -> int:
    """Runs until a signal."""
    try:
        conf = configuration.load(sys.argv[1:], program=PROGRAM, files=[], cli=CLI, description=DESCRIPTION)
    except cfg.Error as error:
        sys.exit(f"{PROGRAM}: {error}")
    directory = Path(conf.state_dir) if conf.state_dir else default_state_dir()
    with owned(directory.absolute()):
        return _run(conf, directory.absolute())


def _run(conf: cfg.ConfigOpts, directory: Path) -> int:
    _configure(conf, directory)
    token_file = directory / "token"
    local_token.load_or_create(token_file)
    if not (directory / "secrets.key").exists():
        secrets.create_keys(directory / "secrets.key")
    if not (directory / "certificate.key").exists():
        signature.create_key(directory / "certificate.key")
    db = Database(conf.database.connection)
    schema.upgrade(db)
    bus = LocalBus()
    api = assembly.api(conf, db, bus)
    worker = assembly.worker(conf, bus)
    services: list[launcher.Service] = [
        assembly.exporter(conf),
        assembly.presence(conf, db, PROGRAM),
        assembly.conductor(conf, db, bus),
        assembly.scheduler(conf, db, bus),
        worker,
        api,
    ]
    try:
        api.bind()
    except OSError as error:
        sys.exit(
            f"127.0.0.1:{conf.port} cannot be used ({error.strerror}). Choose another with --port; 0 takes a free one."
        )
    url = f"http://127.0.0.1:{api.port}/v1/{local_token.PROJECT_ID}"
    facts = {"url": url, "token_file": str(token_file), "pid": os.getpid(), "state_dir": str(directory)}
    launcher.run([*services, Running(directory / RUN_FILE, facts, worker)])
    bus.close()
    db.dispose()
    return 0


def _configure(conf: cfg.ConfigOpts, directory: Path) -> None:
    for name, value, group in DEFAULTS:
        conf.set_default(name, value, group=group)
    conf.set_override("state_path", str(directory))
    conf.set_override("connection", f"sqlite:///{directory}/{DATABASE}", group="database")
    conf.set_override("key_file", str(directory / "secrets.key"), group="secrets")
    conf.set_override("certificate_key_file", str(directory / "certificate.key"), group="api")
    conf.set_override("local_token_file", str(directory / "token"), group="api")
    conf.set_override("listen_address", "127.0.0.1", group="api")
    conf.set_override("listen_port", conf.port, group="api")
    conf.set_default("log_file", str(directory / LOG))
    log.setup(conf, PROGRAM)
