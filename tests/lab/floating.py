# SPDX-License-Identifier: Apache-2.0
"""Traffic to floating addresses, as far as this machine begins it: for each that a port has, a rule of iptables, such
as an L3 agent makes. No agent runs in the lab, so a test that wants this asks for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tests.lab.fixtures import LabCloud

_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Carrier:
    chain: str

    def packets(self, address: str) -> int:
        """How many connections went to the address since it got its rule."""
        rows = _iptables("-nvxL", self.chain).splitlines()[2:]
        return sum(int(row.split()[0]) for row in rows if address in row.split())

    def carry(self, pairs: dict[str, str], before: dict[str, str]) -> None:
        """Rules for these floating and fixed addresses, in place of those that there were."""
        for floating, fixed in before.items() - pairs.items():
            _iptables("-D", self.chain, *_rule(floating, fixed))
        for floating, fixed in pairs.items() - before.items():
            _iptables("-A", self.chain, *_rule(floating, fixed))


@contextlib.contextmanager
def carried(cloud: LabCloud) -> Iterator[Carrier]:
    """All floating addresses of the cloud, also those that come meanwhile."""
    carrier = Carrier(chain=f"lab-{cloud.name}-{os.getpid()}")
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(cloud, carrier, over))
    _iptables("-N", carrier.chain)
    try:
        _iptables("-A", "OUTPUT", "-j", carrier.chain)
        thread.start()
        yield carrier
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
        _iptables("-D", "OUTPUT", "-j", carrier.chain)
        _iptables("-F", carrier.chain)
        _iptables("-X", carrier.chain)


def _watch(cloud: LabCloud, carrier: Carrier, over: threading.Event) -> None:
    pairs: dict[str, str] = {}
    with cloud.connect() as admin:
        while not over.wait(_SECONDS):
            found = {one.floating_ip_address: one.fixed_ip_address for one in admin.network.ips()}
            now = {floating: fixed for floating, fixed in found.items() if fixed}
            carrier.carry(now, pairs)
            pairs = now


def _rule(floating: str, fixed: str) -> list[str]:
    return ["-d", f"{floating}/32", "-j", "DNAT", "--to-destination", fixed]


def _iptables(*words: str) -> str:
    done = subprocess.run(
        ["iptables", "-w", "-t", "nat", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout
