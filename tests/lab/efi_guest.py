# SPDX-License-Identifier: Apache-2.0
"""The guest of the clouds as one that UEFI boots, with Secure Boot or without it: Debian's signed shim and GRUB beside
its kernel, which is signed, too."""

from __future__ import annotations

import shutil
from pathlib import Path

from demo.guest import BOOT_START, KERNEL_ARGUMENTS, ROOT_LABEL, build_guest, run
from tests.lab import content, places
from tests.lab.install import unpacked

_PACKAGES = ("shim-signed", "grub-efi-amd64-signed")
_GRUB = f"linux /vmlinuz {KERNEL_ARGUMENTS} root=LABEL={ROOT_LABEL}\ninitrd /initrd.gz\nboot\n"


def build_efi_guest(folder: Path) -> Path:
    """The raw disk, made in the folder."""
    images = places.LAB / "images"
    with places.locked("images"):
        guest = build_guest(images, content.GUEST)
        loaders = unpacked(images / "efi-loaders", _PACKAGES) / "usr/lib"
    disk, menu = folder / "efi-guest.raw", folder / "grub.cfg"
    shutil.copyfile(guest.disk, disk)
    menu.write_text(_GRUB)
    boot = ("-i", f"{disk}@@{BOOT_START}")
    run(["mmd", *boot, "::EFI", "::EFI/BOOT", "::EFI/debian"])
    for source, target in (
        (loaders / "shim/shimx64.efi.signed", "BOOT/BOOTX64.EFI"),
        (loaders / "grub/x86_64-efi-signed/grubx64.efi.signed", "BOOT/grubx64.efi"),
        (menu, "debian/grub.cfg"),
    ):
        run(["mcopy", *boot, source, f"::EFI/{target}"])
    return disk
