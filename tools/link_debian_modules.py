# SPDX-License-Identifier: Apache-2.0
"""Link Debian's `nbd` and `libvirt` Python modules into the virtual environment that runs this script.

Arguments: patterns of more files to link, such as ``rbd.*.so``.

Only these modules: `--system-site-packages` would bring in every Python package of the system, in versions
that nobody chose. The links point at files of the packages python3-libnbd and python3-libvirt.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

DEBIAN = Path("/usr/lib/python3/dist-packages")
MODULES = ("nbd.py", "libnbdmod*.so", "libvirt.py", "libvirt_qemu.py", "libvirtaio.py", "libvirtmod*.so")


def link_modules(source: Path, target: Path, more: Sequence[str] = ()) -> list[str]:
    """Make `target` hold a link to each module in `source`; return patterns that matched nothing."""
    absent = []
    for pattern in (*MODULES, *more):
        found = sorted(source.glob(pattern))
        if not found:
            absent.append(pattern)
        for module in found:
            link = target / module.name
            if link.is_symlink() and link.readlink() == module:
                continue
            link.unlink(missing_ok=True)
            link.symlink_to(module)
    return absent


def main() -> int:
    if sys.prefix == sys.base_prefix:
        print("Run this with the python of a virtual environment.", file=sys.stderr)
        return 1
    absent = link_modules(DEBIAN, Path(sysconfig.get_path("platlib")), sys.argv[1:])
    if absent:
        names = ", ".join(absent)
        print(f"Not in {DEBIAN}: {names}; install the packages python3-* that have them.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
