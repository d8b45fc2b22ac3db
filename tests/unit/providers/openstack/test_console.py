# SPDX-License-Identifier: Apache-2.0
"""How long a new server's console is listened to, and what is heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.providers.openstack import console

FIRMWARE = "SeaBIOS (version 1.16.2)\n"
NO_OPTION = "No bootable option or device was found"
NOTHING = "Booting from Hard Disk...\nBoot failed: not a bootable disk\nNo bootable device.\n"


def heard(says: list[str]) -> list[str]:
    """At each look the next of the texts, the last one for ever."""
    texts = iter(says)
    waits: list[float] = []
    last = ""

    def read() -> str:
        nonlocal last
        last = next(texts, last)
        return last

    said = console.listen(read, waits.append)
    assert waits == [console.POLL_SECONDS] * (len(said) - 1)
    return said


@pytest.mark.parametrize(
    ("says", "looks", "bad"),
    [
        ([""], 5, None),  # no serial console
        (["FAKE CONSOLE OUTPUT\n"], 5, None),
        ([FIRMWARE, FIRMWARE + NOTHING], 2, "No bootable device"),  # the firmware greets first
        ([FIRMWARE, FIRMWARE, FIRMWARE + "debian login: "], 3, None),
        ([FIRMWARE + "Linux version 6.1", "Linux version 6.1\nKernel panic - not syncing: VFS"], 2, "Kernel panic"),
        (
            ["", "", "", "BdsDxe: No bootable option or device was found.\n"],
            4,
            "No bootable option or device was found",
        ),
        (["Welcome to GRUB!\n", "error: no such device: guest-root.\n"], 2, "error: no such device"),
        (["BdsDxe: failed to load Boot0001\nBdsDxe: starting Boot0002\n"], 5, None),  # another one was found
    ],
)
def test_a_guest_that_does_not_come_up_is_heard(says: list[str], looks: int, bad: str | None) -> None:
    said = heard(says)
    assert len(said) == looks
    assert console.bad_sign(said[-1]) == bad


@given(st.lists(st.text(max_size=3), min_size=1))
def test_listening_ends(says: list[str]) -> None:
    said = heard([f"{number}{text}" for number, text in enumerate(says * 9)])
    assert console.is_clear(said)
    assert not any(console.is_clear(said[:looks]) for looks in range(1, len(said)))
    assert len(said) <= 20
