# SPDX-License-Identifier: Apache-2.0
"""Takes in the effects of attempts: intended before the creation, live after it, gone after the removal.

The key of a line belongs to one attempt; an attempt that takes over what an earlier one has left (``domain.effects``)
goes on with that one's key. Writes that come again or late change nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from coriolis.conductor.ingest import STALE
from coriolis.domain.effects import Effect
from coriolis.domain.model import EffectState
from coriolis.rpc import messages
from coriolis.rpc.messages import EffectAck, EffectWrite
from coriolis.store import effects, fence, tasks
from coriolis.store.engine import Database
from coriolis.store.fence import Owner


def write(db: Database, batch: Sequence[EffectWrite]) -> list[EffectAck]:
    """Answers in the same order. One transaction of at most six statements."""
    return db.write(_write, db, batch)


def _write(conn: Connection, db: Database, batch: Sequence[EffectWrite]) -> list[EffectAck]:
    now = db.utcnow()
    writers = [Owner(one.attempt.task_id, one.attempt.epoch, one.attempt.session_id) for one in batch]
    passed = fence.hold(conn, sorted(set(writers), key=lambda owner: owner.task_id), now)
    book = _Book(effects.of_tasks(conn, sorted({_owner(one) for one in batch})), now)
    acks = []
    for one, writer in zip(batch, writers, strict=True):
        if writer in passed:
            acks.append(EffectAck(accepted=True, effect=_wire(book.take(one))))
        else:
            STALE.labels("effect").inc()
            known = book.lines.get(one.effect.key)
            acks.append(EffectAck(accepted=False, effect=_wire(known) if known else None))
    if book.new:
        places = tasks.locate(conn, sorted({effect.owner for effect in book.new.values()}))
        effects.insert(conn, [(places[effect.owner], effect) for effect in book.new.values()], now)
    effects.update(conn, list(book.changed.values()), now)
    return acks


def _owner(one: EffectWrite) -> str:
    return one.owner or one.attempt.task_id


class _Book:
    """The lines of some tasks while a batch is taken in; what is new and what has changed."""

    def __init__(self, ledger: dict[str, list[Effect]], now: dt.datetime) -> None:
        self.lines = {effect.key: effect for lines in ledger.values() for effect in lines}
        self.now = now
        self.new: dict[str, Effect] = {}
        self.changed: dict[str, Effect] = {}

    def take(self, one: EffectWrite) -> Effect:
        """The line as it is after this write."""
        known = self.lines.get(one.effect.key)
        state = EffectState(one.effect.state)
        if known is None:
            return self._add(one, state)
        if one.doomed and known.state is EffectState.LIVE:
            return self._change(dataclasses.replace(known, state=EffectState.INTENDED, doubtful_until=self.now))
        if state is EffectState.GONE:
            return self._change(dataclasses.replace(known, state=state, removed_at=self.now))
        if state is EffectState.LIVE and known.state is not EffectState.GONE:
            return self._change(dataclasses.replace(known, state=state, ref=one.effect.ref))
        return known  # a message that comes again or late

    def _add(self, one: EffectWrite, state: EffectState) -> Effect:
        effect = Effect(
            key=one.effect.key,
            owner=_owner(one),
            kind=one.effect.kind,
            name=one.effect.name,
            epoch=one.attempt.epoch,
            state=state,
            ref=one.effect.ref,
            removed_at=self.now if state is EffectState.GONE else None,
        )
        self.lines[effect.key] = self.new[effect.key] = effect
        return effect

    def _change(self, effect: Effect) -> Effect:
        self.lines[effect.key] = effect
        if effect.key in self.new:
            self.new[effect.key] = effect
        else:
            self.changed[effect.key] = effect
        return effect


def _wire(effect: Effect) -> messages.Effect:
    return messages.Effect(
        key=effect.key,
        kind=effect.kind,
        name=effect.name,
        state=effect.state.value,
        ref=effect.ref,
        doubtful=effect.doubtful_until is not None,
    )
