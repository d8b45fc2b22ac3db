# SPDX-License-Identifier: Apache-2.0
"""Lists that are the same for every instance of a job, such as flavors: one fetch a minute for each worker.

Every attempt is a process with a connection of its own, so the answer is kept in the worker's staging folder: for the
same project and rights only, and the same service. What is not in it may have been made since: who misses something
asks anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coriolis.providers.api import Context
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.transports.glance_bytes import staged

_SECONDS = 60.0
_NAME = "answer.json"


def listed(
    cloud: Cloud, service: str, what: str, ask: Callable[[], Any], context: Context, *, has: Callable[[Any], bool]
) -> Any:
    """What ``ask`` gives, in JSON: anew, unless what is kept of it ``has`` what is looked for. ``service``: the SDK's
    name of who gives it.

    :raises ProviderError: the cloud does not answer
    """
    with staged(context, f"{what}-{_whose(cloud, service)}") as folder:  # others wait here for the one that asks
        path = folder / _NAME
        known = _young(path)
        if known is None or not has(known):
            known = ask()
            _keep(path, known)
        return known


def _whose(cloud: Cloud, service: str) -> str:
    """One project's list is not another's, nor is that of somebody who may see more, or who names another service."""
    with translated(f"reading the catalogue of {cloud.name}"):
        where = getattr(cloud.sdk, service).get_endpoint()
    told = [cloud.auth_url, cloud.project_id, str(where), cloud.proven, *sorted(cloud.roles)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _young(path: Path) -> Any | None:
    try:
        age = time.time() - path.stat().st_mtime
        return json.loads(path.read_text()) if 0 <= age < _SECONDS else None
    except (FileNotFoundError, ValueError):
        return None


def _keep(path: Path, answer: Any) -> None:
    part = path.with_suffix(".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(answer, file)
    part.rename(path)
