# SPDX-License-Identifier: Apache-2.0
"""Scripted failures of the fake cloud.

A script is a list of rules, ``CALL[@WHEN][:POINT]=KIND[(SECONDS)]``, separated by semicolons::

    volumes.create@2=unavailable          the second call fails before it does anything
    volumes.create@1:middle=crash         the first call dies with half a volume made
    compute.start:after=unavailable       every call does its work, and the answer is lost
    snapshots.create@3+=slow(0.5)         from the third call on, half a second late
    inventory.list_instances@*=hang       until cancelled

WHEN: a number, a number with ``+``, or ``*`` (the default). POINT: before (the default), middle or after. Calls are
counted over all processes that ever used the cloud.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from coriolis.providers.api import Cancelled, Conflict, Context, Gone, Invalid, ProviderError, Unauthorized, Unavailable

CALLS = (
    "check",
    "inventory.list_instances",
    "options.list_options",
    "inventory.get_instance",
    "networks.list_networks",
    "storage.list_storage",
    "planning.check_source",
    "planning.plan",
    "snapshots.create",
    "snapshots.delete",
    "read_blocks.open_source",
    "write_blocks.open_sink",
    "volumes.create",
    "volumes.delete",
    "minions.create",
    "minions.check",
    "minions.stop",
    "minions.delete",
    "compute.create",
    "compute.delete",
    "compute.is_running",
    "compute.start",
    "compute.stop",
)
POINTS = ("before", "middle", "after")
_ERRORS: dict[str, type[ProviderError]] = {
    "unavailable": Unavailable,
    "unauthorized": Unauthorized,
    "invalid": Invalid,
    "conflict": Conflict,
    "gone": Gone,
}
_RULE = re.compile(
    r"(?P<call>[a-z_.]+)(?:@(?P<when>\*|\d+\+?))?(?::(?P<point>[a-z]+))?=(?P<kind>[a-z]+)(?:\((?P<seconds>[\d.]+)\))?"
)
_HANG_STEP_SECONDS = 0.05


class Bug(Exception):
    """What a provider with a bug would raise."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``first`` and ``last``: the calls that it meets, counted from 1."""

    call: str
    point: str
    kind: str
    first: int = 1
    last: int | None = None
    seconds: float = 0.0

    def meets(self, call: str, number: int, point: str) -> bool:
        in_range = self.first <= number and (self.last is None or number <= self.last)
        return self.call == call and self.point == point and in_range


class Reached(Protocol):
    def __call__(self, point: str) -> None: ...


def parse(script: str) -> tuple[Rule, ...]:
    """:raises Invalid: not such a script; names the rule"""
    return tuple(_rule(words.strip()) for words in script.split(";") if words.strip())


def _rule(words: str) -> Rule:
    match = _RULE.fullmatch(words)
    known = match is not None and match["call"] in CALLS and (match["point"] or "before") in POINTS
    if match is None or not known or match["kind"] not in _KINDS:
        raise Invalid(f"faults: {words!r} is not a rule of the form CALL@WHEN:POINT=KIND.")
    when = match["when"] or "*"
    first = 1 if when == "*" else int(when.rstrip("+"))
    return Rule(
        call=match["call"],
        point=match["point"] or "before",
        kind=match["kind"],
        first=first,
        last=first if when.isdigit() else None,
        seconds=float(match["seconds"] or 0),
    )


class Faults:
    """``count``: notes a call and gives its number."""

    def __init__(self, script: str, count: Callable[[str], int]) -> None:
        self._rules = parse(script)
        self._count = count

    @contextlib.contextmanager
    def around(self, call: str, context: Context) -> Iterator[Reached]:
        """Wraps the work of one call; the block says when it is in the middle."""
        context.check_cancelled()
        number = self._count(call)

        def reached(point: str) -> None:
            for rule in self._rules:
                if rule.meets(call, number, point):
                    _KINDS[rule.kind](rule, context)

        reached("before")
        yield reached
        reached("after")


def _raise(rule: Rule, context: Context) -> None:
    raise _ERRORS[rule.kind](f"Scripted: {rule.call} is {rule.kind}.")


def _bug(rule: Rule, context: Context) -> None:
    raise Bug(f"Scripted: a bug in {rule.call}")


def _crash(rule: Rule, context: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _slow(rule: Rule, context: Context) -> None:
    if context.cancelled.wait(rule.seconds):
        raise Cancelled


def _hang(rule: Rule, context: Context) -> None:
    """Like a platform that does not answer: until cancelled, or until the deadline of the attempt."""
    while not context.cancelled.wait(_HANG_STEP_SECONDS):
        if context.deadline is not None and time.monotonic() > context.deadline:
            raise Unavailable(f"Scripted: {rule.call} did not answer in time.")
    raise Cancelled


_KINDS: dict[str, Callable[[Rule, Context], None]] = {
    **dict.fromkeys(_ERRORS, _raise),
    "bug": _bug,
    "crash": _crash,
    "slow": _slow,
    "hang": _hang,
}
