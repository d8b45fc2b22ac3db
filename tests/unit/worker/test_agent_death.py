# SPDX-License-Identifier: Apache-2.0
"""The agent itself is killed. Its whole tree must follow, with daemons that left the tree."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coriolis.domain.errors import Conflict
from coriolis.rpc.local_bus import LocalBus
from coriolis.worker import forks, proctree
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import until

Start = Callable[[str], tuple[subprocess.Popen[str], int]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def start(plugin_path: None, tmp_path: Path, state: Path, vault: VaultSettings, made: Path) -> Iterator[Start]:
    """A worker in its own process, with an attempt that runs: (the process, its fork server's pid)."""
    agents: list[subprocess.Popen[str]] = []

    def run(instance: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-W", "ignore", "-m", "tests.unit.worker.lonely_agent"]
        agent = subprocess.Popen(
            [*command, str(state), vault.key_file, str(made), instance],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{Path(__file__).parents[3]}"},
        )
        agents.append(agent)
        assert agent.stdout is not None
        word, _, pid = agent.stdout.readline().partition(" ")
        assert word == "running"
        return agent, int(pid)

    yield run
    for agent in agents:
        agent.kill()
        agent.wait()


def left(state: Path) -> list[int]:
    """All processes that carry the mark of this state directory."""
    mark = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]
    return proctree.marked(forks.MARK, mark)


@pytest.mark.parametrize("instance", ["polite", "hang", "daemon"])
def test_a_killed_agent_leaves_nothing(start: Start, state: Path, instance: str) -> None:
    agent, _ = start(instance)
    assert len(left(state)) >= 3
    agent.kill()
    assert until(lambda: left(state) == [])


def test_agent_and_fork_server_killed_at_once(start: Start, state: Path) -> None:
    agent, server = start("daemon")
    os.kill(server, signal.SIGSTOP)  # so that it cannot act between the two
    agent.kill()
    os.kill(server, signal.SIGKILL)
    assert until(lambda: left(state) == [])


def test_what_even_the_keeper_could_not_end_goes_at_the_next_start(
    start: Start, state: Path, vault: VaultSettings, plugin_path: None
) -> None:
    agent, server = start("daemon")
    keeper = proctree.children(server)
    for pid in (server, *keeper):
        os.kill(pid, signal.SIGSTOP)
    for pid in (agent.pid, server, *keeper):
        os.kill(pid, signal.SIGKILL)
    agent.wait()  # its lock on the state directory goes with it
    assert until(lambda: all(proctree.is_gone(pid) for pid in keeper))
    assert left(state), "the daemon was to survive this"
    bus = LocalBus()
    settings = WorkerSettings(host="lonely", state_path=state, providers=("trial",))
    service = WorkerService(settings, bus, vault)
    orphans = left(state)
    service.start()
    try:
        assert all(proctree.is_gone(pid) for pid in orphans)
    finally:
        service.stop(drain=False)
    assert left(state) == []


def test_a_frozen_agent_is_outlived_by_its_lease_only(start: Start, state: Path) -> None:
    """The fork server watches the lease, so a stopped agent cannot keep writing through its children."""
    agent, server = start("daemon")
    os.kill(agent.pid, signal.SIGSTOP)
    assert until(lambda: proctree.descendants(server) == [], 40)
    os.kill(agent.pid, signal.SIGCONT)


def test_two_workers_cannot_share_a_state_directory(start: Start, state: Path, vault: VaultSettings) -> None:
    start("polite")
    service = WorkerService(WorkerSettings(host="other", state_path=state, providers=("trial",)), LocalBus(), vault)
    with pytest.raises(Conflict):
        service.start()
