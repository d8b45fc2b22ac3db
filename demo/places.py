# SPDX-License-Identifier: Apache-2.0
"""Where the demo keeps things, and which processes it started. Standard library only: clean-up needs no set-up.

``demo/build`` holds what may be used again (kernel package, guest, OVA), ``demo/state`` what belongs to one run, with a
link ``run`` to a folder of a short name in the temporary directory: the path of a unix socket has 107 bytes at most.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HOME = Path(__file__).resolve().parent
BUILD = HOME / "build"
STATE = HOME / "state"
REPORT = HOME / "report.json"
RUN_LINK = STATE / "run"
PREFIX = "cor-demo-"
STANDALONE_LOG = STATE / "standalone.log"
STANDALONE_STATE = STATE / "coriolis"
POOL = STATE / "pool"
# Seconds that the services have to stop by themselves before they are killed.
PATIENCE = 20.0


def make_state() -> Path:
    """Fresh folders of one run; give the one with the short name."""
    for folder in (STATE, STANDALONE_STATE, POOL, BUILD):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    short = Path(tempfile.mkdtemp(prefix=PREFIX))
    RUN_LINK.symlink_to(short)
    return short


def claim() -> bool:
    """Hold the demo's folder until this process ends; false when another run of the demo holds it."""
    try:
        fcntl.flock(os.open(HOME, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def start(name: str, command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, and note it so that `stop_all` finds it."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    note(name, process.pid)
    return process


def note(name: str, pid: int) -> None:
    """Remember a process by its id and start time, which no later process with that id can share."""
    (STATE / f"{name}.pid").write_text(f"{pid} {_started(pid)}\n")


def stop_all() -> None:
    """Stop what this or an earlier run of the demo left, and remove its state. Nothing is an error."""
    for name, first in (("standalone", signal.SIGTERM), ("libvirt", signal.SIGKILL)):
        _stop(STATE / f"{name}.pid", first)
    with contextlib.suppress(OSError):
        short = Path(os.readlink(RUN_LINK))
        if short.name.startswith(PREFIX) and short.stat().st_uid == os.geteuid():
            shutil.rmtree(short, ignore_errors=True)
    shutil.rmtree(STATE, ignore_errors=True)


def running(name: str) -> bool:
    return _pid(STATE / f"{name}.pid") is not None


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since the boot (field 22 of /proc/PID/stat); None when it is over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _pid(record: Path) -> int | None:
    try:
        pid, started = record.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _started(int(pid)) == started else None


def _stop(record: Path, first: signal.Signals) -> None:
    pid = _pid(record)
    if pid is None:
        return
    for number in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if wait_until(lambda: _pid(record) is None, PATIENCE):
            break
    # Members of the group may outlive its leader.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Look every tenth of a second until `holds()` or the time is over; give the last answer."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
