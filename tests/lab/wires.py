# SPDX-License-Identifier: Apache-2.0
"""The network process of a cloud: connects the devices of guests, so that this machine reaches them over TCP.

It reads what Neutron notes about ports and subnets (``plugins/labmech.py``) and looks for the ``tap`` devices of QEMU.
A network with a guest becomes a Linux bridge with the gateway addresses of its subnets and a dnsmasq that gives each
port its fixed address. Each guest gets a route of its own, so that equal subnets of two clouds do not disturb each
other: the guest that came last has the address. Run as ``wires.py STATE``, standard library only.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DEVICES = Path("/sys/class/net")
SECONDS = 0.25
TURNS = 8  # from one look at the routes to the next
Record = dict[str, Any]


def ip(*words: str) -> bool:
    """Whether the command succeeded: a device may vanish between a look and the command."""
    done = subprocess.run(["/sbin/ip", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        print("ip", *words, "failed:", done.stderr.strip())
    return done.returncode == 0


def notes(folder: Path) -> dict[str, Record]:
    found = {}
    for path in folder.iterdir():
        try:
            found[path.name] = json.loads(path.read_text())
        except FileNotFoundError:
            continue
    return found


def bridge_of(network: str) -> str:
    """The name that os-vif gives it in clouds that still have Linux bridges."""
    return f"brq{network[:11]}"


def addresses(port: Record) -> list[str]:
    return [fixed["ip_address"] for fixed in port["fixed_ips"] if ":" not in fixed["ip_address"]]


class Leases:
    """The dnsmasq of one network: an address for each port, no names, no state of its own."""

    def __init__(self, folder: Path, bridge: str) -> None:
        self._hosts, self._bridge = folder / f"{bridge}.hosts", bridge
        self._process: subprocess.Popen[bytes] | None = None
        self._arguments: list[str] = []

    def offer(self, subnets: list[Record], ports: list[Record]) -> None:
        lines = [f"{port['mac_address']},{address},12h" for port in ports for address in addresses(port)]
        text = "\n".join([*sorted(lines), ""])
        changed = not self._hosts.exists() or self._hosts.read_text() != text
        if changed:
            self._hosts.write_text(text)
        arguments = self._ranges(subnets)
        if self._process is None or self._process.poll() is not None or arguments != self._arguments:
            self.stop()
            self._start(arguments)
        elif changed:
            self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._process = None

    def _ranges(self, subnets: list[Record]) -> list[str]:
        out = []
        for number, subnet in enumerate(sorted(subnets, key=lambda subnet: str(subnet["id"]))):
            cidr = ipaddress.ip_network(subnet["cidr"])
            out.append(f"--dhcp-range=set:s{number},{cidr.network_address},static,{cidr.netmask},12h")
            gateway = subnet["gateway_ip"]
            out.append(f"--dhcp-option=tag:s{number},option:router" + (f",{gateway}" if gateway else ""))
        return out

    def _start(self, arguments: list[str]) -> None:
        self._arguments = arguments
        if arguments:
            fixed = "--keep-in-foreground --conf-file=/dev/null --port=0 --bind-interfaces --leasefile-ro --no-ping"
            more = f"--dhcp-authoritative --user=root --pid-file= --dhcp-hostsfile={self._hosts} --log-facility=-"
            command = ["/usr/sbin/dnsmasq", *fixed.split(), *more.split(), "--interface", self._bridge, *arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)


class Wires:
    """What was connected, and how. ``look`` makes it what it should be now."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._bridges = state / "bridges"
        self._bridges.mkdir(exist_ok=True)
        self._leases: dict[str, Leases] = {}
        self._routes: dict[str, tuple[str, str]] = {}  # address -> tap, bridge
        self._set: dict[str, set[str]] = {}  # bridge -> its addresses
        self._seen: object = None

    def look(self) -> None:
        taps = frozenset(name for name in os.listdir(DEVICES) if name.startswith("tap"))
        folders = [self._state / kind for kind in ("ports", "subnets")]
        now = (taps, *(folder.stat().st_mtime_ns for folder in folders))
        if now != self._seen:
            ports, subnets = map(notes, folders)
            whole = self._connect(taps, ports, subnets)
            self._seen = now if whole else None

    def _connect(self, taps: frozenset[str], ports: dict[str, Record], subnets: dict[str, Record]) -> bool:
        """False when something has to be tried again."""
        mine = {f"tap{name[:11]}": port for name, port in ports.items()}
        live = {tap: mine[tap] for tap in taps if tap in mine}
        whole = True
        for network in {str(port["network_id"]) for port in live.values()}:
            theirs = [subnet for subnet in subnets.values() if subnet["network_id"] == network]
            guests = [port for port in ports.values() if port["network_id"] == network]
            whole &= self._make_bridge(network, [subnet for subnet in theirs if subnet["ip_version"] == 4], guests)
        for tap, port in live.items():
            whole &= self._plug(tap, bridge_of(port["network_id"]), port)
        self._unroute({address: tap for tap, port in live.items() for address in addresses(port)})
        self._remove_bridges({bridge_of(thing["network_id"]) for thing in [*ports.values(), *subnets.values()]})
        return whole

    def _make_bridge(self, network: str, subnets: list[Record], ports: list[Record]) -> bool:
        bridge = bridge_of(network)
        if not (DEVICES / bridge).exists() and not ip("link", "add", bridge, "type", "bridge"):
            return False
        (self._bridges / bridge).touch()
        gateways = {
            f"{subnet['gateway_ip']}/{ipaddress.ip_network(subnet['cidr']).prefixlen}"
            for subnet in subnets
            if subnet["gateway_ip"]
        }
        whole = True
        if self._set.get(bridge) != gateways:
            whole = ip("link", "set", bridge, "up")
            for address in gateways:  # no route to the whole subnet: another cloud may have an equal one
                whole &= ip("address", "replace", address, "dev", bridge, "noprefixroute")
            for address in self._set.get(bridge, set()) - gateways:
                ip("address", "del", address, "dev", bridge)
            self._set[bridge] = gateways
        leases = self._leases.setdefault(bridge, Leases(self._state, bridge))
        leases.offer([subnet for subnet in subnets if subnet["enable_dhcp"]], ports)
        return whole

    def _plug(self, tap: str, bridge: str, port: Record) -> bool:
        master = DEVICES / tap / "master"
        whole = True
        if not master.exists() or master.resolve().name != bridge:
            whole = ip("link", "set", tap, "master", bridge, "up")
            print(f"{tap} is on {bridge}: {whole}")
        for address in addresses(port):
            if self._routes.get(address) != (tap, bridge):
                whole &= ip("route", "replace", f"{address}/32", "dev", bridge)
                self._routes[address] = (tap, bridge)
        return whole

    def mend_routes(self) -> None:
        """Set those that are gone: a guest of another cloud had the address, and has left."""
        if self._routes:
            command = ["/sbin/ip", "-j", "-4", "route", "show"]
            answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
            present = {route["dst"] for route in json.loads(answer or "[]")}
            for address, (_tap, bridge) in self._routes.items():
                if address not in present:
                    ip("route", "add", f"{address}/32", "dev", bridge)

    def _unroute(self, live: dict[str, str]) -> None:
        for address, (tap, bridge) in list(self._routes.items()):
            if live.get(address) != tap:
                ip("route", "del", f"{address}/32", "dev", bridge)
                del self._routes[address]

    def _remove_bridges(self, wanted: set[str]) -> None:
        """Those whose network is gone; others stay, since a guest may come at any time."""
        for path in list(self._bridges.iterdir()):
            if path.name not in wanted:
                if leases := self._leases.pop(path.name, None):
                    leases.stop()
                self._set.pop(path.name, None)
                if not (DEVICES / path.name).exists() or ip("link", "del", path.name):
                    path.unlink()


def main() -> None:
    wires = Wires(Path(sys.argv[1]))
    for turn in itertools.count():
        wires.look()
        if turn % TURNS == 0:
            wires.mend_routes()
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
