# SPDX-License-Identifier: Apache-2.0
"""Keeps eventlet out of the process. It must come before oslo.messaging, oslo.service, futurist and TaskFlow.

These import eventlet whenever it happens to be installed (oslo.service still requires it), although they work
without. We use threads only; a half-initialised eventlet brings a hub, a DNS resolver and warnings.
"""

from __future__ import annotations

import sys

if "eventlet" not in sys.modules:
    sys.modules["eventlet"] = None  # type: ignore[assignment]  # "import eventlet" now raises ImportError

from oslo_service import backend


def _threading() -> backend.BackendType:
    return backend.BackendType.THREADING


backend.register_backend_default_hook(_threading)
