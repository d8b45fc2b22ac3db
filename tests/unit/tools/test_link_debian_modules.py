# SPDX-License-Identifier: Apache-2.0
"""Only the named modules of the system enter a virtual environment."""

from __future__ import annotations

from pathlib import Path

from tools.link_debian_modules import MODULES, link_modules


def system(folder: Path) -> Path:
    folder.mkdir()
    for name in ("nbd.py", "libnbdmod.cpython-311.so", "libvirt.py", "libvirt_qemu.py", "libvirtaio.py"):
        (folder / name).write_text(name)
    for name in ("libvirtmod.cpython-311.so", "libvirtmod_qemu.cpython-311.so", "yaml.py", "apt_pkg.so"):
        (folder / name).write_text(name)
    return folder


def test_links_these_and_no_others(tmp_path: Path) -> None:
    target = tmp_path / "site"
    target.mkdir()
    assert link_modules(system(tmp_path / "dist"), target) == []
    names = {path.name for path in target.iterdir()}
    assert {"nbd.py", "libvirt.py", "libnbdmod.cpython-311.so"} <= names
    assert not names & {"yaml.py", "apt_pkg.so"}
    assert all(path.is_symlink() for path in target.iterdir())


def test_again_mends_what_is_wrong(tmp_path: Path) -> None:
    source, target = system(tmp_path / "dist"), tmp_path / "site"
    target.mkdir()
    (target / "nbd.py").symlink_to(tmp_path / "gone")
    (target / "libvirt.py").write_text("something else")
    link_modules(source, target)
    assert (target / "nbd.py").read_text() == "nbd.py"
    assert (target / "libvirt.py").resolve() == source / "libvirt.py"


def test_tells_what_is_absent(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "site").mkdir()
    assert link_modules(tmp_path / "dist", tmp_path / "site") == list(MODULES)
