# SPDX-License-Identifier: Apache-2.0
"""The warm process from which children are forked: ``python -m coriolis.worker.forkserver``.

It is a fresh interpreter that has imported the providers and their heavy libraries once, and nothing else: no
credentials, no threads, no event loop. Its one conversation partner is the agent, over a socket of packets:

    agent -> server   {"fork": id, "leased": bool} with three descriptors (channel, stdout, stderr)
                      {"signal": id, "number": n}     TERM asks the child, KILL ends its whole tree
                      {"lease": t}                    leased children die when the clock of ``now`` passes t
    server -> agent   {"forked": id, "pid": n}, {"exited": id, "code": n}

The lease is enforced here so that a frozen agent cannot keep its children running. When the agent dies, the socket
ends, and with it everything below this process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn

from coriolis.providers import registry
from coriolis.providers.api import Provider
from coriolis.worker import classify, host, keeper, proctree

DESCRIPTORS = 3
PACKET_BYTES = 4096
_TICK_SECONDS = 1.0
_KILL_SECONDS = 5.0
_STARTS_THREADS = "it starts a thread when it is imported, and cannot be forked safely"


def now() -> float:
    """Seconds that all processes of this machine agree on, and that go on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main(argv: Sequence[str]) -> None:
    """``argv``: descriptor of the socket, descriptor of the pipe for the greeting, names of providers (none: all
    but fakes); a name with ``-`` before it is left out, since it proved unfit."""
    control, greeting = socket.socket(fileno=int(argv[0])), int(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    proctree.be_subreaper()
    unfit = [name[1:] for name in argv[2:] if name.startswith("-")]
    named = [name for name in argv[2:] if not name.startswith("-")]
    wanted = [name for name in named or registry.names() if name not in unfit]
    providers, errors = preload(wanted, fakes=bool(named))
    if threading.active_count() > 1:  # a process with threads cannot be forked safely: begin again without the culprit
        guilty = next(reversed(errors))
        command = [sys.executable, "-P", "-m", "coriolis.worker.forkserver", *argv[:2], *named]
        os.execv(sys.executable, [*command, *(f"-{name}" for name in (*unfit, guilty))])
    errors.update(dict.fromkeys(unfit, _STARTS_THREADS))
    host.warm_up()
    with os.fdopen(greeting, "w", encoding="utf-8") as pipe:
        json.dump({"providers": {n: host.describe(p) for n, p in providers.items()}, "errors": errors}, pipe)
    gc.collect()
    gc.freeze()  # children do not touch what is never collected, so these pages stay shared
    _Server(control, providers).run()


def preload(names: Sequence[str], *, fakes: bool = True) -> tuple[dict[str, Provider], dict[str, str]]:
    """Imports the providers with what they want warm: (those that work, why the others do not). Stops at one that
    starts a thread, which is the last of the others. Without ``fakes``, providers of the test suites are passed over:
    whoever may create an endpoint of theirs could write files on this host."""
    loaded: dict[str, Provider] = {}
    errors: dict[str, str] = {}
    for name in names:
        try:
            provider = registry.load(name)
            offered = fakes or provider.support != "fake"
            for module in provider.preload if offered else ():
                importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - somebody else's code: it must not take the other providers with it
            errors[name] = f"{type(error).__name__}: {error}" if classify.is_bug(error) else str(error)
        else:
            loaded.update({name: provider} if offered else {})
        if threading.active_count() > 1:
            loaded.pop(name, None)
            errors.pop(name, None)
            errors[name] = _STARTS_THREADS
            break
    return loaded, errors


class _Server:
    """Single-threaded: forking from a process with threads can leave the child with a lock that nobody holds."""

    def __init__(self, control: socket.socket, providers: dict[str, Provider]) -> None:
        self._control = control
        self._providers = providers
        self._keepers: dict[int, str] = {}  # pid -> id
        self._leased: set[str] = set()
        self._lease: float | None = None
        self._unsent: deque[bytes] = deque()
        self._wake, self._wakened = socket.socketpair()

    def run(self) -> NoReturn:
        for end in (self._control, self._wake, self._wakened):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakened.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                self._turn([key.fileobj for key, _ in selector.select(self._patience())])

    def _turn(self, ready: list[Any]) -> None:
        if self._wake in ready and signal.SIGTERM in self._wake.recv(4096):
            self._end()
        if self._control in ready:
            self._receive()
        self._reap()
        if self._lease is not None and now() > self._lease:
            self._lease = None
            for name in tuple(self._leased):
                self._kill(name)
        self._flush()

    def _patience(self) -> float:
        if self._lease is None:
            return _TICK_SECONDS
        return min(_TICK_SECONDS, max(0.0, self._lease - now()))

    def _receive(self) -> None:
        while True:
            try:
                data, descriptors, _flags, _address = socket.recv_fds(self._control, PACKET_BYTES, DESCRIPTORS)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self._end()
            self._carry_out(json.loads(data), descriptors)

    def _carry_out(self, order: dict[str, Any], descriptors: list[int]) -> None:
        if "fork" in order:
            if order["leased"]:
                self._leased.add(order["fork"])
            self._fork(order["fork"], descriptors)
        elif "lease" in order:
            self._lease = order["lease"]
        elif order["number"] == signal.SIGKILL:
            self._kill(order["signal"])
        else:
            for pid, name in self._keepers.items():
                if name == order["signal"]:
                    proctree.kill(pid, order["number"])

    def _fork(self, name: str, descriptors: list[int]) -> None:
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._leave_server()
                keeper.keep(
                    lambda: host.run(*descriptors, providers=self._providers),
                    server,
                    lambda: _close(descriptors),
                )
            finally:
                os._exit(os.EX_SOFTWARE)
        _close(descriptors)
        self._keepers[pid] = name
        self._send({"forked": name, "pid": pid})

    def _leave_server(self) -> None:
        """In the child: nothing of the server's descriptors and signal handling stays."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for end in (self._control, self._wake, self._wakened):
            end.close()

    def _kill(self, name: str) -> None:
        """Ends the tree below the keeper, which then ends by itself; a keeper that does not is killed too."""
        for pid, found in self._keepers.items():
            if found == name:
                proctree.kill_descendants(pid, within_seconds=_KILL_SECONDS)
                proctree.kill(pid, signal.SIGCONT)  # it may have been stopped; an ended child is still to be collected
                if not _ends(pid):
                    proctree.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._keepers.pop(pid, None)
            if name is not None:
                code = os.waitstatus_to_exitcode(status)
                if code < 0:
                    self._kill_strays()
                self._leased.discard(name)
                self._send({"exited": name, "code": code if code >= 0 else 128 - code})

    def _kill_strays(self) -> None:
        """A keeper was killed: what was below it is now below us. The kernel hands orphans over before their parent
        counts as dead, so nothing is missed between two looks."""
        limit = time.monotonic() + _KILL_SECONDS
        while time.monotonic() < limit:
            strays = [pid for pid in proctree.children(os.getpid()) if pid not in self._keepers]
            if not strays:
                return
            for pid in strays:
                proctree.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _send(self, packet: dict[str, Any]) -> None:
        self._unsent.append(json.dumps(packet).encode())

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._unsent:
                self._control.send(self._unsent[0])
                self._unsent.popleft()

    def _end(self) -> NoReturn:
        proctree.kill_descendants(os.getpid(), within_seconds=_KILL_SECONDS)
        os._exit(0)


def _ends(pid: int) -> bool:
    """Whether our child has ended, or does within a moment; leaves it to be collected."""
    limit = time.monotonic() + 1.0
    while time.monotonic() < limit:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.005)
    return False


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
