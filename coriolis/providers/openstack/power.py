# SPDX-License-Identifier: Apache-2.0
"""Starts and stops servers, and waits until they are started or stopped."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Conflict, Context, Gone
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.waits import wait_until

#: Has a running guest, or one that could go on in memory.
RUNNING = frozenset({"ACTIVE", "PAUSED", "REBOOT", "HARD_REBOOT", "PASSWORD", "RESCUE", "RESIZE", "VERIFY_RESIZE"})
_POWERED_ON = 1  # Nova's OS-EXT-STS:power_state
_OFF = frozenset({"SHUTOFF", "SUSPENDED", "SHELVED", "SHELVED_OFFLOADED"})


def server_of(cloud: Cloud, ref: str) -> Any:
    """:raises Gone: there is none"""
    with translated(f"reading server {ref}"):
        return cloud.sdk.compute.get_server(ref)


def start(cloud: Cloud, server: Any, seconds: float, context: Context) -> Any:
    """The server, ACTIVE. Content when it is.

    :raises Conflict: it ends in an error; the message has Nova's fault
    """
    asked = False

    def look() -> Any | None:
        nonlocal asked
        found = server_of(cloud, server.id)
        if found.status == "ERROR":
            raise Conflict(f"server {found.name} ({found.id}) ended in an error: {fault_of(found)}")
        if found.status in ("ACTIVE", "PAUSED") and not found.task_state:
            return found
        if found.status == "SHUTOFF" and not found.task_state and not asked:
            _act(cloud.sdk.compute.start_server, found, "starting")
            asked = True
        elif found.status == "SUSPENDED" and not found.task_state and not asked:
            _act(cloud.sdk.compute.resume_server, found, "resuming")
            asked = True
        return None

    return wait_until(look, what=f"server {server.name} did not start", seconds=seconds, context=context)


def stop(cloud: Cloud, server: Any, seconds: float, context: Context) -> None:
    """Nova asks the guest, and switches it off after a grace time (``shutdown_timeout`` of nova-compute, 60 s unless
    ``os_shutdown_timeout`` of the image says otherwise). Content when it is off."""
    asked = False

    def look() -> bool | None:
        nonlocal asked
        found = server_of(cloud, server.id)
        if found.task_state is None or asked:
            if found.status in _OFF and not found.task_state:
                return True
            if found.status == "ERROR" and int(found.power_state or 0) != _POWERED_ON:
                return True
        if found.status == "PAUSED":
            raise Conflict(f"server {found.name} ({found.id}) is paused and cannot be stopped; unpause or stop it")
        if not asked and not found.task_state:
            _act(cloud.sdk.compute.stop_server, found, "stopping")
            asked = True
        return None

    wait_until(look, what=f"server {server.name} did not stop", seconds=seconds, context=context)


def delete(cloud: Cloud, server: Any, seconds: float, context: Context) -> None:
    """Until it is gone: its volumes and ports are free then. A cloud that keeps deleted servers for a while
    (``reclaim_instance_interval`` of Nova) would keep them, too: it is asked not to."""
    forced = False
    with translated(f"removing server {server.name}"):
        cloud.sdk.compute.delete_server(server, ignore_missing=True)

    def look() -> bool | None:
        nonlocal forced
        try:
            found = server_of(cloud, server.id)
        except Gone:
            return True
        if found.status == "DELETED":
            return True
        if found.status == "SOFT_DELETED" and not found.task_state and not forced:
            with translated(f"removing server {server.name} for good"):
                cloud.sdk.compute.delete_server(server, ignore_missing=True, force=True)
            forced = True
            return None
        if found.status == "ERROR" and not found.task_state:
            raise Conflict(f"server {found.name} ({found.id}) cannot be removed: {fault_of(found)}")
        return None

    wait_until(look, what=f"server {server.name} was not removed", seconds=seconds, context=context)


def fault_of(server: Any) -> str:
    """What Nova says of a server in error."""
    fault = server.fault or {}
    return " ".join(str(fault.get("message") or "Nova gives no reason").split())


def _act(action: Any, server: Any, doing: str) -> None:
    """An action that somebody else may have started a moment ago."""
    try:
        with translated(f"{doing} server {server.name}"):
            action(server)
    except Conflict as error:
        if "task_state" not in error.message:
            raise
