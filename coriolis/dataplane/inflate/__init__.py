# SPDX-License-Identifier: Apache-2.0
"""Reads stream-optimized VMDKs in parallel: grains are independent zlib streams, and QEMU inflates them in one thread.

The grain tables say where each grain is, so that any part of the disk can be had at any time: the engine's threads
each inflate the grains of one leaf, straight into its memory.
"""

from __future__ import annotations

from coriolis.dataplane.inflate.stream import StreamReader, stream_reader

__all__ = ["StreamReader", "stream_reader"]
