# SPDX-License-Identifier: Apache-2.0
"""What the suite is told about the provider under test, and what it watches during every test."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from coriolis.providers import registry
from coriolis.providers.api import (
    Capability,
    Connection,
    Context,
    Devices,
    Disk,
    Instance,
    Nic,
    Provider,
    ProviderError,
)

Options = dict[str, Any]
Mutate = Callable[[Instance, str, int, bytes], None]  # instance, disk id, offset, data
MIB = 1 << 20


@dataclass
class Recorder:
    """Collects what a provider says to the engine."""

    events: list[tuple[str, str]] = field(default_factory=list)
    progress: list[tuple[str, int, int, str]] = field(default_factory=list)

    def said(self) -> list[str]:
        return [message for _, message in self.events] + [message for *_, message in self.progress]


def secrets_of(schema: Any, options: Any) -> list[str]:
    """Values of ``options`` that the schema marks as secret (``format: password`` or ``writeOnly``)."""
    found: list[str] = []
    if not isinstance(schema, dict) or not isinstance(options, dict):
        return found
    for branch in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        found += secrets_of(branch, options)
    for name, part in schema.get("properties", {}).items():
        if name not in options or not isinstance(part, dict):
            continue
        if part.get("format") == "password" or part.get("writeOnly"):
            found.append(str(options[name]))
        found += secrets_of(part, options[name])
    return found


class Subject:
    """Fixtures that a provider's test class gives or overrides."""

    provider: ClassVar[str]
    cancel_seconds: ClassVar[float] = 5.0  # within what time a cancel has to be felt
    #: False where the provider declares increments, but the platform under test lacks what they need.
    tells_changes: ClassVar[bool] = True

    @pytest.fixture
    def options(self) -> Options:
        """The connection info of a platform that has at least one instance, if the provider is a source."""
        raise NotImplementedError("The test class has to define the fixture 'options'.")

    @pytest.fixture
    def source_environment(self) -> Options:
        return {}

    @pytest.fixture
    def destination_environment(self) -> Options:
        return {}

    @pytest.fixture
    def network_map(self) -> Options:
        """Has to map the networks of ``source_instance``."""
        return {}

    @pytest.fixture
    def storage_mappings(self) -> Options:
        return {}

    @pytest.fixture
    def source_instance(self, network_map: Options) -> Instance:
        """What a destination is asked to make: one disk of 4 MiB, a NIC on each network of the map."""
        return Instance(
            id="contract-source",
            name="contract",
            instance_name="contract",
            num_cpu=1,
            memory_mb=256,
            devices=Devices(
                disks=(Disk(id="disk-0", size_bytes=4 * MIB),),
                nics=tuple(
                    Nic(id=f"nic-{number}", network_name=name, network_id=name)
                    for number, name in enumerate(sorted(network_map))
                ),
            ),
        )

    @pytest.fixture
    def instance_name(self) -> str | None:
        """The instance that source tests read; None for the first of the listing."""
        return None

    @pytest.fixture
    def mutate(self, options: Options) -> Mutate | None:
        """Changes a disk of an instance as its guest would; None if the suite cannot."""
        return None

    @pytest.fixture
    def leftovers(self, options: Options) -> Callable[[], list[str]] | None:
        """Lists, by the platform's own means, what was made there and not removed; None if the suite cannot know."""
        return None

    @pytest.fixture
    def failing_options(self, options: Options) -> list[tuple[Options, type[ProviderError]]]:
        """Connection infos that must fail, and how: wrong credentials, an unreachable address ..."""
        return []

    @pytest.fixture
    def hanging_options(self, options: Options) -> Options | None:
        """A connection info with which the listing of instances never ends; None if the suite cannot make one."""
        return None

    # What the suite makes of it

    @pytest.fixture
    def plugin(self) -> Provider:
        return registry.load(self.provider)

    @pytest.fixture
    def recorder(self) -> Recorder:
        return Recorder()

    @pytest.fixture
    def new_context(self, tmp_path: Path, recorder: Recorder) -> Callable[..., Context]:
        """Makes contexts of attempts: ``new_context(epoch=2)``."""
        scratch = tmp_path / "scratch"
        scratch.mkdir()

        def make(epoch: int = 1, cancelled: threading.Event | None = None) -> Context:
            return Context(
                log=logging.getLogger("coriolis.providers.contract"),
                scratch=scratch,
                epoch=epoch,
                cancelled=cancelled or threading.Event(),
                progress=lambda item, done, total, message: recorder.progress.append((item, done, total, message)),
                event=lambda level, message: recorder.events.append((level, message)),
            )

        return make

    @pytest.fixture
    def context(self, new_context: Callable[..., Context]) -> Context:
        return new_context()

    @pytest.fixture
    def connection(self, plugin: Provider, options: Options, context: Context) -> Iterator[Connection]:
        opened = plugin.connect(options, context)
        with contextlib.closing(opened):
            yield opened

    @pytest.fixture
    def instance(
        self,
        plugin: Provider,
        connection: Connection,
        source_environment: Options,
        instance_name: str | None,
        context: Context,
    ) -> Instance:
        """The instance that is read."""
        self.need(plugin, Capability.INVENTORY)
        assert connection.inventory is not None
        name = instance_name
        if name is None:
            listed = connection.inventory.list_instances(
                source_environment, marker=None, limit=1, name=None, context=context
            )
            if not listed:
                pytest.fail("The options have to lead to a platform with at least one instance.")
            name = listed[0].id
        return connection.inventory.get_instance(source_environment, name, context)

    @pytest.fixture(autouse=True)
    def _no_secret_is_told(
        self, plugin: Provider, options: Options, recorder: Recorder, caplog: pytest.LogCaptureFixture
    ) -> Iterator[None]:
        """In every test: no secret of the options is in a log line, an event or a progress message."""
        caplog.set_level(logging.DEBUG)
        yield
        lines = [record.getMessage() for phase in ("setup", "call") for record in caplog.get_records(phase)]
        for secret in secrets_of(plugin.connection_schema, options):
            told = [line for line in lines + recorder.said() if secret in line]
            assert not told, f"a secret of the connection info was logged {len(told)} times"

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, leftovers: Callable[[], list[str]] | None) -> Iterator[None]:
        """In every test: what the platform holds at the end is what it held at the start."""
        before = sorted(leftovers()) if leftovers else []
        yield
        after = sorted(leftovers()) if leftovers else []
        assert after == before, "a test left things behind on the platform"

    @staticmethod
    def need(plugin: Provider, *capabilities: Capability) -> None:
        """Skips the test if the provider does not claim to do that."""
        missing = sorted(set(capabilities) - plugin.capabilities)
        if missing:
            pytest.skip(f"{plugin.name} does not declare {', '.join(missing)}")
