# SPDX-License-Identifier: Apache-2.0
"""An export in its child: opens a source, and offers it over a link (see ``exports``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from coriolis import dataplane
from coriolis.dataplane import link, lists
from coriolis.domain.codec import from_json
from coriolis.domain.errors import Unsupported
from coriolis.providers.api import Connection, Context, Snapshot
from coriolis.rpc.messages import Export, RemoteSource
from coriolis.worker.settings import LinkFiles, WorkerSettings


def credentials(files: LinkFiles) -> link.Credentials | link.Clear:
    if files.certificate is None or files.key is None or files.authority is None:
        return link.CLEAR
    return link.Credentials(certificate=files.certificate, key=files.key, authority=files.authority)


def _ports(text: str) -> range:
    if not text:
        return link.ANY_PORT
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)


@contextlib.contextmanager
def opened(export: Export, connection: Connection, context: Context) -> Iterator[dataplane.NbdSource]:
    """The disk as an NBD export on a local socket. :raises Unsupported: the provider cannot read blocks"""
    reads = connection.read_blocks
    if reads is None:
        raise Unsupported("The source's provider cannot do this: it has no 'read_blocks'.")
    snapshot = from_json(Snapshot, export.snapshot)
    with reads.open_source(snapshot, export.item, context) as source, dataplane.open_source(source) as nbd:
        yield nbd


@contextlib.contextmanager
def offered(
    source: dataplane.NbdSource, export: Export, files: LinkFiles, settings: WorkerSettings
) -> Iterator[RemoteSource]:
    """The source, and where its peer finds it."""
    chosen = settings.link
    listed = lists.pack(source)
    with link.offer(
        source.uri,
        peers=[export.peer],
        credentials=credentials(files),
        listen=chosen.listen_address,
        ports=_ports(chosen.listen_ports),
        mode=chosen.compression,  # type: ignore[arg-type]  # the option has these values only
        beside=listed,
    ) as offer:
        yield RemoteSource(
            host=chosen.advertised_host or chosen.listen_address,
            port=offer.port,
            name=files.name,
            export=urlsplit(source.uri).path.lstrip("/"),
            size=source.size,
            identity=source.identity,
            bitmap=source.bitmap,
            base_identity=source.base_identity,
            lists=0 if listed is None else lists.FORM,
        )
