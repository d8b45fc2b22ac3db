# SPDX-License-Identifier: Apache-2.0
"""The agent's side of the fork server: starts it, asks it for children, hears of their ends, restarts it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from coriolis.domain.errors import Unavailable
from coriolis.worker import proctree
from coriolis.worker.forkserver import PACKET_BYTES
from coriolis.worker.keepsakes import Keepsakes

_LOG = logging.getLogger(__name__)

MARK = "CORIOLIS_WORKER_TREE"
_START_SECONDS = 120.0
_FORK_SECONDS = 30.0  # a busy machine may take seconds; a stuck server holds up new attempts for so long
_KILL_SECONDS = 5.0
KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    # What the operator lets users of endpoints do: paths they may name, what of the worker's own they may use.
    "CORIOLIS_OVA_ROOTS",
    "CORIOLIS_LIBVIRT_OWN_RIGHTS",
    "CORIOLIS_OPENSTACK_CEPH_CLUSTERS",
    "CORIOLIS_OPENSTACK_ISCSI_PORTALS",
    "CORIOLIS_OPENSTACK_NFS_SHARES",
    "CORIOLIS_OPENSTACK_OWN_SERVERS",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)

OnExit = Callable[[int], None]


class ForkServer:
    """One life of one fork server process. ``mark`` is unique to the agent's state directory."""

    def __init__(self, providers: Sequence[str], mark: str, on_death: Callable[[ForkServer], None]) -> None:
        """Blocks until the providers are imported. :raises Unavailable: it does not come up"""
        self._entry = f"{mark}/{uuid.uuid4()}"
        self._on_death = on_death
        self._lock = threading.Lock()
        self._started: dict[str, threading.Event] = {}
        self._pids: dict[str, int] = {}
        self._exits: dict[str, OnExit] = {}
        self._dead = False
        self.keepsakes = Keepsakes()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        greeting, their_greeting = os.pipe()
        command = [sys.executable, "-P", "-m", "coriolis.worker.forkserver", str(theirs.fileno()), str(their_greeting)]
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [*command, *providers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), their_greeting),
            env={**environment, MARK: self._entry},
            start_new_session=True,
        )
        theirs.close()
        os.close(their_greeting)
        hello = self._hear_greeting(greeting)
        self.providers: dict[str, dict[str, Any]] = hello["providers"]
        self.errors: dict[str, str] = hello["errors"]
        threading.Thread(target=self._listen, name="forkserver", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dead(self) -> bool:
        with self._lock:
            return self._dead

    def fork(self, name: str, descriptors: Sequence[int], *, leased: bool, on_exit: OnExit) -> int:
        """A child called ``name`` (unique) that gets the descriptors; gives the pid at the top of its tree.

        ``on_exit`` gets its exit status, once its whole tree is gone; 137 when the server died.
        :raises Unavailable: the server is dead or stuck
        """
        started = threading.Event()
        with self._lock:
            if self._dead:
                raise Unavailable("The fork server is gone.")
            self._started[name] = started
            self._exits[name] = on_exit
        self._send({"fork": name, "leased": leased}, descriptors)
        if not started.wait(_FORK_SECONDS):
            self.kill()
            raise Unavailable("The fork server does not answer.")
        return self._pids.pop(name)

    def signal(self, name: str, number: int) -> None:
        with contextlib.suppress(Unavailable):
            self._send({"signal": name, "number": int(number)})

    def lease(self, until: float) -> None:
        """Leased children die when ``forkserver.now()`` passes this."""
        with contextlib.suppress(Unavailable):
            self._send({"lease": until})

    def kill(self) -> None:
        """Ends the server and everything below it from here, even when it is stuck."""
        proctree.kill_descendants(self.pid, within_seconds=_KILL_SECONDS)
        proctree.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        proctree.kill_marked(MARK, self._entry, within_seconds=_KILL_SECONDS)

    def stop(self) -> None:
        """Lets go: the server sees its socket end, and ends with all its children."""
        with self._lock:
            self._dead = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _hear_greeting(self, pipe: int) -> dict[str, Any]:
        """What the server says once it is warm; nothing when it died before."""
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.start()
        with os.fdopen(pipe, encoding="utf-8") as file:
            text = file.read()
        timer.cancel()
        if not text:
            self._control.close()
            raise Unavailable(f"The fork server ended with status {self._process.wait()} before it was ready.")
        hello: dict[str, Any] = json.loads(text)
        return hello

    def _send(self, packet: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            # Never waits: a server that is stuck and lets its socket fill up is as good as dead.
            body = json.dumps(packet).encode()
            socket.send_fds(self._control, [body], list(descriptors), socket.MSG_DONTWAIT)
        except OSError as error:
            raise Unavailable("The fork server is gone.") from error

    def _listen(self) -> None:
        while True:
            try:
                data = self._control.recv(PACKET_BYTES)
            except OSError:
                data = b""
            if not data:
                break
            packet = json.loads(data)
            if "forked" in packet:
                self._pids[packet["forked"]] = packet["pid"]
                self._started[packet["forked"]].set()
            else:
                self._exited(packet["exited"], packet["code"])
        self._bury()

    def _exited(self, name: str, code: int) -> None:
        with self._lock:
            self._started.pop(name, None)
            on_exit = self._exits.pop(name, None)
        if on_exit is not None:
            on_exit(code)

    def _bury(self) -> None:
        with self._lock:
            expected, self._dead = self._dead, True
            left = list(self._exits)
        self.kill()
        self._control.close()
        for name in left:
            self._exited(name, 128 + signal.SIGKILL)
        if not expected:
            _LOG.error("the fork server died pid=%d status=%d", self.pid, self._process.returncode)
            self._on_death(self)
