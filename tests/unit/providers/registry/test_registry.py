# SPDX-License-Identifier: Apache-2.0
"""Finding plugins: ours, somebody else's, and broken ones, each really installed as a distribution on the path."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from coriolis.domain.capabilities import WIRE_DESTINATION, WIRE_SOURCE
from coriolis.providers import registry
from coriolis.providers.api import Invalid

GOOD = """
from coriolis.providers.api import Provider, connection_schema
PROVIDER = Provider(name="{name}", title="Theirs", capabilities=frozenset(), connection_schema=connection_schema({{}}),
                    connect=lambda info, context: None)
"""

Install = Callable[[str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(distribution, entry point, source)`` puts a plugin on the path of this process."""
    added: list[str] = []

    def put(distribution: str, entry: str, source: str) -> None:
        site = tmp_path / distribution
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[coriolis.providers]\n{entry}\n")
        (site / f"{distribution}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        ExtensionManager.ENTRY_POINT_CACHE.clear()
        added.append(distribution)

    yield put
    ExtensionManager.ENTRY_POINT_CACHE.clear()
    for name in added:
        sys.modules.pop(name, None)


def test_ours_are_there() -> None:
    assert {"fake", "libvirt", "null", "ova"} <= set(registry.names())
    described = {each.name: each for each in registry.describe()}
    assert described["null"].error is None
    assert {WIRE_SOURCE, WIRE_DESTINATION} <= set(described["null"].types)
    assert WIRE_SOURCE in described["ova"].types
    assert WIRE_DESTINATION not in described["ova"].types
    assert "read_blocks" in described["ova"].capabilities


def test_theirs_come_through_the_same_door(install: Install) -> None:
    install("theirs_plugin", "theirs = theirs_plugin:PROVIDER", GOOD.format(name="theirs"))
    assert "theirs" in registry.names()
    assert registry.load("theirs").title == "Theirs"


def test_naming_imports_nothing(install: Install) -> None:
    install("lazy_plugin", "lazy = lazy_plugin:PROVIDER", GOOD.format(name="lazy"))
    registry.names()
    registry.load("null")
    assert "lazy_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_library_4711", "no_such_library_4711"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "PROVIDER"),
        ("PROVIDER = 'text'", "str"),
        (GOOD.format(name="other"), "other"),
    ],
)
def test_a_broken_one_says_why_and_harms_nobody(install: Install, source: str, words: str) -> None:
    install("broken_plugin", "broken = broken_plugin:PROVIDER", source)
    with pytest.raises(Invalid, match=words):
        registry.load("broken")
    described = {each.name: each for each in registry.describe()}
    assert words in (described["broken"].error or "")
    assert described["ova"].error is None


def test_two_of_one_name_are_refused(install: Install) -> None:
    install("one_plugin", "twice = one_plugin:PROVIDER", GOOD.format(name="twice"))
    install("two_plugin", "twice = two_plugin:PROVIDER", GOOD.format(name="twice"))
    with pytest.raises(Invalid, match=r"one_plugin:PROVIDER, two_plugin:PROVIDER"):
        registry.load("twice")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(Invalid, match=r"'nope'.*null.*ova"):
        registry.load("nope")
