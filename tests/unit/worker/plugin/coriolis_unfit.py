# SPDX-License-Identifier: Apache-2.0
"""A plugin that starts a thread when it is imported."""

from __future__ import annotations

import dataclasses
import threading

from coriolis_trial import PROVIDER as TRIAL

threading.Thread(target=threading.Event().wait, daemon=True).start()

PROVIDER = dataclasses.replace(TRIAL, name="trial-unfit")
