# SPDX-License-Identifier: Apache-2.0
"""Build the guest of the demo: a small, real Linux machine from Debian packages, on one raw disk image.

Debian's cloud kernel, busybox as init and shell, syslinux as boot loader. Partition 1 is FAT with the boot files,
partition 2 is ext4 with the root and `/srv/data`, whose files the guest itself checks at each boot. It runs with
its disk on virtio-blk, virtio-scsi, pvscsi or IDE, and says on its serial console::

    coriolis-guest: boot N          how often this disk has booted
    coriolis-guest: data ok DIGEST  SHA-256 of /srv/data/SHA256SUMS, when all files match it
    coriolis-guest: ready
    coriolis-guest: address ADDRESS  when DHCP gave it one; port 80 then serves /srv/data

Neither root nor loop devices are needed: the file systems are written as files. The same packages and the same
recipe give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

MIB = 1 << 20
FILES = Path(__file__).parent / "files"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
TOOL_PACKAGES = ("busybox-static", "e2fsprogs", "dosfstools", "mtools", "syslinux", "syslinux-common")
MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
BUSYBOX = Path("/bin/busybox")
# Modules by the order of need; their dependencies follow from modules.dep.
DISK_DRIVERS = ("virtio_pci", "virtio_blk", "virtio_scsi", "vmw_pvscsi", "ata_piix", "sd_mod")
OTHER_DRIVERS = ("virtio_net", "vmxnet3", "button", "evdev")
KERNEL_ARGUMENTS = "console=ttyS0 quiet tsc=unstable panic=5"
# Every time stamp inside the image, seconds since 1970; the identifiers below are constants for the same reason.
BUILD_TIME = 1_700_000_000
ROOT_LABEL = "guest-root"
ROOT_UUID = "6d1b33a6-5d0c-4b8e-9f3c-0c0410115001"
HASH_SEED = "6d1b33a6-5d0c-4b8e-9f3c-0c0410115002"
DISK_SIGNATURE = 0xC0410115
BOOT_START = 1 * MIB
BOOT_SIZE = 40 * MIB


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """What is asked for. Sizes in MiB; `random_mib` cannot be compressed, `text_mib` can; the rest is empty."""

    name: str = "coriolis-guest"
    disk_mib: int = 512
    random_mib: int = 64
    text_mib: int = 16
    seed: int = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guest:
    """A built guest. `data_digest` is what the guest must say after `data ok`; `key` names this very content."""

    spec: GuestSpec
    disk: Path
    data_digest: str
    kernel: str
    key: str


def build_guest(cache: Path, spec: GuestSpec = GuestSpec()) -> Guest:
    """Give the guest for `spec`, built below `cache` unless it is there already.

    Raises subprocess.CalledProcessError when a tool fails, with its output in `stderr`.
    """
    package = newest_kernel()
    key = _key(spec, package)
    home = cache / f"guest-{key}"
    record = home / "guest.json"
    if not record.exists():
        work = cache / f"guest-{key}.{os.getpid()}.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            _build(work, spec, package, cache)
            if not record.exists():
                shutil.rmtree(home, ignore_errors=True)
                work.rename(home)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    facts = json.loads(record.read_text())
    return Guest(spec=spec, disk=home / "disk.raw", data_digest=facts["data_digest"], kernel=facts["kernel"], key=key)


def _build(work: Path, spec: GuestSpec, kernel_package: str, cache: Path) -> None:
    tree = kernel_tree(cache, kernel_package)
    kernel = next((tree / "lib/modules").iterdir()).name
    digest = _write_data(work / "data", spec)
    root = work / "root.ext4"
    _make_root(root, work, spec, tree, kernel)
    boot = work / "boot.fat"
    make_boot(boot, work, tree, kernel)
    assemble(work / "disk.raw", spec.disk_mib, boot, root)
    for left in (boot, root):
        left.unlink()
    for left in (work / "data", work / "initramfs", work / "boot"):
        shutil.rmtree(left)
    (work / "guest.json").write_text(json.dumps({"data_digest": digest, "kernel": kernel}))


def run(command: Iterable[str | Path], **more: str) -> str:
    """Run a tool to its end and give its output; `more` are environment variables for it."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "TZ": "UTC",
        "MTOOLS_SKIP_CHECK": "1",
        "SOURCE_DATE_EPOCH": str(BUILD_TIME),
        "E2FSPROGS_FAKE_TIME": str(BUILD_TIME),
        **more,
    }
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stdout + done.stderr)
    return done.stdout


# --- what goes in: packages and data ---------------------------------------------------------------------------


def newest_kernel() -> str:
    """The package with the newest cloud kernel that apt knows; its lists are fetched when they are absent."""
    for attempt in ("lists as they are", "fresh lists"):
        if attempt == "fresh lists":
            _refresh_lists()
        for line in run(["apt-cache", "depends", KERNEL_PACKAGE]).splitlines():
            words = line.split()
            if words[:1] == ["Depends:"] and words[1].startswith("linux-image-"):
                return words[1]
    raise LookupError(f"apt knows no package {KERNEL_PACKAGE}")


