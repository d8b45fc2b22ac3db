# SPDX-License-Identifier: Apache-2.0
"""Who may import whom. The layers themselves are contracts for import-linter in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, imports, modules, name_of, within

# A library appears only in its home, so that replacing it changes one package.
HOMES = {
    "alembic": ("coriolis.store", "coriolis.cmd"),
    "keystonemiddleware": ("coriolis.api", "coriolis.runtime"),
    "libvirt": ("coriolis.providers.libvirt",),
    # The contract suite judges a plugin's exports without our own data plane.
    "nbd": ("coriolis.dataplane", "coriolis.providers.contract"),
    "oslo_db": ("coriolis.store", "coriolis.conf.opts"),
    "oslo_messaging": ("coriolis.rpc",),
    "pecan": ("coriolis.api",),
    "sqlalchemy": ("coriolis.store",),
    "taskflow": ("coriolis.worker.sequence",),
    "eventlet": (),
}
# Passed from a transaction's owner to the store and back, so their names appear in signatures elsewhere.
HANDLES = ("sqlalchemy.Connection", "sqlalchemy.Engine", "sqlalchemy.engine.Connection", "sqlalchemy.engine.Engine")
# Packages of coriolis.providers that are not plugins, with what they are instead.
NOT_PLUGINS = {"api": "the border", "registry": "finds plugins", "contract": "the suite for plugins"}
PLUGIN_MAY = ("coriolis.providers.api", "coriolis.dataplane")
# The domain has no clock, no chance and no input or output: these standard modules give them.
IMPURE = ("asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "subprocess")
IMPURE += ("tempfile", "threading", "time", "urllib")


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", sorted(HOMES))
def test_library_stays_at_home(library: str) -> None:
    strays = [
        f"{name_of(path)} imports {name}"
        for path in modules("coriolis")
        for name in imports(path)
        if within(name, library)
        and name not in HANDLES
        and not any(within(name_of(path), home) for home in HOMES[library])
    ]
    assert strays == []


def test_plugins_see_only_the_provider_api_and_the_data_plane() -> None:
    strays = []
    for path in modules("coriolis"):
        parts = name_of(path).split(".")
        if parts[:2] != ["coriolis", "providers"] or len(parts) < 3 or parts[2] in NOT_PLUGINS:
            continue
        allowed = (*PLUGIN_MAY, ".".join(parts[:3]))
        for name in imports(path):
            if within(name, "coriolis") and not any(within(name, package) for package in allowed):
                strays.append(f"{'.'.join(parts)} imports {name}")
    assert strays == []


def test_domain_is_pure() -> None:
    strays = []
    for path in modules("coriolis"):
        if not within(name_of(path), "coriolis.domain"):
            continue
        for name in imports(path):
            top = name.split(".")[0]
            ours = within(name, "coriolis.domain")
            if not ours and (top not in sys.stdlib_module_names or top in IMPURE):
                strays.append(f"{name_of(path)} imports {name}")
    assert strays == []
