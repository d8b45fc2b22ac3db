# SPDX-License-Identifier: Apache-2.0
"""The lab's bookkeeping of processes, with real ones."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.processes import Processes, wait_until

# Its first thread ends at once, so that it looks like a zombie; its second one keeps a file locked.
WITHOUT_ITS_LEADER = """
import ctypes, fcntl, sys, threading, time
kept = open(sys.argv[1], "w")
fcntl.flock(kept, fcntl.LOCK_EX)
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path, tmp_path, tmp_path)
    yield made
    made.stop(made.names(), signal.SIGKILL)


def start(processes: Processes, *words: str) -> int:
    processes.start("one", [sys.executable, "-c", *words], dict(os.environ))
    pid = processes.pid("one")
    assert pid
    return pid


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_one_whose_other_threads_live_is_not_over(processes: Processes, tmp_path: Path) -> None:
    pid = start(processes, WITHOUT_ITS_LEADER, str(tmp_path / "lock"))
    assert wait_until(lambda: state(pid) == "Z", 10)
    assert processes.pid("one") == pid


def test_a_stopped_one_is_over(processes: Processes) -> None:
    pid = start(processes, "import time; time.sleep(60)")
    processes.stop(["one"])
    assert processes.pid("one") is None
    assert not Path(f"/proc/{pid}").exists()


def test_what_ends_at_no_request_is_killed(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.lab.processes._PATIENCE", 0.2)
    pid = start(
        processes, "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    assert wait_until(lambda: bool((tmp_path / "one.log").read_text()), 10)
    processes.stop(["one"])
    assert not Path(f"/proc/{pid}").exists()
