# SPDX-License-Identifier: Apache-2.0
"""The sample files of etc/ are what the generators make of the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coriolis.api import policies
from coriolis.conf import opts

ROOT = Path(__file__).resolve().parents[3]
ETC = ROOT / "etc/coriolis"


def test_policy_sample_is_current(tmp_path: Path) -> None:
    made = tmp_path / "policy.yaml"
    tool = Path(sys.executable).parent / "oslopolicy-sample-generator"
    subprocess.run([str(tool), "--namespace", "coriolis", "--output-file", str(made)], check=True, cwd=tmp_path)
    again = "oslopolicy-sample-generator --config-file etc/coriolis/policy-generator.conf"
    assert made.read_text() == (ETC / "policy.yaml.sample").read_text(), f"run {again}"
    assert len(policies.list_rules()) == made.read_text().count('#"')


@pytest.mark.parametrize("module", opts.MODULES, ids=lambda module: str(module.GROUP))
def test_configuration_sample_has_every_option(module: object) -> None:
    text = (ETC / "coriolis.conf.sample").read_text()
    section = text.split(f"[{module.GROUP}]\n", 1)[1].split("\n[", 1)[0]
    for option in module.OPTS:
        again = "oslo-config-generator --config-file etc/coriolis/config-generator.conf"
        assert f"#{option.dest} =" in section, f"run {again}"