def _refresh_lists() -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*prefix, "apt-get", "update", "-q"], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _key(spec: GuestSpec, kernel_package: str) -> str:
    recipe = hashlib.sha256()
    for path in sorted([Path(__file__), *FILES.iterdir()]):
        recipe.update(path.read_bytes())
    query = ["dpkg-query", "-W", "-f", "${Package}=${Version}\n", *TOOL_PACKAGES]
    recipe.update(run(query).encode())
    recipe.update(run(["apt-cache", "show", "--no-all-versions", kernel_package]).encode())
    recipe.update(json.dumps(dataclasses.asdict(spec), sort_keys=True).encode())
    return recipe.hexdigest()[:16]


def kernel_tree(cache: Path, package: str) -> Path:
    """Unpack the kernel package once; its name holds its version and ABI, the folder is complete when it exists."""
    tree = cache / package
    if tree.exists():
        return tree
    part = cache / f"{package}.{os.getpid()}.part"
    part.mkdir(parents=True, exist_ok=True)
    try:
        _download(package, part)
    except subprocess.CalledProcessError:  # the lists name a version that the mirror has replaced
        _refresh_lists()
        _download(package, part)
    (archive,) = part.glob("*.deb")
    run(["dpkg", "-x", archive, part / "tree"])
    version = next((part / "tree/lib/modules").iterdir()).name
    run(["depmod", "-b", part / "tree", version])
    if not tree.exists():
        (part / "tree").rename(tree)
    shutil.rmtree(part)
    return tree


