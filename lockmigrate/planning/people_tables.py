"""Time zones, groups and unlock combinations: what becomes of the backup's, and whom on the target that would touch.

People who stay on the target rest on its tables. Beside other people (`merge`) no table is changed that anybody rests
on. Otherwise only those stay whose records are the backup's own; but tables are changed one after the other, and the
line may be lost behind each of them, so each step is held against what these people may do by the target as it was, and
by the backup.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lockmigrate.model.results import WRITTEN, RecordResult
from lockmigrate.model.steps import Step
from lockmigrate.planning.doors import (
    Doors,
    Member,
    TableKind,
    WeekOrGroups,
    content_of,
    factory,
    kind_of,
    more,
    tables_of,
)
from lockmigrate.planning.people_parts import SKIP_ONLY, Scene


@dataclass(frozen=True, slots=True)
class Resident:
    """People of the target who stay, and who are alike in what they may do."""

    member: Member
    uids: tuple[int, ...]


class Tables:
    """Works out what becomes of the tables, and how the target's are in the end."""

    def __init__(self, scene: Scene, residents: Iterable[Resident]) -> None:
        self._scene = scene
        self._residents = list(residents)
        self.mine = Doors.of(scene.source)
        """The backup's tables."""
        self.before = Doors.of(scene.target)
        self._used = {
            item.key for item in tables_of(scene.target) if item.raw and not item.vendor.get("zk", {}).get("default")
        }
        self.now = self.before
        """The target's tables behind the steps so far."""
        self.steps: list[Step] = []
        self.linked = bool(self._residents)
        """Whether a step must not happen if one before it did not: people are watching."""
        self.unsettled: set[int] = set()
        """Numbers of equal users who cannot stay while tables change: they are taken away first and written again."""

    def work(self) -> None:
        """Judge the backup's tables, then find what is left of the target's."""
        for item in tables_of(self._scene.source):
            self._scene.outcomes[item.key] = self._judge(item)
        if self._scene.policy.existing == "replace":
            for item in self.surplus:
                self._reset(item)

    @property
    def surplus(self) -> list[WeekOrGroups]:
        """Tables of the target that are not as from the factory, and that the backup says nothing of."""
        return [
            item
            for item in tables_of(self._scene.target)
            if item.key in self._used and item.key not in self._scene.outcomes
        ]

    def _judge(self, item: WeekOrGroups) -> RecordResult:
        scene, kind, number = self._scene, kind_of(item), int(item.origin["number"])
        result = RecordResult(key=item.key, kind=kind, outcome="copy")
        if not item.raw:
            return _skipped(result, "zone-table-unknown")
        if not self.before.knows(kind):
            return _skipped(result, "schedule-unsupported")
        content = content_of(scene.source, item)
        there = self.before.content(kind, number)
        if there == content:
            return _done(result)
        after = self.now.put(kind, number, content)
        harmed = self._harmed(kind, number, after)
        used = item.key in self._used
        if harmed and scene.merging:
            detail = f"the target's table of this number says something else, and {_people(harmed)} on it there"
            return scene.ask(result, "capacity", detail, SKIP_ONLY)
        if used and item.key not in scene.unconfirmed:
            if scene.merging:
                result = scene.ask(result, "capacity", "the target's table of this number says something else")
                if result.outcome not in WRITTEN:
                    return result
            scene.draft.overwrites.append(item.key)
        self._let_go(harmed)
        self._step(item, after, "put", scene.source.bytes_of(item.raw[0]), was_empty=not used)
        return result

    def _reset(self, item: WeekOrGroups) -> None:
        kind, number = kind_of(item), int(item.origin["number"])
        after = self.now.put(kind, number, factory(kind, number))
        self._let_go(self._harmed(kind, number, after))
        self._step(item, after, "remove", None, was_empty=False)

    def _step(self, item: WeekOrGroups, after: Doors, action: Any, value: bytes | None, *, was_empty: bool) -> None:
        self.now = after
        origin = {"number": int(item.origin["number"])}
        kind: TableKind = kind_of(item)
        self.steps.append(Step(key=item.key, kind=kind, action=action, origin=origin, value=value, was_empty=was_empty))

    def _harmed(self, kind: TableKind, number: int, after: Doors) -> list[Resident]:
        """Find whom a change would touch: beside others everybody, else whose rights it would make grow meanwhile."""
        return [
            resident
            for resident in self._residents
            if (self.now.rests(resident.member, kind, number) or after.rests(resident.member, kind, number))
            and (self._scene.merging or self._grows(resident.member, after))
        ]

    def _grows(self, member: Member, after: Doors) -> bool:
        new = after.right(member)
        return bool(more(new, self.before.right(member)) and more(new, self.mine.right(member)))

    def _let_go(self, harmed: list[Resident]) -> None:
        self._residents = [resident for resident in self._residents if resident not in harmed]
        self.unsettled |= {uid for resident in harmed for uid in resident.uids}


def _is_factory_made(item: WeekOrGroups) -> bool:
    return bool(item.vendor.get("zk", {}).get("default"))


def _skipped(result: RecordResult, reason: str) -> RecordResult:
    return RecordResult(key=result.key, kind=result.kind, outcome="skip", reasons=(reason,))


def _done(result: RecordResult) -> RecordResult:
    return RecordResult(key=result.key, kind=result.kind, outcome="copy", done=True, proof="V4")


def _people(harmed: list[Resident]) -> str:
    count = sum(len(resident.uids) for resident in harmed)
    return "one user rests" if count == 1 else f"{count} users rest"
