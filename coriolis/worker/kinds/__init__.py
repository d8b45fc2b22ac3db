# SPDX-License-Identifier: Apache-2.0
"""The task kinds: what each kind of task calls, in which order. A kind is a function from a job to its steps.

To add one, write a module with such a function and enter it in ``KINDS``; a recipe step names it as its ``kind``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coriolis.worker.job import Job
from coriolis.worker.kinds import (
    check_source,
    clone,
    copy,
    deploy,
    finalize,
    inspect,
    minions,
    plan,
    removal,
    shutdown,
    snapshot,
    take_up,
    tidy,
    verify,
    volumes,
)
from coriolis.worker.sequence import FanOut, Step

Kind = Callable[[Job], Sequence[Step | FanOut]]

KINDS: dict[str, Kind] = {
    "inspect": inspect.steps,
    "check_source": check_source.steps,
    "plan": plan.steps,
    "volumes": volumes.steps,
    "shutdown": shutdown.steps,
    "snapshot": snapshot.steps,
    "copy": copy.steps,
    "verify": verify.steps,
    "deploy": deploy.steps,
    "finalize": finalize.steps,
    "take_up": take_up.steps,
    "clone": clone.steps,
    "tidy_source": tidy.source,
    "tidy_destination": tidy.destination,
    "delete_kept": removal.steps,
    "ready_minion": minions.ready,
    "power_off_minion": minions.power_off,
    "undo_minion": removal.steps,
    "undo_volumes": removal.steps,
    "undo_shutdown": removal.steps,
    "undo_deploy": removal.steps,
    "undo_finalize": removal.steps,
    "delete_snapshot": removal.steps,
}
