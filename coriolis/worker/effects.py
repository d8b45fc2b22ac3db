# SPDX-License-Identifier: Apache-2.0
"""The effects ledger as an attempt sees it: written before a thing is made, after it is made, after it is removed."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable

from coriolis.domain.effects import key_of
from coriolis.domain.errors import Stale
from coriolis.domain.model import EffectState, Json
from coriolis.providers.api import ProviderError
from coriolis.rpc.messages import Attempt, Effect, EffectAck, EffectWrite

_LOG = logging.getLogger(__name__)

Write = Callable[[EffectWrite], EffectAck]
Make = Callable[[str], Json]  # key -> reference
Remove = Callable[[Json, str], None]  # reference or None, key; content when there is nothing


class Ledger:
    """The effects of one task, for one attempt of it. Safe to use from several threads. ``write`` asks the conductor
    and blocks until the answer is there. The rules of keys and adoption: ``domain.effects``. ``new_keys``: those that
    nobody has made anything with yet."""

    def __init__(self, attempt: Attempt, known: Iterable[Effect], write: Write, owner: str | None = None) -> None:
        self._attempt, self._write, self._owner = attempt, write, owner
        self._lock = threading.Lock()
        self.new_keys: set[str] = set()
        self._known = {effect.key: effect for effect in known}

    def known(self, name: str) -> Effect | None:
        """What stands under that name and is not gone; what is live before what is intended before what is doubtful."""
        mine = [e for e in self._known.values() if e.name == name and e.state != EffectState.GONE]
        return min(mine, key=lambda e: (e.state != EffectState.LIVE, e.doubtful), default=None)

    def ensure(self, kind: str, name: str, make: Make, remove: Remove) -> Json:
        """The reference of the thing ``name``, which is made unless an earlier attempt did.

        :raises Stale: the task is not ours any more; what was made just now is removed again
        """
        found = self.known(name)
        if found is not None and found.state == EffectState.LIVE:
            return found.ref
        self._make_room(name, remove)
        if found is not None and not found.doubtful:
            key = found.key
            self.new_keys.discard(key)
        else:
            key = key_of(self._attempt.task_id, name, self._attempt.epoch)
            if key not in self._known:
                self.new_keys.add(key)
        intended = Effect(key=key, kind=kind, name=name, state=EffectState.INTENDED.value)
        self._demand(intended)
        ref = make(key)
        live = dataclasses.replace(intended, state=EffectState.LIVE.value, ref=ref)
        ack = self._ask(live)
        if not ack.accepted:
            # Live in the ledger: the write was taken in before, its answer was lost, and a later attempt may use it.
            if ack.effect is None or ack.effect.state != EffectState.LIVE:
                remove(ref, key)
            raise _stale(name)
        return ref

    def _make_room(self, name: str, remove: Remove) -> None:
        """Removes what attempts that were cut off may have made under the name: there may be no room for two, of a MAC
        address or in a quota. That settles nothing, since a late request may make it yet; where it fails, it is left
        to whoever settles it."""
        for effect in list(self._known.values()):
            if effect.name == name and effect.doubtful and effect.state != EffectState.GONE:
                try:
                    remove(effect.ref, effect.key)
                except ProviderError as error:
                    _LOG.warning("%s of an earlier attempt is not removed yet: %s", name, error.message)

    def switch(self, kind: str, name: str, act: Callable[[], Json], intent: Json) -> Json:
        """Changes the state of something that exists (its power); ``act`` may be repeated, and gives what the ledger
        shall hold. ``intent`` is what an undo needs to know, should this attempt not live to say more. An earlier
        attempt's note is taken over even when it is in doubt, and nothing is taken back here when the task is lost:
        the undo does that, and a newer attempt may be at the same thing.

        :raises Stale: the task is not ours any more
        """
        found = self.known(name)
        if found is not None and found.state == EffectState.LIVE:
            return found.ref
        key = found.key if found is not None else key_of(self._attempt.task_id, name, self._attempt.epoch)
        intended = Effect(key=key, kind=kind, name=name, state=EffectState.INTENDED.value, ref=intent)
        self._demand(intended)
        ref = act()
        self._demand(dataclasses.replace(intended, state=EffectState.LIVE.value, ref=ref))
        return ref

    def remove(self, effect: Effect, remove: Remove) -> None:
        """Removes the thing and says so. What this task itself has made is announced as doomed before: when the task
        is not ours any more, somebody else may be using it.

        :raises Stale: the task is not ours any more
        """
        if self._owner is None and effect.owner is None:
            self._demand(dataclasses.replace(effect, state=EffectState.INTENDED.value), doomed=True)
        remove(effect.ref, effect.key)
        self._demand(dataclasses.replace(effect, state=EffectState.GONE.value))

    def remove_named(self, name: str, remove: Remove) -> None:
        """The same by name; content when nothing is known under it."""
        effect = self.known(name)
        if effect is not None:
            self.remove(effect, remove)

    def _demand(self, effect: Effect, *, doomed: bool = False) -> None:
        if not self._ask(effect, doomed=doomed).accepted:
            raise _stale(effect.name)

    def _ask(self, effect: Effect, *, doomed: bool = False) -> EffectAck:
        write = EffectWrite(attempt=self._attempt, effect=effect, owner=effect.owner or self._owner, doomed=doomed)
        ack = self._write(write)
        if ack.accepted:
            with self._lock:
                self._known[effect.key] = effect
        return ack


def _stale(name: str) -> Stale:
    return Stale(f"{name}: the task belongs to another attempt by now")
