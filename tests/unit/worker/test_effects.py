# SPDX-License-Identifier: Apache-2.0
"""Things are in the ledger before they exist, and are taken back exactly when they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coriolis.domain.codec import to_json
from coriolis.domain.effects import key_of
from coriolis.providers.api import Layout, PlannedDisk
from coriolis.rpc.messages import Effect


def layout(*disks: str, **properties: Any) -> dict[str, Any]:
    """The last disk has the properties."""
    planned = [PlannedDisk(disk_id=disk, size_bytes=1 << 20) for disk in disks[:-1]]
    planned.append(PlannedDisk(disk_id=disks[-1], size_bytes=1 << 20, properties=properties))
    return to_json(Layout(name="vm", disks=tuple(planned)))


def make(bench: Any, disks: dict[str, Any], **changes: Any) -> Any:
    task = bench.assign("vm", task_id="volumes", kind="volumes", inputs={"layout": disks}, **changes)
    return bench.conductor.result_of(task)


def names(made: Path) -> list[str]:
    return sorted(path.read_text() for path in made.iterdir())


def states(bench: Any) -> list[tuple[str, str]]:
    return [(write.effect.name, write.effect.state) for write in bench.conductor.writes]


def test_each_thing_is_noted_before_and_after(bench: Any, made: Path) -> None:
    result = make(bench, layout("a", "b"))
    assert result.outcome == "completed"
    assert [volume["disk_id"] for volume in result.outputs["volumes"]] == ["a", "b"]
    assert names(made) == ["a", "b"]
    assert sorted(states(bench)) == sorted((f"volume/{d}", s) for d in "ab" for s in ("intended", "live"))
    live = [w.effect for w in bench.conductor.writes if w.effect.state == "live" and w.effect.name == "volume/a"]
    assert live[0].ref["ref"] == live[0].key == key_of("volumes", "volume/a", 1)


def test_all_or_nothing_after_a_permanent_failure(bench: Any, made: Path) -> None:
    result = make(bench, layout("a", "b", "c", refuse=True))
    assert (result.outcome, result.error.code) == ("failed", "provider.invalid")
    assert names(made) == []
    assert ("volume/a", "gone") in states(bench)
    assert ("volume/b", "gone") in states(bench)


def test_a_retryable_failure_keeps_what_the_next_attempt_walks_over(bench: Any, made: Path) -> None:
    result = make(bench, layout("a", "b", away=True))
    assert result.error.retryable
    assert names(made) == ["a"]
    kept = tuple(bench.conductor.effects.values())
    bench.conductor.results.clear()
    bench.conductor.writes.clear()
    again = make(bench, layout("a", "b"), epoch=2, effects=kept)
    assert again.outcome == "completed"
    assert names(made) == ["a", "b"]
    # The live one was not even touched; the intended one was taken over under its own key.
    assert states(bench) == [("volume/b", "intended"), ("volume/b", "live")]
    assert bench.conductor.writes[0].effect.key == key_of("volumes", "volume/b", 1)


def test_what_is_in_doubt_is_not_adopted(bench: Any, made: Path) -> None:
    doubtful = Effect(key="old", kind="volume", name="volume/a", state="intended", doubtful=True)
    make(bench, layout("a"), epoch=3, effects=(doubtful,))
    assert {write.effect.key for write in bench.conductor.writes} == {key_of("volumes", "volume/a", 3)}


def test_what_is_in_doubt_makes_room_and_stays_in_doubt(bench: Any, made: Path) -> None:
    """There may be no room for two. The ledger still has it: it may be made late."""
    left = [
        Effect(key=key, kind="volume", name="volume/a", state="intended", doubtful=True) for key in ("first", "second")
    ]
    other = Effect(key="other", kind="volume", name="volume/b", state="intended", doubtful=True)
    for effect in (*left, other):
        (made / effect.key).write_text(effect.key)
    make(bench, layout("a"), epoch=3, effects=(*left, other))
    assert names(made) == ["a", "other"]
    assert states(bench) == [("volume/a", "intended"), ("volume/a", "live")]


def test_nothing_is_made_when_the_intention_is_refused(bench: Any, made: Path) -> None:
    bench.conductor.accept_effect = lambda write: False
    bench.assign("vm", task_id="volumes", kind="volumes", inputs={"layout": layout("a")})
    bench.conductor.wait(lambda: bench.conductor.writes)
    plain = bench.assign("plain")
    bench.conductor.result_of(plain)
    assert names(made) == []
    assert [r.attempt.task_id for r in bench.conductor.results] == [plain]  # a stale attempt says nothing


def test_what_was_just_made_is_removed_when_the_task_was_lost_meanwhile(bench: Any, made: Path) -> None:
    seen: list[list[str]] = []

    def accept(write: Any) -> bool:
        if write.effect.name == "volume/b" and write.effect.state == "live":
            seen.append(names(made))
            return False
        return True

    bench.conductor.accept_effect = accept
    bench.assign("vm", task_id="volumes", kind="volumes", inputs={"layout": layout("a", "b")})
    bench.conductor.wait(lambda: seen)
    for running in bench.service._all():
        assert running.wait(20)
    assert seen == [["a", "b"]]
    assert names(made) == ["a"]  # it belongs to the new owner now
    assert bench.conductor.results == []


def test_undo_removes_what_the_ledger_has_youngest_first(bench: Any, made: Path) -> None:
    make(bench, layout("a", "b"))
    effects = tuple(bench.conductor.effects.values())
    unanswered = Effect(key="never-answered", kind="volume", name="volume/c", state="intended")
    (made / "never-answered").write_text("c")
    bench.conductor.writes.clear()
    maker = {"maker": "volumes"}
    task = bench.assign("vm", task_id="undo", kind="undo_volumes", effects=(*effects, unanswered), params=maker)
    assert bench.conductor.result_of(task).outcome == "completed"
    assert names(made) == []
    assert states(bench) == [("volume/c", "gone"), ("volume/b", "gone"), ("volume/a", "gone")]
    assert {write.owner for write in bench.conductor.writes} == {"volumes"}
