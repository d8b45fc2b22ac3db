# SPDX-License-Identifier: Apache-2.0
"""Puts the filters that the operator wrote into the worker's options in front of what is copied."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from coriolis import dataplane
from coriolis.dataplane.filters import filtered, parse_filters
from coriolis.worker.settings import WorkerSettings


@contextlib.contextmanager
def behind_filters(
    source: dataplane.Source, sink: dataplane.Sink, settings: WorkerSettings
) -> Iterator[tuple[dataplane.Source, dataplane.Sink]]:
    """Yields both as they are, or behind filters; a target that is no NBD export stays as it is. Raises
    `dataplane.DataplaneError` when the option is not understood.
    """
    with contextlib.ExitStack() as stack:
        if wanted := parse_filters(settings.copy_source_filters):
            export = stack.enter_context(dataplane.open_source(source))
            uri = stack.enter_context(filtered(export.uri, *wanted))
            source = dataclasses.replace(export, uri=uri, channel=None)  # which would pass by the filters
        wanted = parse_filters(settings.copy_sink_filters)
        if wanted and isinstance(sink, dataplane.NbdSink):
            sink = dataclasses.replace(sink, uri=stack.enter_context(filtered(sink.uri, *wanted)))
        yield source, sink
