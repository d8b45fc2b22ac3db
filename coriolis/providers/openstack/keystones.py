# SPDX-License-Identifier: Apache-2.0
"""Which cloud is meant: by the address of its Keystone, as the operator's files name it."""

from __future__ import annotations

import re

_PORTS = {"https": 443, "http": 80}
#: What every reader of URLs takes apart alike. With a backslash, say, `urllib` sees one host and what sends the request
#: another: a user could name the operator's Keystone to the one, and his own to the other.
_PLAIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(/[a-z0-9_~-][a-z0-9._~-]*)*)/*",
    re.IGNORECASE | re.ASCII,
)


def same_keystone(one: str, other: str) -> bool:
    """Whether two addresses lead to the same Keystone: spelling and version make no difference. One that is no plain
    address is the same as no other."""
    place = _place(one)
    return place is not None and place == _place(other)


def may_speak(auth_url: str, *, verified: bool) -> bool:
    """Whether what answers at the address may speak for its cloud. ``verified``: nothing of the user's vouches for it.
    Over plain HTTP, which the operator must have named as such, there is nothing to prove."""
    place = _place(auth_url)
    return place is not None and (verified or place[0] == "http")


def _place(url: str) -> tuple[str, str, int, str] | None:
    """None: it is no plain address."""
    found = _PLAIN.fullmatch(url.strip())
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), found["host"].lower()
    path = re.sub(r"/v[23](\.\d+)?$", "", found["path"])
    return scheme, host, int(found["port"] or _PORTS[scheme]), path
