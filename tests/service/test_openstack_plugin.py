# SPDX-License-Identifier: Apache-2.0
"""The real program ``openstack`` with our plugin, against a real standalone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack.config
import openstack.connection
import pytest

from tests.service import standalone_process
from tests.service.standalone_process import BIN, Standalone

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    with standalone_process.running(tmp_path_factory.mktemp("plugin") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def folder(standalone: Standalone) -> Path:
    """A working folder with a clouds.yaml, as a user has it."""
    run = json.loads((standalone.state / "standalone.json").read_text())
    token = (standalone.state / "token").read_text().strip()
    cloud = {
        "auth_type": "admin_token",
        "auth": {"endpoint": run["url"], "token": token},
        "vendor_hook": "coriolis.client:vendor_hook",
    }
    path = standalone.state.parent / "clouds.yaml"
    path.write_text(json.dumps({"clouds": {"alone": cloud}}))
    path.chmod(0o600)
    return path.parent


def program(folder: Path, name: str, *words: str, fails: bool = False) -> Any:
    """:returns: JSON where it is any, else the text; standard error where it has to fail"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
    environment |= {"OS_CLOUD": "alone", "HOME": str(folder)}
    done = subprocess.run([BIN / name, *words], capture_output=True, text=True, cwd=folder, env=environment)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if fails:
        return done.stderr
    return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout


def test_a_migration_by_the_program_openstack(folder: Path) -> None:
    for name in ("a/b", "c d"):
        info = json.dumps({"instances": 3})
        made = program(
            folder, "openstack", "migration", "endpoint", "create", "--name", name, "--type", "null",
            "--connection-info", info, "-f", "json",
        )  # fmt: skip
        assert made["name"] == name
    seen = program(
        folder, "openstack", "migration", "endpoint", "instance", "list", "a/b", "--limit", "2", "-f", "json"
    )
    assert len(seen) == 2
    done = program(
        folder, "openstack", "migration", "create", "--origin-endpoint", "a/b", "--destination-endpoint", "c d",
        "--instance", "null-0000001", "--network", "VM Network=null-network", "--wait", "-f", "json",
    )  # fmt: skip
    assert done["status"] == "COMPLETED"
    (row,) = program(folder, "coriolis", "migration", "list", "--long", "-f", "json")
    assert row["ID"] == done["id"]
    why = program(folder, "openstack", "migration", "endpoint", "delete", "a/b", "nobody", "c d", fails=True)
    assert done["id"] in why
    assert "nobody: There is no endpoint" in why
    assert "3 of 3 failed" in why
    program(folder, "openstack", "migration", "delete", done["id"])
    program(folder, "openstack", "migration", "endpoint", "delete", "a/b", "c d")
    assert program(folder, "openstack", "migration", "endpoint", "list", "-f", "json") == []


def test_a_wrong_token_is_told_in_words(folder: Path) -> None:
    cloud = json.loads((folder / "clouds.yaml").read_text())
    cloud["clouds"]["alone"]["auth"]["token"] = "wrong"
    other = folder / "other"
    other.mkdir()
    (other / "clouds.yaml").write_text(json.dumps(cloud))
    assert "token" in program(other, "openstack", "migration", "list", fails=True).lower()


def test_help_speaks_the_words_of_the_program(folder: Path) -> None:
    said = program(folder, "openstack", "migration", "endpoint", "create", "--help")
    assert "$ openstack migration endpoint create --name here" in said
    assert "$ openstack migration create --origin-endpoint" in program(folder, "openstack", "migration", "create", "-h")


def test_both_programs_complete_the_words(folder: Path) -> None:
    for name, word in (("openstack", "migration_transfer_execution"), ("coriolis", "transfer_execution")):
        script = program(folder, name, "complete")
        assert f"cmds_{word}=" in script, name
        assert "--shutdown-instances" in script
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_a_cloud_of_clouds_yaml_has_the_service(folder: Path) -> None:
    region = openstack.config.OpenStackConfig(config_files=[str(folder / "clouds.yaml")]).get_one("alone")
    connection: Any = openstack.connection.Connection(config=region)
    with connection:
        assert "null" in {provider.name for provider in connection.migration.providers()}
