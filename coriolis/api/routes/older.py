# SPDX-License-Identifier: Apache-2.0
"""Routes that have a second path, for older clients."""

from __future__ import annotations

import dataclasses

from coriolis.api.dispatch import Route


def with_detail(route: Route) -> tuple[Route, Route]:
    """A list, and the same below ``/detail``. To be named before the route of one object."""
    return route, _also(route, f"{route.path}/detail", "the same list, for older clients")


def with_action(route: Route) -> tuple[Route, Route]:
    """``.../actions``, and the same as ``.../action``."""
    return route, _also(route, route.path.removesuffix("s"), "the path of the first release")


def _also(route: Route, path: str, note: str) -> Route:
    return dataclasses.replace(route, path=path, summary=f"{route.summary} ({note})")
