# SPDX-License-Identifier: Apache-2.0
"""What the options of a destination can be on this host: its pools, its networks, its processors."""

from __future__ import annotations

from collections.abc import Callable, Collection

from coriolis.providers.api import Context, Environment, Option, OptionsOf
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.networks import list_networks
from coriolis.providers.libvirt.planning import resolve_accel
from coriolis.providers.libvirt.schemas import ACCELERATORS
from coriolis.providers.libvirt.storage import default_pool, list_pools


class LibvirtOptions:
    """A source has none that the schema does not tell."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list_options(
        self, of: OptionsOf, environment: Environment, names: Collection[str] | None, context: Context
    ) -> list[Option]:
        if of is not OptionsOf.DESTINATION:
            return []
        found = []
        for name, look in _DESTINATION.items():
            if names is None or name in names:
                context.check_cancelled()
                found.append(look(self._link))
        return found


def _pools(link: Link) -> Option:
    pools = list_pools(link, refresh=False)
    values = tuple({"id": pool.id, "name": pool.name} for pool in pools if pool.usable)
    return Option(name="storage_pool", values=values, config_default=default_pool(pools, {}))


def _networks(link: Link) -> Option:
    values = tuple({"id": network.id, "name": network.name} for network in list_networks(link))
    return Option(name="network", values=values)


def _accelerators(link: Link) -> Option:
    """KVM only where it would work."""
    usable = resolve_accel(link, "auto")
    values = tuple(word for word in ACCELERATORS if word != "kvm" or usable == "kvm")
    return Option(name="accel", values=values, config_default="auto")


_DESTINATION: dict[str, Callable[[Link], Option]] = {
    "storage_pool": _pools,
    "network": _networks,
    "accel": _accelerators,
}
