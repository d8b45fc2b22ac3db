# SPDX-License-Identifier: Apache-2.0
"""What happened in a migration's latest run."""

from __future__ import annotations

from typing import Any

from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import history
from coriolis.api.v1.migrations import execution_of

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    """Oldest first, unless sort_dir=desc."""
    return history.answer(request, services, execution_of(request, services))
