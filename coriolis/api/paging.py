# SPDX-License-Identifier: Apache-2.0
"""marker, limit, sort_key and sort_dir of a list."""

from __future__ import annotations

from coriolis.api.request import Query
from coriolis.domain.errors import Invalid
from coriolis.store.paging import Page

DIRECTIONS = ("asc", "desc")
PAGE = ("marker", "limit", "sort_key", "sort_dir")  # the query parameters of a list


_LARGEST = 2**31 - 1  # what every database takes for a limit


def page(query: Query, *, first: str = "desc", most: int | None = None) -> Page:
    """The page that the query asks for; ``first`` is the direction when it does not say.

    The plural names and commas are accepted, too, and one direction serves all keys. Without a limit the page has all
    rows, as the wire contract says; ``most``: of the lists that the contract does not know, no page has more rows.
    :raises Invalid: no number, no such direction, more directions than keys
    """
    limit = query.number("limit")
    keys = query.all("sort_key", "sort_keys")
    directions = tuple(word.lower() for word in query.all("sort_dir", "sort_dirs"))
    for word in directions:
        if word not in DIRECTIONS:
            raise Invalid(f"sort_dir must be asc or desc, not {word[:40]!r}", field="sort_dir")
    if keys and len(directions) > len(keys):
        raise Invalid("There are more sort_dir than sort_key: give one sort_dir for each sort_key", field="sort_dir")
    directions += (directions[0] if directions else first,) * (len(keys) - len(directions))
    return Page(
        marker=query.one("marker"),
        limit=most if limit is None else min(limit, most or _LARGEST),
        sort_keys=keys,
        sort_dirs=directions,
    )
