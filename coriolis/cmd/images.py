# SPDX-License-Identifier: Apache-2.0
"""``coriolis-manage image convert``: a local image into another one, without a service."""

from __future__ import annotations

import sys
from pathlib import Path

from oslo_config import cfg

from coriolis.dataplane import DataplaneError, DiskFormat, ImageSource, convert_image

FORMATS = {"raw": DiskFormat.RAW, "qcow2": DiskFormat.QCOW2, "vhd": DiskFormat.VHD, "vhdx": DiskFormat.VHDX,
           "vmdk": DiskFormat.VMDK}  # fmt: skip


def convert(conf: cfg.ConfigOpts) -> str:
    """Convert a disk image on this host, by the quickest engine that can (see the documents on disk formats)."""
    given = conf.action
    source = ImageSource(path=Path(given.source).absolute(), format=FORMATS.get(given.source_format))
    target = Path(given.target).absolute()
    if target == source.path:
        sys.exit("The target is the source; name another file.")
    try:
        done = convert_image(source, target, FORMATS[given.format], digest=not given.no_digest)
    except DataplaneError as error:
        sys.exit(f"The image was not converted: {error}")
    told = f"Made {target}: {done.size} bytes in {done.seconds:.1f} s by {done.engine.value}."
    return told if done.digest is None else f"{told}\nDigest of the disk: {done.digest}"
