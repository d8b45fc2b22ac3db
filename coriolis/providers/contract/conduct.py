# SPDX-License-Identifier: Apache-2.0
"""Good manners: cancel is felt, errors are of the right class, a connection can be closed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from coriolis.providers.api import (
    Cancelled,
    Capability,
    Connection,
    Context,
    Instance,
    Provider,
    ProviderError,
)
from coriolis.providers.contract.subject import Options, Subject, secrets_of


class ConductContract(Subject):
    def test_good_options_pass_the_check(self, connection: Connection, context: Context) -> None:
        connection.check(context)

    def test_closing_twice_is_fine(self, plugin: Provider, options: Options, context: Context) -> None:
        opened = plugin.connect(options, context)
        opened.close()
        opened.close()

    def test_errors_have_their_class(
        self,
        plugin: Provider,
        options: Options,
        failing_options: list[tuple[Options, type[ProviderError]]],
        context: Context,
    ) -> None:
        if not failing_options:
            pytest.skip("needs the fixture 'failing_options'")
        for bad, expected in failing_options:
            with pytest.raises(ProviderError) as caught:
                _check(plugin, bad, context)
            assert type(caught.value) is expected, caught.value
            assert caught.value.message
            assert "Traceback" not in caught.value.message
            for secret in secrets_of(plugin.connection_schema, bad):
                assert secret not in caught.value.message

    def test_cancelled_listing_ends(
        self, plugin: Provider, connection: Connection, source_environment: Options, new_context: Callable[..., Context]
    ) -> None:
        self.need(plugin, Capability.INVENTORY)
        inventory = connection.inventory
        assert inventory is not None
        context = _cancelled(new_context)
        self._ends(
            lambda: inventory.list_instances(source_environment, marker=None, limit=None, name=None, context=context)
        )

    def test_cancelled_snapshot_ends(
        self,
        plugin: Provider,
        connection: Connection,
        instance: Instance,
        source_environment: Options,
        context: Context,
        new_context: Callable[..., Context],
    ) -> None:
        self.need(plugin, Capability.SNAPSHOTS)
        snapshots = connection.snapshots
        assert snapshots is not None
        key = "contract-snapshot-cancelled"
        late = _cancelled(new_context)
        try:
            self._ends(lambda: snapshots.create(instance, None, key, source_environment, late))
        finally:
            snapshots.delete(None, key, context)

    def test_hanging_platform_lets_go(
        self,
        plugin: Provider,
        hanging_options: Options | None,
        source_environment: Options,
        new_context: Callable[..., Context],
    ) -> None:
        if hanging_options is None:
            pytest.skip("needs the fixture 'hanging_options'")
        token = threading.Event()
        context = new_context(cancelled=token)
        timer = threading.Timer(0.2, token.set)
        timer.start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            _list(plugin, hanging_options, source_environment, context)
        timer.join()
        assert time.monotonic() - started < self.cancel_seconds

    def _ends(self, call: Callable[[], object]) -> None:
        """Whether it finishes or raises Cancelled: soon, and nothing else."""
        started = time.monotonic()
        with contextlib.suppress(Cancelled):
            call()
        assert time.monotonic() - started < self.cancel_seconds


def _cancelled(new_context: Callable[..., Context]) -> Context:
    token = threading.Event()
    token.set()
    return new_context(cancelled=token)


def _check(plugin: Provider, options: Options, context: Context) -> None:
    with contextlib.closing(plugin.connect(options, context)) as opened:
        opened.check(context)


def _list(plugin: Provider, options: Options, environment: Options, context: Context) -> None:
    with contextlib.closing(plugin.connect(options, context)) as opened:
        assert opened.inventory is not None
        opened.inventory.list_instances(environment, marker=None, limit=None, name=None, context=context)
