# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.lab up|down|status|wipe|stop|start|install [CLOUD ...]``: the clouds of the lab, by hand.

Clouds with a name: old and new (real guests), old-fake and new-fake (many hosts without guests).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.lab import ceph_clouds, content, install, places
from tests.lab.cloud import Cloud
from tests.lab.processes import LabError
from tests.lab.spec import KNOWN, Additions, CloudSpec

_USUAL = ("old", "new")
_ACTIONS = ("up", "down", "status", "wipe", "stop", "start", "install")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("clouds", nargs="*", metavar="CLOUD", help=f"{', '.join(KNOWN)}; default: {' '.join(_USUAL)}")
    parser.add_argument("--virt", choices=("fake", "libvirt"), default="libvirt", help="take NAME-fake when fake")
    parser.add_argument("--hosts", type=int, help="how many nova-compute services")
    parser.add_argument("--token-seconds", type=int, help="how long a token lives")
    parser.add_argument("--additions", type=Path, help="JSON file with more backends (tests.lab.spec.Additions)")
    parser.add_argument("--debug", action="store_true", default=None, help="services log everything")
    parser.add_argument("--services", default="", help="for stop and start: names that status shows, with commas")
    return parser.parse_args()


def _name(word: str, virt: str) -> str:
    name = f"{word}-fake" if virt == "fake" and not word.endswith("-fake") else word
    if name not in KNOWN:
        raise LabError(f"no cloud {name} among {', '.join(KNOWN)}")
    return name


def _spec(name: str, arguments: argparse.Namespace) -> CloudSpec:
    cloud = Cloud(name)
    before = cloud.spec if cloud.exists else KNOWN[name]
    given = {key: getattr(arguments, key) for key in ("hosts", "token_seconds", "debug")}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if arguments.additions:
        changes["additions"] = Additions(**json.loads(arguments.additions.read_text()))
    return dataclasses.replace(before, **changes)


def _up(names: list[str], arguments: argparse.Namespace) -> None:
    install.packages()
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: content.bring_up(_spec(name, arguments)), names))
    print(f"export OS_CLIENT_CONFIG_FILE={places.LAB / 'clouds.yaml'} no_proxy='*'")


def _status(cloud: Cloud) -> None:
    if not cloud.exists:
        print(f"{cloud.name}: never brought up")
        return
    memory = cloud.memory()
    for service, size in memory.items():
        print(f"{cloud.name:10} {service:24} {'down' if size is None else f'{size:5} MiB'}")
    print(f"{cloud.name:10} {'total':24} {sum(size or 0 for size in memory.values()):5} MiB")


def main() -> int:
    arguments = _arguments()
    try:
        names = [_name(word, arguments.virt) for word in arguments.clouds or _USUAL]
        services = [name for name in arguments.services.split(",") if name]
        if arguments.action == "up":
            _up(names, arguments)
            return 0
        if arguments.action == "install":
            install.packages()
            for release in ("new", "old"):
                print(install.installed(release))
            return 0
        if arguments.action == "down" and not arguments.clouds:
            names = list(KNOWN)
        for cloud in map(Cloud, names):
            if arguments.action == "status":
                _status(cloud)
            elif arguments.action in ("stop", "start"):
                getattr(cloud, arguments.action)(*services)
            else:
                getattr(cloud, arguments.action)()
        if arguments.action in ("down", "wipe"):
            ceph_clouds.rest()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
