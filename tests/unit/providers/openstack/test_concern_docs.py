# SPDX-License-Identifier: Apache-2.0
"""Whoever is told a code finds it in the documents, with what can be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PROVIDER = ROOT / "coriolis/providers/openstack"
PAGES = {side: (ROOT / f"doc/source/user/openstack-{side}.rst").read_text() for side in ("source", "destination")}
#: Modules that only one side comes by.
ONE_SIDED = dict.fromkeys(("read_checks", "source_checks"), "source") | dict.fromkeys(
    ("planning", "flavors", "nics", "hardware", "capacity"), "destination"
)


def codes(module: str) -> set[str]:
    """Also of `source_checks`, which has the prefix in one place."""
    text = (PROVIDER / f"{module}.py").read_text()
    return set(re.findall(r'"openstack\.([a-z_]+)"', text)) | set(re.findall(r'_concern\("([a-z_]+)"', text))


def cures(side: str) -> set[str]:
    """Codes that are terms of the page's last section."""
    trouble = PAGES[side].partition("\nTrouble\n=======\n")[2]
    terms = [line for line in trouble.splitlines() if line.startswith("``openstack.")]
    return {code for line in terms for code in re.findall(r"``openstack\.([a-z_]+)``", line)}


@pytest.mark.parametrize("module", sorted(path.stem for path in PROVIDER.glob("*.py")))
def test_each_code_has_a_cure(module: str) -> None:
    pages = [ONE_SIDED[module]] if module in ONE_SIDED else list(PAGES)
    for side in pages:
        assert codes(module) <= cures(side), side


def test_no_cure_is_of_what_is_not_told() -> None:
    told = {
        code for path in PROVIDER.rglob("*.py") for code in codes(path.relative_to(PROVIDER).with_suffix("").as_posix())
    }
    assert len(told) > 20
    assert cures("source") | cures("destination") == told
