# SPDX-License-Identifier: Apache-2.0
"""Every command of the user guide is run as it stands there, page by page, against a real standalone.

Pages about one platform are run in tests/integration/test_user_guide_libvirt.py; all commands have to be such that can
be typed.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from coriolis.client.cli.app import Application
from tests.service import standalone_process
from tests.service.standalone_process import BIN

GUIDE = Path(__file__).resolve().parents[2] / "doc/source/user"
RUN = ("command-line", "endpoints", "migrations", "transfers", "schedules", "regions")
REFUSED = "# refused"


def commands(page: Path) -> list[str]:
    """What stands behind a ``$``, with the lines that it goes on in."""
    text = page.read_text().replace("\\\n", " ")
    return [re.sub(r"\s{2,}", " ", found) for found in re.findall(r"^    \$ (.+)$", text, re.MULTILINE)]


@pytest.mark.parametrize("page", sorted(path.stem for path in GUIDE.glob("*.rst")))
def test_every_command_can_be_typed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    manager = Application().command_manager
    for line in commands(GUIDE / f"{page}.rst"):
        found = re.search(r"\bcoriolis (?!complete)([^)|<>]+)", line)
        if not found or line.startswith("coriolis-"):
            continue
        words = shlex.split(found[1], comments=True)
        for word in words:  # files that the page speaks of
            name = word.rpartition("=")[2]
            if re.fullmatch(r"[\w-]+\.(json|sh|csv|qcow2)", name):
                (tmp_path / name).write_text("{}")
        kind, name, rest = manager.find_command(words)
        kind(Application(), None).get_parser(name).parse_args(rest)


@pytest.mark.slow  # each command is a new process
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN)
def test_every_command_works(page: str, tmp_path: Path) -> None:
    with standalone_process.running(tmp_path / "state") as standalone:
        for seed, name in enumerate(("old", "new")):
            standalone.client.create_endpoint(name=name, type="null", connection_info={"instances": 9, "seed": seed})
        run = json.loads((standalone.state / "standalone.json").read_text())
        token = (standalone.state / "token").read_text().strip()
        cloud = {"auth_type": "admin_token", "auth": {"endpoint": run["url"], "token": token}}
        (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"cellar": cloud}}))
        (tmp_path / "cellar.json").write_text('{"instances": 3}')
        (tmp_path / "script.sh").write_text("#!/bin/sh\necho moved\n")
        lines = [f"{line} || true" if REFUSED in line else line for line in commands(GUIDE / f"{page}.rst")]
        lines = [re.sub(rf"^(.*?)\s*{REFUSED}.*$", r"\1 || true", line) for line in lines]
        keep = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        environment = {
            **keep,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "CORIOLIS_STATE_DIR": str(standalone.state),
            "HOME": str(tmp_path),
        }
        script = "set -euxo pipefail\n" + "\n".join(
            f"OS_CLOUD=cellar {line}" if line.startswith("openstack") else line for line in lines
        )
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "Traceback" not in done.stdout + done.stderr
