# SPDX-License-Identifier: Apache-2.0
"""The oslo.messaging bus over its in-memory transport, and with a broker that is not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from oslo_config import cfg

from coriolis.domain.errors import InvalidState
from coriolis.rpc.messages import CONDUCTOR, Register, Registered, Sync, SyncReply
from coriolis.rpc.oslo_bus import OsloBus, set_defaults
from coriolis.rpc.wire import RemoteBug


@pytest.fixture
def connect() -> Iterator[Callable[[str], OsloBus]]:
    buses: list[OsloBus] = []

    def make(url: str) -> OsloBus:
        conf = cfg.ConfigOpts()
        conf([])
        buses.append(OsloBus(conf, url))
        return buses[-1]

    yield make
    for bus in buses:
        bus.close()


def test_calls_and_errors_cross(connect: Callable[[str], OsloBus]) -> None:
    def register(request: Register) -> Registered:
        if request.host == "bad":
            raise InvalidState("not now", field="host")
        if request.host == "bug":
            raise KeyError("hunter2")
        return Registered(session_id=request.host, lease_seconds=30.0, sync_seconds=5.0)

    bus = connect("fake://")
    bus.serve(CONDUCTOR, "a", {"register": register, "sync": lambda request: SyncReply(accepted=False)})
    assert bus.call(CONDUCTOR, Register(host="h", pid=1), timeout=10).session_id == "h"
    assert bus.call(CONDUCTOR, Sync(session_id="s"), timeout=10) == SyncReply(accepted=False)
    with pytest.raises(InvalidState, match="not now") as caught:
        bus.call(CONDUCTOR, Register(host="bad", pid=1), timeout=10)
    assert caught.value.field == "host"
    with pytest.raises(RemoteBug) as bug:
        bus.call(CONDUCTOR, Register(host="bug", pid=1), timeout=10)
    assert "hunter2" not in bug.value.message


_LONELY = """
import os
import time
from oslo_config import cfg
from coriolis.rpc.bus import NoAnswer
from coriolis.rpc.messages import CONDUCTOR, SCHEDULER, Sync, Wake
from coriolis.rpc import oslo_bus

oslo_bus._STOP_SECONDS = 0.2
conf = cfg.ConfigOpts()
conf([])
bus = oslo_bus.OsloBus(conf, "rabbit://guest:guest@127.0.0.1:1/")
start = time.monotonic()
bus.cast(SCHEDULER, Wake(what="dispatch"))
print(time.monotonic() - start)
try:
    bus.call(CONDUCTOR, Sync(session_id="s"), timeout=0.5)
except NoAnswer:
    print(time.monotonic() - start)
start = time.monotonic()
bus.close()
print(time.monotonic() - start, flush=True)
os._exit(0)
"""


def test_without_a_broker_a_call_ends_in_time_and_a_cast_at_once() -> None:
    """In a process of its own: threads of oslo.messaging look for the broker for ever."""
    done = subprocess.run([sys.executable, "-c", _LONELY], capture_output=True, text=True, check=True)
    cast, call, close = map(float, done.stdout.split())
    assert cast < 0.5
    assert call < 3
    assert close < 3


def test_queues_of_dead_sessions_vanish_unless_the_operator_wants_quorum() -> None:
    conf = cfg.ConfigOpts()
    conf([])
    set_defaults(conf)
    assert conf.oslo_messaging_rabbit.amqp_auto_delete
    quorum = cfg.ConfigOpts()
    quorum([])
    set_defaults(quorum)
    quorum.set_override("rabbit_quorum_queue", True, group="oslo_messaging_rabbit")
    set_defaults(quorum)
    assert not quorum.oslo_messaging_rabbit.amqp_auto_delete


@pytest.mark.parametrize("module", ["coriolis.rpc.oslo_bus", "coriolis.worker.agent", "coriolis.worker.forkserver"])
def test_no_eventlet(module: str) -> None:
    code = f"import sys, {module}; print([n for n in sys.modules if n.split('.')[0] in ('eventlet', 'greenlet')])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['eventlet']"  # the block itself


def test_the_block_holds() -> None:
    code = "import coriolis.rpc\ntry:\n import eventlet\nexcept ImportError:\n print('blocked')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "blocked"
