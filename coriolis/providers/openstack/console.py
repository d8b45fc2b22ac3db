# SPDX-License-Identifier: Apache-2.0
"""What the serial console of a new server tells of how its guest comes up. Nova says ACTIVE before there is a guest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

POLL_SECONDS = 2.0
#: Looks with nothing new. Firmware goes on to a boot loader, and that to a kernel, with pauses; a slow host makes them
#: long. A guest without a serial console says nothing at all.
_SETTLED_POLLS = 5
_MOST_POLLS = 20
#: What firmware, boot loaders and kernels print when a machine does not come up.
_BAD_SIGNS = (
    "No bootable device",
    "No bootable option or device was found",
    "UEFI Interactive Shell",
    "Kernel panic",
    "no such partition",
    "error: no such device",
)
#: A guest that has come so far runs.
_GOOD_SIGNS = ("login:", "Cloud-init v.")


def listen(read: Callable[[], str], wait: Callable[[float], None]) -> list[str]:
    """What the console said at each look, until it is clear. ``wait`` may raise, to end it."""
    said = [read()]
    while not is_clear(said):
        wait(POLL_SECONDS)
        said.append(read())
    return said


def is_clear(said: Sequence[str]) -> bool:
    """Whether one more look would tell no more. ``said``: at each look so far."""
    last = said[-1]
    if bad_sign(last) or any(sign.lower() in last.lower() for sign in _GOOD_SIGNS):
        return True
    settled = sum(1 for _ in itertools.takewhile(last.__eq__, reversed(said)))
    return len(said) >= _MOST_POLLS or settled >= _SETTLED_POLLS


def bad_sign(said: str) -> str | None:
    """The words that tell that the machine does not come up."""
    return next((sign for sign in _BAD_SIGNS if sign.lower() in said.lower()), None)
