# SPDX-License-Identifier: Apache-2.0
"""The same engine as the conductor's tests have."""

from tests.unit.conductor.conftest import empty_database as empty_database
from tests.unit.conductor.conftest import rig as rig
