# SPDX-License-Identifier: Apache-2.0
"""Finds the installed providers: entry points of the group ``coriolis.providers``, each one a `Provider`.

Ours are registered through the same door as anybody's. A plugin that cannot be loaded never takes the others with
it, and never disappears silently: it stays in `describe` with its error, and `load` says why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from stevedore import NamedExtensionManager

from coriolis.domain.capabilities import wire_types
from coriolis.providers.api import Invalid, Provider

GROUP = "coriolis.providers"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Description:
    """One line of the provider list. ``error``: why it cannot be used; the other fields are then empty."""

    name: str
    title: str = ""
    support: str = ""
    capabilities: tuple[str, ...] = ()
    types: tuple[int, ...] = ()
    error: str | None = None


def names() -> list[str]:
    """The registered names, sorted; nothing is imported."""
    return sorted(_entry_points())


def load(name: str) -> Provider:
    """Imports one provider, and no other.

    :raises Invalid: no such provider, or its plugin is broken
    """
    found = _entry_points().get(name)
    if not found:
        raise Invalid(f"There is no provider {name!r} here. Installed: {', '.join(names()) or 'none'}.")
    if len(found) > 1:
        where = ", ".join(sorted(found))
        raise Invalid(f"The provider {name!r} is registered twice ({where}). Uninstall one of the plugins.")
    failures: list[str] = []

    def failed(_manager: object, entry: EntryPoint, error: BaseException) -> None:
        failures.append(f"{type(error).__name__}: {error}")
        _LOG.error("The provider %s (%s) cannot be loaded", entry.name, entry.value, exc_info=error)

    manager: NamedExtensionManager[Any] = NamedExtensionManager(GROUP, names=[name], on_load_failure_callback=failed)
    plugin: object = None if failures else manager[name].plugin
    if isinstance(plugin, Provider) and plugin.name == name:
        return plugin
    problem = failures[0] if failures else _problem(plugin)
    raise Invalid(f"The provider {name!r} ({next(iter(found))}) cannot be used: {problem}")


def describe() -> list[Description]:
    """All registered providers, by name; a broken one with its error. Imports all of them."""
    return [_describe(name) for name in names()]


def _describe(name: str) -> Description:
    try:
        provider = load(name)
    except Invalid as error:
        return Description(name=name, error=error.message)
    return Description(
        name=name,
        title=provider.title,
        support=provider.support,
        capabilities=tuple(sorted(str(each) for each in provider.capabilities)),
        types=tuple(wire_types(provider.capabilities)),
    )


def _entry_points() -> dict[str, set[str]]:
    """Name -> the distinct objects that are registered under it (two copies of one distribution are one)."""
    found: dict[str, set[str]] = {}
    manager: NamedExtensionManager[Any] = NamedExtensionManager(GROUP, names=[])
    for entry in manager.list_entry_points():
        found.setdefault(entry.name, set()).add(entry.value)
    return found


def _problem(plugin: object) -> str:
    if isinstance(plugin, Provider):
        return f"it calls itself {plugin.name!r}"
    return f"it is a {type(plugin).__name__}, not a coriolis.providers.api.Provider"
