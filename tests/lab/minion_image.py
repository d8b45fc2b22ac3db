# SPDX-License-Identifier: Apache-2.0
"""Build the image of minions: a minimal Debian with an SSH server and NBD servers, on one raw disk.

Kernel and boot loader as in the guest of the demo; the root holds busybox and the programs below with the libraries
that they ask for, all copied from the Debian packages of this machine. User ``root``, no password; the public keys of
the server's config drive may log in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from demo.guest import (
    BOOT_SIZE,
    BOOT_START,
    BUSYBOX,
    MIB,
    assemble,
    copy_modules,
    kernel_tree,
    make_boot,
    make_sparse,
    newest_kernel,
    run,
)
from demo.guest import FILES as GUEST_FILES
from tests.lab.places import HERE

FILES = HERE / "minion"
DISK_MIB = 320
LABEL = "minion-root"
PROGRAMS = (
    "/usr/sbin/sshd",
    "/usr/bin/ssh-keygen",
    "/usr/lib/openssh/sftp-server",
    "/usr/bin/qemu-nbd",
    "/usr/bin/qemu-img",
    "/usr/bin/qemu-io",
    "/usr/bin/nbdkit",
    "/usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-file-plugin.so",
    "/usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-null-plugin.so",
    "/usr/bin/nbdinfo",
    "/usr/bin/nbdcopy",
    "/usr/sbin/mke2fs",
)
DRIVERS = ("virtio_net", "virtio_scsi", "virtio_rng", "button", "evdev", "ext4", "xfs", "vfat", "isofs", "sr_mod")
_PACKAGES = ("busybox-static", "openssh-server", "qemu-utils", "nbdkit", "libnbd-bin", "e2fsprogs", "libc6", "syslinux")
_FOLDERS = (
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "etc/acpi/PWRF",
    "etc/ssh",
    "proc",
    "sys",
    "dev",
    "tmp",
    "run",
    "var/empty",
    "root",
    "srv",
)
_ETC = {
    "etc/hostname": "minion\n",
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nsshd:*:100:65534:sshd:/run/sshd:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/shells": "/bin/sh\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Minion of the lab (Debian 12)"\n',
}


def build_minion(cache: Path) -> tuple[Path, str]:
    """The raw disk and the key of its content, built below `cache` unless it is there already."""
    kernel = newest_kernel()
    key = _key(kernel)
    home = cache / f"minion-{key}"
    if not home.exists():
        part = cache / f"minion-{key}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _build(part, kernel_tree(cache, kernel))
        part.rename(home)
    return home / "minion.raw", key


def _key(kernel: str) -> str:
    recipe = hashlib.sha256(kernel.encode())
    for path in sorted([Path(__file__), *FILES.iterdir(), *GUEST_FILES.iterdir()]):
        recipe.update(path.read_bytes())
    recipe.update(run(["dpkg-query", "-W", "-f", "${Package}=${Version}\n", *_PACKAGES]).encode())
    return recipe.hexdigest()[:16]


def _build(work: Path, tree: Path) -> None:
    kernel = next((tree / "lib/modules").iterdir()).name
    root, disk, boot = work / "root", work / "root.ext4", work / "boot.fat"
    _fill(root, tree, kernel)
    make_sparse(disk, DISK_MIB * MIB - BOOT_START - BOOT_SIZE)
    run(["mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-d", root, disk])
    make_boot(boot, work, tree, kernel, LABEL)
    assemble(work / "minion.raw", DISK_MIB, boot, disk)
    for left in work.iterdir():
        if left.name != "minion.raw":
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _fill(root: Path, tree: Path, kernel: str) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for path in [BUSYBOX, *map(Path, PROGRAMS), *libraries(PROGRAMS)]:
        copy = root / str(path).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for applet in run([BUSYBOX, "--list"]).split():
        if not any((root / folder / applet).exists() for folder in ("bin", "sbin")):
            (root / "bin" / applet).symlink_to("busybox")
    (root / "sbin/init").symlink_to("../bin/busybox")
    for name, text in _ETC.items():
        (root / name).write_text(text)
    for name, target in {"rc": "etc/rc", "disk-links": "etc/disk-links", "inittab": "etc/inittab"}.items():
        shutil.copy(FILES / name, root / target)
    shutil.copy(FILES / "sshd_config", root / "etc/ssh/sshd_config")
    shutil.copy(GUEST_FILES / "dhcp", root / "etc/dhcp")
    shutil.copy(GUEST_FILES / "power-button", root / "etc/acpi/PWRF/00000080")
    for script in ("etc/rc", "etc/disk-links", "etc/dhcp", "etc/acpi/PWRF/00000080"):
        (root / script).chmod(0o755)
    (root / "root").chmod(0o700)
    (root / "var/empty").chmod(0o755)
    copy_modules(tree, kernel, DRIVERS, root)


def libraries(programs: tuple[str, ...]) -> list[Path]:
    """What the dynamic linker would load, the linker itself too, at the paths where it looks."""
    found: set[Path] = set()
    for line in run(["ldd", *programs]).splitlines():
        words = line.replace("=>", " ").split()
        found.update(Path(word) for word in words if word.startswith("/") and not word.endswith(":"))
    return sorted(path for path in found if os.fspath(path) not in programs)
