# SPDX-License-Identifier: Apache-2.0
"""Images of the lab as files: compressed qcow2, named by their content."""

from __future__ import annotations

import subprocess
from pathlib import Path


def as_qcow2(disk: Path, key: str) -> Path:
    """The raw disk as a qcow2 file beside its folder; made once for each ``key``."""
    path = disk.parents[1] / f"{disk.stem}-{key}.qcow2"
    if not path.exists():
        part = path.with_suffix(".part")
        subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", str(disk), str(part)], check=True)
        part.rename(path)
    return path
