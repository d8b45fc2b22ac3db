# SPDX-License-Identifier: Apache-2.0
"""The small parts of the worker by themselves."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis import dataplane
from coriolis.dataplane.journal import Journal
from coriolis.domain.errors import Invalid, Stale, Unavailable
from coriolis.providers import api
from coriolis.rpc.messages import Assign, Attempt, Progress
from coriolis.worker import classify, host, journals, sequence
from coriolis.worker.channel import LINE_BYTES, Lines
from coriolis.worker.effects import Ledger
from coriolis.worker.job import Job
from coriolis.worker.kinds import KINDS, copy
from coriolis.worker.reporter import Reporter
from coriolis.worker.sequence import FanOut, Step
from coriolis.worker.settings import WorkerSettings

# ---- reporter


def test_only_the_latest_progress_of_an_item_is_sent_and_only_once() -> None:
    reporter = Reporter("t", 3)
    reporter.progress(Progress(item="a", done=1, total=9))
    reporter.progress(Progress(item="a", done=2, total=9))
    reporter.progress(Progress(item="b", done=5, total=9))
    collected = reporter.collect()
    assert [(p.item, p.done) for p in collected.report.progress] == [("a", 2), ("b", 5)]
    assert (collected.report.task_id, collected.report.epoch) == ("t", 3)
    reporter.confirm(collected)
    assert reporter.collect().report.progress == ()


def test_what_was_not_confirmed_comes_again_and_what_came_meanwhile_stays() -> None:
    reporter = Reporter("t", 1)
    reporter.progress(Progress(item="a", done=1))
    reporter.event("INFO", "one")
    reporter.checkpoint({"done": 1})
    first = reporter.collect()
    reporter.progress(Progress(item="a", done=2))
    reporter.event("INFO", "two")
    reporter.checkpoint({"done": 2})
    again = reporter.collect().report
    assert [e.message for e in again.events] == ["one", "two"]
    reporter.confirm(first)
    rest = reporter.collect().report
    assert [p.done for p in rest.progress] == [2]
    assert [(e.seq, e.message) for e in rest.events] == [(2, "two")]
    assert rest.checkpoint == {"done": 2}


def test_events_are_sent_in_portions_and_the_oldest_of_too_many_are_lost() -> None:
    reporter = Reporter("t", 1)
    for number in range(1500):
        reporter.event("INFO", str(number))
    seen = []
    while events := (collected := reporter.collect()).report.events:
        assert len(events) <= 200
        seen += [event.message for event in events]
        reporter.confirm(collected)
    assert seen == [str(number) for number in range(500, 1500)]


# ---- journals


@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=5, unique=True))
def test_any_name_has_its_own_place_below_the_root(names: list[str]) -> None:
    root = journals.root(Path("/state"))
    places = [journals.journal(Path("/state"), "e", name, name, name) for name in names]
    places += [journals.journal(Path("/state"), "e", name, name, name, era=1) for name in names]
    assert len(set(places)) == 2 * len(names)
    for place in places:
        assert Path(os.path.normpath(place)).is_relative_to(root / "e")
        assert all(len(os.fsencode(part)) <= 200 and part not in (".", "..") for part in place.parts[1:])


def test_journals_go_with_their_instance_and_the_empty_folder_after(tmp_path: Path) -> None:
    for instance in ("a/b", "c"):
        path = journals.journal(tmp_path, "e", instance, "disk", "v")
        path.parent.mkdir(parents=True)
        path.touch()
    journals.forget_instance(tmp_path, "e", "a/b")
    assert not journals.instance_folder(tmp_path, "e", "a/b").exists()
    assert journals.journal(tmp_path, "e", "c", "disk", "v").exists()
    journals.forget_instance(tmp_path, "e", "c")
    journals.forget_instance(tmp_path, "e", "c")
    assert list(journals.root(tmp_path).iterdir()) == []


def test_the_janitor_takes_what_nobody_wrote_for_long(tmp_path: Path) -> None:
    for execution, age in (("old", 100), ("young", 1000)):
        path = journals.journal(tmp_path, execution, "vm", "disk", "v")
        path.parent.mkdir(parents=True)
        path.touch()
        for each in (path, *path.parents[:2]):
            os.utime(each, (age, age))
    assert journals.sweep(tmp_path, 500) == ["old"]
    assert journals.journal(tmp_path, "young", "vm", "disk", "v").exists()


def test_a_clock_that_jumps_does_not_take_the_journal_of_a_running_copy(tmp_path: Path) -> None:
    path = journals.journal(tmp_path, "e", "vm", "disk", "v")
    book = Journal.open(path, size=1 << 20, epoch=1)
    far = time.time() + 1e9
    assert journals.sweep(tmp_path, far) == []
    book.close()
    assert journals.sweep(tmp_path, far) == ["e"]


# ---- what a copy may take


@pytest.mark.parametrize(("slots", "window"), [(1, 64), (8, 64), (32, 16), (512, 6)])
def test_the_copies_of_a_worker_share_its_memory(tmp_path: Path, slots: int, window: int) -> None:
    settings = WorkerSettings(host="h", state_path=tmp_path, slots=slots, copy_memory_mib=512, copy_requests=6)
    chosen = copy.options(job(tmp_path, settings))
    assert chosen.window == window
    assert slots * chosen.window <= 512 or chosen.window == chosen.requests == 6


def job(scratch: Path, settings: WorkerSettings) -> Job:
    attempt = Attempt(task_id="t", epoch=1, session_id="s")
    assign = Assign(attempt=attempt, execution_id="e", project_id="p", instance="vm", kind="copy", name="copy")
    context = api.Context(log=logging.getLogger("test"), scratch=scratch)

    def never(*_words: Any) -> Any:
        raise AssertionError("it is not asked")

    ledger = Ledger(attempt, (), never)
    return Job(
        assign=assign, settings=settings, context=context, ledger=ledger, connect=never, checkpoint=never, ask=never
    )


@pytest.mark.parametrize(
    ("attempt", "mirrored", "there", "written"),
    [(1, False, False, False), (2, False, False, True), (2, False, True, False), (2, True, False, False)],
)
def test_whoever_has_lost_the_journal_takes_the_volume_for_written(
    tmp_path: Path, attempt: int, mirrored: bool, there: bool, written: bool
) -> None:
    made = job(tmp_path, WorkerSettings(host="h", state_path=tmp_path, mirror_journals=mirrored))
    again = dataclasses.replace(made.assign.attempt, epoch=attempt)
    made = dataclasses.replace(made, assign=dataclasses.replace(made.assign, attempt=again, item="disk"))
    volume = api.Volume(disk_id="disk", ref="v", size_bytes=1)
    if there:
        made.journal(volume).parent.mkdir(parents=True)
        made.journal(volume).touch()
    assert copy._was_written(made, volume) is written


# ---- classes of errors


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (api.Unavailable("x"), "provider.unavailable", True),
        (api.Invalid("x"), "provider.invalid", False),
        (dataplane.NoSpace("x"), "data.no_space", False),
        (dataplane.SinkError("x"), "data.target", True),
        (dataplane.SourceShrank("x"), "data.source_shrank", False),
        (dataplane.SourceError("x"), "data.source", True),
        (dataplane.UnsafeImage("x"), "data.unsafe_image", False),
        (dataplane.JournalBusy("x"), "data.journal_busy", True),
        (dataplane.StaleEpoch("x"), "data.journal", False),
        (dataplane.Mismatch("x"), "data.mismatch", False),
        (Invalid("x"), "coriolis.invalid", False),
        (Unavailable("x"), "coriolis.unavailable", True),
    ],
)
def test_each_error_has_a_code_and_keeps_its_words(error: Exception, code: str, retryable: bool) -> None:
    found = classify.classify(error)
    assert (found.code, found.retryable, found.message) == (code, retryable, "x")


def test_every_error_of_the_data_plane_has_a_class() -> None:
    def all_of(kind: type) -> list[type]:
        return [kind, *(below for child in kind.__subclasses__() for below in all_of(child))]

    for kind in all_of(dataplane.DataplaneError):
        assert classify.classify(kind("x")).code.startswith("data.")


def test_a_bug_keeps_its_words_to_itself() -> None:
    found = classify.classify(KeyError("hunter2"))
    assert (found.code, found.retryable) == ("task.bug", False)
    assert "hunter2" not in found.message


def test_who_may_revert() -> None:
    assert host.may_revert(api.Invalid("x"))
    assert host.may_revert(KeyError("x"))
    for error in (api.Unavailable("x"), api.Cancelled(), dataplane.Cancelled("x"), Stale("x"), host.Terminated()):
        assert not host.may_revert(error)


# ---- sequence


def step(name: str, log: list[str], error: Exception | None = None, gives: str | None = None) -> Step:
    def run(results: dict[str, Any]) -> str:
        if error is not None:
            raise error
        log.append(name)
        return name

    return Step(name=name, run=run, revert=lambda result: log.append(f"un{result}"), gives=gives)


@pytest.mark.parametrize("threads", [1, 4])
def test_steps_run_in_order_and_revert_backwards(threads: int) -> None:
    log: list[str] = []
    parts = [
        step("a", log, gives="out"),
        FanOut(name="fan", steps=tuple(step(f"f{n}", log) for n in range(3)), threads=threads),
        step("z", log, error=ValueError("no")),
    ]
    with pytest.raises(ValueError, match="no"):
        sequence.run(parts, lambda error: True)
    assert log[0] == "a"
    assert sorted(log[1:4]) == ["f0", "f1", "f2"]
    assert sorted(log[4:7]) == ["unf0", "unf1", "unf2"]
    assert log[7:] == ["una"]
    log.clear()
    assert sequence.run(parts[:2], lambda error: True) == {"out": "a"}


def test_nothing_is_reverted_when_it_must_not() -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match="no"):
        sequence.run([step("a", log), step("b", log, error=ValueError("no"))], lambda error: False)
    assert log == ["a"]


def test_a_revert_that_fails_does_not_hide_the_error() -> None:
    def bad(result: Any) -> None:
        raise RuntimeError("revert")

    log: list[str] = []
    parts = [step("a", log), Step(name="b", run=lambda results: 1, revert=bad), step("c", log, error=ValueError("no"))]
    with pytest.raises(ValueError, match="no"):
        sequence.run(parts, lambda error: True)
    assert log == ["a", "una"]


def test_several_failures_of_a_fan_out_are_one() -> None:
    log: list[str] = []
    fan = FanOut(name="fan", steps=tuple(step(f"f{n}", log, error=ValueError("no")) for n in range(3)), threads=3)
    with pytest.raises(ValueError, match="no"):
        sequence.run([fan], lambda error: True)


# ---- channel, fence, kinds


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=5), st.integers(1, 50))
def test_lines_survive_any_cut(messages: list[dict[str, str]], size: int) -> None:
    data = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    lines = Lines()
    got = [m for at in range(0, len(data), size) for m in lines.feed(data[at : at + size])]
    assert got == messages


def test_an_endless_line_is_refused() -> None:
    lines = Lines()
    for _ in range(LINE_BYTES >> 20):
        assert list(lines.feed(b"x" * (1 << 20))) == []
    with pytest.raises(ValueError, match="too long"):
        list(lines.feed(b"x"))


def test_a_later_task_is_never_fenced_by_the_epochs_of_an_earlier_one() -> None:
    def assign(order: int, epoch: int) -> Assign:
        return Assign(
            attempt=Attempt(task_id="t", epoch=epoch, session_id="s"),
            execution_id="e",
            project_id="p",
            instance="i",
            kind="copy",
            name="copy",
            order=order,
        )

    fences = [host.fence(assign(order, epoch)) for order in (6, 9) for epoch in (1, 2, 1000)]
    assert fences == sorted(set(fences))


def test_every_kind_of_the_recipes_is_known() -> None:
    from coriolis.domain.recipes.book import RECIPES

    wanted = set()
    for recipe in RECIPES.values():
        for line in recipe.steps:
            wanted |= {line.kind} | {removal.kind for removal in (line.undo, line.cleanup) if removal is not None}
    assert wanted == set(KINDS)