def _download(package: str, folder: Path) -> None:
    subprocess.run(
        ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package],
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def _write_data(folder: Path, spec: GuestSpec) -> str:
    """Write the data files and their SHA256SUMS; give the digest of that list."""
    folder.mkdir()
    source = random.Random(spec.seed)
    words = [source.randbytes(6).hex() for _ in range(512)]
    lines = []
    for number in range(spec.random_mib // 4):
        lines.append(_write_file(folder / f"random-{number:03}.bin", source.randbytes(4 * MIB)))
    for number in range(spec.text_mib // 4):
        text = " ".join(source.choices(words, k=4 * MIB // 13 + 1)).encode()[: 4 * MIB]
        lines.append(_write_file(folder / f"text-{number:03}.txt", text))
    listing = "".join(lines).encode()
    (folder / "SHA256SUMS").write_bytes(listing)
    return hashlib.sha256(listing).hexdigest()


def _write_file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"


# --- drivers ---------------------------------------------------------------------------------------------------


def _modules(tree: Path, kernel: str, wanted: Iterable[str]) -> list[Path]:
    """Paths, below lib/modules/KERNEL, of the named modules and all that they depend on; built-in ones are absent."""
    needs: dict[str, list[str]] = {}
    for line in (tree / "lib/modules" / kernel / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module] = rest.split()
    by_name = {Path(module).stem.replace("-", "_"): module for module in needs}
    found: dict[str, None] = {}
    for module in (by_name[name] for name in wanted if name in by_name):
        found.update(dict.fromkeys([module, *needs[module]]))
    return [Path(module) for module in sorted(found)]


def copy_modules(tree: Path, kernel: str, wanted: Iterable[str], root: Path) -> None:
    """Put modules with a fresh modules.dep below `root`."""
    home = root / "lib/modules" / kernel
    for module in _modules(tree, kernel, wanted):
        (home / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / "lib/modules" / kernel / module, home / module)
    for index in ("modules.builtin", "modules.order"):
        shutil.copyfile(tree / "lib/modules" / kernel / index, home / index)
    run(["depmod", "-b", root, kernel])


# --- file systems ----------------------------------------------------------------------------------------------


def _make_initramfs(out: Path, folder: Path, tree: Path, kernel: str) -> None:
    (folder / "bin").mkdir(parents=True)
    shutil.copyfile(BUSYBOX, folder / "bin/busybox")
    shutil.copyfile(FILES / "initramfs-init", folder / "init")
    copy_modules(tree, kernel, DISK_DRIVERS, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
        os.utime(path, (BUILD_TIME, BUILD_TIME))
    names = "\0".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "-0", "-o", "-H", "newc", "--reproducible", "-R", "0:0", "-D", str(folder)],
        input=names.encode(),
        check=True,
        capture_output=True,
    ).stdout
    out.write_bytes(subprocess.run(["gzip", "-9n"], input=packed, check=True, capture_output=True).stdout)


def make_boot(out: Path, work: Path, tree: Path, kernel: str, label: str = ROOT_LABEL) -> None:
    """Write the file system of the first partition: the kernel goes on from the root that is called `label`."""
    folder = work / "boot"
    folder.mkdir()
    shutil.copyfile(tree / f"boot/vmlinuz-{kernel}", folder / "vmlinuz")
    _make_initramfs(folder / "initrd.gz", work / "initramfs", tree, kernel)
    (folder / "syslinux.cfg").write_text(
        "DEFAULT guest\nNOESCAPE 1\nLABEL guest\n  KERNEL vmlinuz\n  INITRD initrd.gz\n"
        f"  APPEND {KERNEL_ARGUMENTS} root=LABEL={label}\n"
    )
    make_sparse(out, BOOT_SIZE)
    # -h: sectors before the partition, which the boot sector needs to find itself
    run(["mkfs.vfat", "--invariant", "-n", "GUESTBOOT", "-h", str(BOOT_START // 512), out])
    for name in ("vmlinuz", "initrd.gz", "syslinux.cfg"):
        os.utime(folder / name, (BUILD_TIME, BUILD_TIME))
        run(["mcopy", "-m", "-i", out, folder / name, f"::{name}"])
    run(["syslinux", "--install", out])


def _make_root(out: Path, work: Path, spec: GuestSpec, tree: Path, kernel: str) -> None:
    """Write the ext4 root with debugfs: all files belong to root and bear the build time, whoever runs this."""
    root = work / "root"
    for folder in ("bin", "sbin", "etc/acpi/PWRF", "proc", "sys", "dev", "tmp", "var", "srv"):
        (root / folder).mkdir(parents=True)
    shutil.copyfile(BUSYBOX, root / "bin/busybox")
    for name, target in {
        "inittab": "etc/inittab",
        "rc": "etc/rc",
        "profile": "etc/profile",
        "dhcp": "etc/dhcp",
        "power-button": "etc/acpi/PWRF/00000080",
    }.items():
        shutil.copyfile(FILES / name, root / target)
    for name, text in _etc(spec).items():
        (root / name).write_text(text)
    copy_modules(tree, kernel, OTHER_DRIVERS, root)
    (work / "data").rename(root / "srv/data")
    for path in root.rglob("*"):
        executable = path.is_dir() or path.read_bytes()[:2] in (b"#!", b"\x7fE")
        path.chmod(0o755 if executable else 0o644)
    make_sparse(out, spec.disk_mib * MIB - BOOT_START - BOOT_SIZE)
    run(["mke2fs", "-q", "-t", "ext4", "-L", ROOT_LABEL, "-U", ROOT_UUID, "-E", f"hash_seed={HASH_SEED}", out])
    script = work / "debugfs.txt"
    script.write_text("\n".join(_debugfs_script(root)) + "\n")
    said = run(["debugfs", "-w", "-f", script, out])
    script.unlink()
    if "No such" in said or "rror" in said:
        raise RuntimeError(f"debugfs could not write the root: {said[-2000:]}")
    shutil.move(root / "srv/data", work / "data")
    shutil.rmtree(root)


def _etc(spec: GuestSpec) -> Mapping[str, str]:
    return {
        "etc/hostname": spec.name + "\n",
        "etc/passwd": "root::0:0:root:/:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "etc/fstab": f"LABEL={ROOT_LABEL} / ext4 defaults 0 1\n",
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Coriolis demo guest (Debian 12 kernel, busybox)"\n',
        "var/boots": "0\n",
    }


def _debugfs_script(root: Path) -> list[str]:
    """Commands that write the tree below `root`, and a link for each command that busybox has."""
    commands = []
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        if path.is_dir():
            commands.append(f"mkdir {name}")
        else:
            commands.append(f'write "{path}" {name}')
    for applet in run([BUSYBOX, "--list-full"]).split():
        folder = "/sbin" if "sbin/" in applet else "/bin"
        if applet != "busybox" and not applet.endswith("/busybox"):
            commands.append(f"symlink {folder}/{Path(applet).name} /bin/busybox")
    return commands


# --- the disk --------------------------------------------------------------------------------------------------


def make_sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def assemble(disk: Path, disk_mib: int, boot: Path, root: Path) -> None:
    """Write a disk whose second partition, the root, takes what the first leaves."""
    make_sparse(disk, disk_mib * MIB)
    table = (
        f"label: dos\nlabel-id: {DISK_SIGNATURE:#x}\n"
        f"start={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=c, bootable\n"
        f"start={(BOOT_START + BOOT_SIZE) // 512}, type=83\n"
    )
    subprocess.run(["/sbin/sfdisk", "-q", str(disk)], input=table, text=True, check=True, capture_output=True)
    with disk.open("r+b") as file:
        # The last bytes of the sector hold the signature and the table.
        file.write(MBR_CODE.read_bytes()[:440])
    copy_sparse(boot, disk, BOOT_START)
    copy_sparse(root, disk, BOOT_START + BOOT_SIZE)


def copy_sparse(source: Path, target: Path, offset: int) -> None:
    """Write `source` into `target` at `offset` (bytes), without its holes."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        size = source.stat().st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(offset + start)
            for left in range(end - start, 0, -MIB):
                writer.write(reader.read(min(MIB, left)))
            position = end
