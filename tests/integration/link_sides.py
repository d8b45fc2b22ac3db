# SPDX-License-Identifier: Apache-2.0
"""The two sides of a link, with certificates of an authority made for a test."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from coriolis.dataplane.link import Credentials
from coriolis.runtime import certificates

SOURCE, DESTINATION = "source.example", "destination.example"
LONG_AGO = dt.timedelta(days=7)


def side(folder: Path, name: str, *, authority: str = "ours", age: dt.timedelta = dt.timedelta()) -> Credentials:
    """What the side of this name proves itself with. ``authority``: who signed it; made when it is new."""
    folder.mkdir(exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    anchor, anchor_key = folder / f"{authority}.pem", folder / f"{authority}.key"
    if anchor.exists():
        signer = certificates.load_authority(anchor, anchor_key)
    else:
        signer = certificates.create_authority(anchor, anchor_key, now=now - LONG_AGO)
    certificate, key = folder / f"{name}-{authority}.pem", folder / f"{name}-{authority}.key"
    certificates.issue(signer, [name], certificate, key, now=now - age)
    return Credentials(certificate=certificate, key=key, authority=folder / "ours.pem")
