# SPDX-License-Identifier: Apache-2.0
"""The processes of a cloud: started in groups of their own, found again by id *and* start time, ended by group."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from socket import create_connection

# Seconds that a process has to end by itself, and those that it has when it is killed: one whose threads wait for a
# slow disk ends when the disk has answered.
_PATIENCE = 15.0
_PATIENCE_OF_A_KILL = 60.0


class LabError(Exception):
    """Something did not come up, or cannot be installed; the text says what, and where its log is."""


class Processes:
    """Of one cloud. ``run``: where process ids are noted, ``log``: where each one's output goes."""

    def __init__(self, run: Path, log: Path, folder: Path) -> None:
        self._run, self._log, self._folder = run, log, folder

    def pid(self, name: str) -> int | None:
        """The process group of ``name``, while any process of it lives."""
        try:
            pid, started = (int(word) for word in (self._run / f"{name}.pid").read_text().split())
        except (OSError, ValueError):
            return None
        return pid if start_time(pid) == started and any(_group(pid)) else None

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._run.glob("*.pid"))

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Nothing when it runs already."""
        if self.pid(name):
            return
        with (self._log / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment),
                cwd=self._folder,
                start_new_session=True,
            )
        (self._run / f"{name}.pid").write_text(f"{process.pid} {start_time(process.pid)}")

    def stop(self, names: Iterable[str], first: signal.Signals = signal.SIGTERM) -> None:
        """All at once, and by force what is left after some seconds. Those that do not run are no error.

        :raises LabError: one lives on although it was killed
        """
        names = list(names)
        groups = [pid for pid in map(self.pid, names) if pid]
        for number, seconds in {first: _PATIENCE, signal.SIGKILL: _PATIENCE_OF_A_KILL}.items():
            _signal([pid for pid in groups if any(_group(pid))], number)
            gone = wait_until(lambda: not any(any(_group(pid)) for pid in groups), seconds)
            if gone:
                break
        else:
            raise LabError(f"killed, and not gone after {_PATIENCE_OF_A_KILL:.0f} s: {', '.join(names)}")
        for pid in groups:
            try:
                os.waitpid(pid, os.WNOHANG)  # when it is a child of this very process
            except ChildProcessError:
                pass
        for name in names:
            (self._run / f"{name}.pid").unlink(missing_ok=True)

    def pause(self, name: str) -> None:
        """Make it hang: it keeps its connections and answers nobody."""
        if pid := self.pid(name):
            _signal([pid], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        if pid := self.pid(name):
            _signal([pid], signal.SIGCONT)

    def memory(self, name: str) -> int:
        """MiB of its whole group, shared pages counted in part (PSS)."""
        return sum(map(_proportional, _group(self.pid(name) or -1))) // 1024


def start_time(pid: int) -> int | None:
    """Clock ticks since the boot (field 22 of /proc/PID/stat); None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _group(pgid: int) -> Iterator[int]:
    """Those that live. A zombie does while it has other threads: they still hold its files and their locks."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields and int(fields[2]) == pgid and (fields[0] != "Z" or int(fields[17]) > 1):
                yield int(entry)


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _signal(groups: Iterable[int], number: signal.Signals) -> None:
    for pid in groups:
        try:
            os.killpg(pid, number)
            if number != signal.SIGSTOP:
                os.killpg(pid, signal.SIGCONT)  # one that was paused hears nothing else
        except ProcessLookupError:
            pass


def wait_until(holds: Callable[[], bool], seconds: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Look until ``holds()``; false when the time is over or nobody is ``alive``. What is refused is not yet there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except OSError:  # urllib's errors, too
            pass
        if not alive():
            return False
        time.sleep(0.2)
    return False


def listens(port: int) -> bool:
    with create_connection(("127.0.0.1", port), 1):
        return True


def answers(port: int) -> bool:
    """Whether an HTTP service answers with anything but a fault of its own."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    return True
