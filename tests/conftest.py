# SPDX-License-Identifier: Apache-2.0
"""What every suite shares: isolation from the machine, and two generic fixtures."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in each run (a failure is repeatable), no files left in the tree, slow machines forgiven.
settings.register_profile(
    "house", database=None, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# More examples, other ones in each run: pytest --hypothesis-profile=search
settings.register_profile("search", database=None, deadline=None, max_examples=2000)
settings.load_profile("house")

_OF_THE_USER = ("OS_", "CORIOLIS_STATE_DIR", "XDG_", "LIBVIRT_", "http_proxy", "https_proxy", "HTTP_PROXY")


@pytest.fixture(scope="session", autouse=True)
def _away_from_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads the home directory, the clouds or the proxies of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_OF_THE_USER):
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # stevedore chose its cache in the old home directory when it was imported
        patch.setattr("stevedore._cache._c._disable_caching", True, raising=False)
        yield


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Give a TCP port of the loopback address on which nobody listens now."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary directory with a short name: a unix socket's path may have 107 bytes at most."""
    path = Path(tempfile.mkdtemp(prefix="cor-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
