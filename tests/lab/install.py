# SPDX-License-Identifier: Apache-2.0
"""What the lab needs beside the Debian packages (profile ``openstack`` of bindep.txt), made once and kept.

The new release is a virtual environment with pinned versions. The old one is Debian's Python packages, whose paste
files are in packages that would start services: these are unpacked, not installed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.places import HERE, LAB, TREE, locked
from tests.lab.processes import LabError

_DEBIAN_PYTHON = "/usr/bin/python3"
_PASTE_PACKAGES = ("nova-common", "glance-common", "cinder-common", "neutron-common", "barbican-common")
_PINS = (HERE / "requirements-new.txt", HERE / "constraints-new.txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Installation:
    """Of one release. ``share``: below it are the paste files; ``key`` changes with the versions."""

    python: Path
    share: Path
    key: str


def packages() -> None:
    """Install the Debian packages that are missing."""
    subprocess.run([TREE / "tools/packages.sh", "integration", "openstack"], check=True)


def installed(release: str) -> Installation:
    """The installation of a release, made when it is not there."""
    with locked(f"install-{release}"):
        return {"old": _old, "new": _new}[release]()


def _new() -> Installation:
    key = hashlib.sha256(b"".join(path.read_bytes() for path in _PINS)).hexdigest()[:12]
    folder = Path(os.environ.get("CORIOLIS_LAB_NEW") or LAB / f"new-{key}")
    python = folder / "bin/python"
    complete = folder / ".complete"
    if not complete.exists() and "CORIOLIS_LAB_NEW" not in os.environ:
        print(f"Installing the new OpenStack into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run([_DEBIAN_PYTHON, "-m", "venv", folder])
        requirements, constraints = _PINS
        _run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints, "-r", requirements]
        )
        complete.touch()
    _run([python, TREE / "tools/link_debian_modules.py", "rados.*.so", "rbd.*.so"])  # the latter for Ceph
    return Installation(python=python, share=folder / "etc", key=f"new-{key}")


def _old() -> Installation:
    query = ["dpkg-query", "-W", "-f", "${Package}=${Version}\n", "python3-nova", "python3-cinder", "python3-neutron"]
    key = hashlib.sha256(_run(query).encode()).hexdigest()[:12]
    folder = unpacked(LAB / f"old-{key}", _PASTE_PACKAGES)
    return Installation(python=Path(_DEBIAN_PYTHON), share=folder / "usr/share", key=f"old-{key}")


def unpacked(folder: Path, names: Sequence[str]) -> Path:
    """The folder with the files of Debian packages, which are not installed; made once."""
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    download = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *names]
    try:
        _run(download, folder=part)
    except LabError:  # the lists name versions that the mirror has replaced
        _run(["apt-get", "update", "-q"])
        _run(download, folder=part)
    for package in part.glob("*.deb"):
        _run(["dpkg", "-x", package, part])
        package.unlink()
    return part.rename(folder)


def _run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder, env=environment
    )
    if done.returncode:
        raise LabError(f"{' '.join(map(str, command))}: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout
