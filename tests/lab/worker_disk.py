# SPDX-License-Identifier: Apache-2.0
"""Build a disk with this project on it, for a guest that runs a worker: a ``chroot`` in the image of minions.

The interpreter, its libraries, QEMU's tools, the run-time packages of this environment and this tree lie where they lie
here, so that the programs of this environment run unchanged.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from demo.guest import BUSYBOX, MIB, make_sparse, run
from tests.lab.minion_image import libraries
from tests.lab.places import TREE

DISK_MIB = 1024
_PROGRAMS = ("/usr/bin/qemu-nbd", "/usr/bin/qemu-img")
_SITE = Path(sysconfig.get_path("purelib"))
_STDLIB = Path(sysconfig.get_path("stdlib"))
_UNUSED = shutil.ignore_patterns("test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo")
#: In site-packages, and of no distribution: the project itself, and a module that Debian brings.
_NO_WHEELS = ("coriolis-*.dist-info", "__editable__*", "nbd.py", "libnbdmod*.so")
_ETC = {
    "passwd": "root:*:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def build_worker_disk(work: Path) -> Path:
    """A raw disk with an ext4 file system, below ``work``, which is made."""
    root, disk = work / "root", work / "worker.raw"
    for folder in ("dev", "proc", "sys", "tmp", "run", "root", "etc", "var/lib", "usr/bin", "usr/sbin", "usr/lib"):
        (root / folder).mkdir(parents=True)
    (root / "usr/lib64").mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name, text in _ETC.items():
        (root / "etc" / name).write_text(text)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in run([BUSYBOX, "--list"]).split():
        if not (root / "bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")
    _fill(root)
    make_sparse(disk, DISK_MIB * MIB)
    run(["mke2fs", "-q", "-t", "ext4", "-d", root, disk])
    shutil.rmtree(root)
    return disk


def _fill(root: Path) -> None:
    programs = [*map(Path, _PROGRAMS), *_interpreter(Path(sys.executable))]
    ours = [TREE / "coriolis", Path(sys.prefix) / "bin", Path(sys.prefix) / "pyvenv.cfg"]
    for path in (_STDLIB, *programs, *ours, *_packages()):
        _copy(path, root)
    loaded = [
        path for folder in (_STDLIB, *_packages()) for path in (folder, *folder.rglob("*")) if path.suffix == ".so"
    ]
    for path in libraries((*map(str, programs), *map(str, loaded))):
        if path.is_relative_to("/usr") or path.is_relative_to("/lib") or path.is_relative_to("/lib64"):
            _copy(path, root)  # wheels bring the others


def _interpreter(path: Path) -> list[Path]:
    """What the environment's link leads to, by one link or several."""
    if not path.is_symlink():
        return []
    target = path.parent / path.readlink()
    return [*([] if target.is_relative_to(sys.prefix) else [target]), *_interpreter(target)]


def _copy(path: Path, root: Path) -> None:
    """To the same place below ``root``; byte code stays valid, for times are kept."""
    target = root / str(path).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, symlinks=True, ignore=_UNUSED, dirs_exist_ok=True)
    else:
        shutil.copy2(path, target)


def _packages() -> list[Path]:
    """All below site-packages that the project needs at run time, its own entry points too."""
    wanted, seen = ["coriolis"], set()
    tops = {path.name for pattern in _NO_WHEELS for path in _SITE.glob(pattern)}
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform
        needs = [Requirement(line) for line in found.requires or ()]
        wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
        tops |= {path.parts[0] for path in found.files or ()}
    return sorted(_SITE / top for top in tops if (_SITE / top).exists() and top not in ("..", "__pycache__"))
