"""Timers of locks that know codes and no people (Nuki): at this local hour on these days, do this."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import LockSchedule
from lockmigrate.model.results import RecordResult
from lockmigrate.model.steps import Step
from lockmigrate.planning.codes_settings import CodeSettings
from lockmigrate.planning.draft import StepId
from lockmigrate.planning.policy import Policy, decided, overridden

LOCK: Final = 2
"""What a timer that shall be off does until it is (`protocols.nuki_timers`)."""


def whole(snapshot: Snapshot, item: LockSchedule) -> bytes:
    """What a timer is but for its number: whether it is on, days, hour, minute, action."""
    raw = snapshot.bytes_of(item.raw[0])
    return bytes([bool(raw[1]), *raw[2:]])


class CodeTimers:
    """Works out what becomes of timers; a lock may hold the same one twice.

    Args:
        source: the backup.
        target: the new lock as it is now.
        policy: what was decided.
        unconfirmed: keys that an interrupted restore started and did not confirm.
        settings: what becomes of the time zone.
        other_door: the backup is of an Opener and the target is none.
    """

    def __init__(
        self,
        source: Snapshot,
        target: Snapshot,
        policy: Policy,
        unconfirmed: frozenset[str],
        settings: CodeSettings,
        *,
        other_door: bool,
    ) -> None:
        self._source, self._policy, self._unconfirmed = source, policy, unconfirmed
        self._settings, self._other_door = settings, other_door
        coverage = target.coverage.get("lock_schedules")
        self._silent = coverage is not None and coverage.state == "unsupported"
        self._left = list(target.lock_schedules)
        self._wholes = {
            id(item): whole(snapshot, item) for snapshot in (source, target) for item in snapshot.lock_schedules
        }
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.overwrites: list[str] = []
        self.needs: dict[StepId, tuple[StepId, ...]] = {}

    def work(self) -> None:
        """Fill `records`, `steps` and `needs`; whole matches go first, so that a half one takes nobody's place."""
        judged = {item.key: self._judge(item) for item in self._source.lock_schedules}
        todo = [item for item in self._source.lock_schedules if judged[item.key].outcome == "copy"]
        done = {item.key for item in todo if self._take(item, on=True) is not None}
        for item in self._source.lock_schedules:
            result = judged[item.key]
            if item.key in done:
                result = replace(result, done=True, proof="V4")
            elif result.outcome == "copy":
                self._put(item)
            if result.outcome == "copy":
                self.needs["put", item.key] = self._settings.zone_steps
            self.records.append(result)

    def _judge(self, item: LockSchedule) -> RecordResult:
        """Say what becomes of a timer that the target does not hold yet."""
        result = RecordResult(key=item.key, kind="lock_schedule", outcome="copy")
        if self._other_door:
            why = "an action of an Opener is another thing for a lock"
            refused = replace(result, outcome="refuse", reasons=("other-family",), detail=why)
            return replace(refused, outcome="skip") if overridden(refused, self._policy) == "skip" else refused
        if self._silent:
            why = "the new lock does not answer when it is asked for timers"
            asked = replace(result, outcome="needs_input", reasons=("schedule-unsupported",), detail=why)
            return asked if decided(asked, self._policy, ("skip",)) is None else replace(asked, outcome="skip")
        if self._settings.zone_open:
            why = "it goes by local hours, and the new lock's time zone cannot be made that of the old one"
            refused = replace(result, outcome="refuse", reasons=("zone-differs",), detail=why)
            choice = overridden(refused, self._policy)
            return refused if choice is None else replace(refused, outcome="skip" if choice == "skip" else "copy")
        return result

    def _put(self, item: LockSchedule) -> None:
        torn = item.key in self._unconfirmed
        there = self._take(item, on=False, torn=torn) if torn or self._policy.existing != "merge" else None
        if there is not None and not torn:
            self.overwrites.append(there.key)
        self.steps.append(
            Step(
                key=item.key,
                kind="lock_schedule",
                action="put",
                origin={} if there is None else dict(there.origin),
                value=self._source.bytes_of(item.raw[0]),
                was_empty=there is None or torn,
            )
        )

    def _take(self, item: LockSchedule, *, on: bool, torn: bool = False) -> LockSchedule | None:
        """Take a timer of the target that does the same at the same time; `on`: and is on or off as this one.

        `torn`: or one that locks at that time, which is what one that shall be off begins as.
        """
        mine = self._wholes[id(item)]
        shut = bytes([*mine[1:4], LOCK])
        for there in self._left:
            theirs = self._wholes[id(there)]
            if theirs == mine or (not on and theirs[1:] == mine[1:]) or (torn and not mine[0] and theirs[1:] == shut):
                self._left.remove(there)
                return there
        return None

    @property
    def existing(self) -> list[str]:
        """Timers on the target that the plan would not write, or would switch."""
        return [*(item.key for item in self._left), *self.overwrites]

    @property
    def surplus(self) -> list[str]:
        return [item.key for item in self._left]

    def removal_steps(self) -> list[Step]:
        """Steps that take the surplus away."""
        return [
            Step(
                key=item.key,
                kind="lock_schedule",
                action="remove",
                origin=dict(item.origin),
                value=bytes([0, *self._wholes[id(item)]]),
                was_empty=False,
            )
            for item in self._left
        ]
