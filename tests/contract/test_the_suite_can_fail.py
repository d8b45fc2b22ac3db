# SPDX-License-Identifier: Apache-2.0
"""Each mutant has one fault, and the contract suite finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.contract.mutants import CAUGHT_BY

_TOLD = ("failure", "error", "skipped")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Class -> passed, skipped, or how the one test failed that is meant to find it."""
    report = tmp_path_factory.mktemp("mutants") / "report.xml"
    nodes = [f"{HERE / 'mutants.py'}::{name}::{test}" for name, test in CAUGHT_BY.items()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, f"--rootdir={HERE.parents[1]}", *nodes], capture_output=True, text=True, check=False, timeout=110
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        told = [f"{child.tag}: {child.get('message')}" for child in case if child.tag in _TOLD]
        name = case.attrib["classname"].rpartition(".")[2]
        found[name] = (told or [found.get(name, "passed")])[0]
    return found


@pytest.mark.parametrize("mutant", CAUGHT_BY)
def test_the_fault_is_found(outcomes: dict[str, str], mutant: str) -> None:
    """In the test, or by what every test is watched for; not because the mutant could not be made."""
    assert outcomes[mutant].startswith(("failure: ", "error: failed on teardown"))
