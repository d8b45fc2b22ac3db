# SPDX-License-Identifier: Apache-2.0
"""Looks at image files before QEMU does: what they are, whether they are whole, what else they refer to.

QEMU follows what an image says: a VMDK may name ``/etc/shadow`` as its extent, a QCOW2 may name
``nbd://...`` as its backing file. Everything here is read by us first, refused where it points outside of
its folder, and then handed to QEMU as open descriptors with an explicit driver, so that nothing is probed
and nothing else can be opened.
"""

from __future__ import annotations

from coriolis.dataplane.image.inspect import Image, ImageInfo, inspect_image, open_image

__all__ = ["Image", "ImageInfo", "inspect_image", "open_image"]
