# SPDX-License-Identifier: Apache-2.0
"""A ``coriolis-standalone`` as a process, and the command line that talks to it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coriolis.client import Proxy, connect_standalone
from coriolis.providers import registry

BIN = Path(sys.executable).parent
START_SECONDS = 90.0


@dataclass
class Standalone:
    """``environment`` has no token of ours; the command line finds the service by the state directory. ``options``: of
    its configuration file, by section."""

    state: Path
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.state.parent / "standalone.conf"
        every = ",".join(registry.names())  # the fakes have to be named
        worker = {"providers": every, **self.options.get("worker", {})}
        sections = {**self.options, "worker": worker}
        config.write_text(
            "".join(
                f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items())
                for name, section in sections.items()
            )
        )
        with (self.state.parent / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [BIN / "coriolis-standalone", "--config-file", config, "--state-dir", self.state, "--port", "0"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: self._pid() == self.running.pid, START_SECONDS)

    def _pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(json.loads((self.state / "standalone.json").read_text())["pid"])
        return None

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process, which must be alive."""
        assert self.process is not None
        assert self.process.poll() is None, (self.state.parent / "out").read_text()
        return self.process

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    @property
    def client(self) -> Proxy:
        return connect_standalone(self.state)

    def cli(self, *words: str, fails: bool = False) -> Any:
        """A command of ``coriolis``: its JSON, or, where it has to fail, its standard error."""
        command = [str(each) for each in (BIN / "coriolis", "--state-dir", self.state, *words)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert (done.returncode != 0) is fails, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        if fails:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def running(state: Path, options: Mapping[str, Mapping[str, object]] | None = None) -> Iterator[Standalone]:
    """One on a free port. It is killed at the end."""
    made = Standalone(state, options or {})
    made.start()
    try:
        yield made
    finally:
        if made.process and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
