"""Settings of locks that know codes and no people (Nuki), above all the time zone that hours of the day go by."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Setting
from lockmigrate.model.results import RecordResult
from lockmigrate.model.steps import Step
from lockmigrate.planning.draft import StepId
from lockmigrate.planning.policy import Policy, overridden

ZONE: Final = ("timezone_offset_min", "dst_mode", "timezone_id")
NO_ZONE: Final = 0xFFFF
"""Time zone id of a lock that goes by offset and summer time alone, as one does that has no such field (10.3)."""
CYLINDER: Final = ("unlocked_offset", "locked_offset", "single_locked_offset", "unlocked_to_locked_offset",
                   "detached_cylinder")  # fmt: skip
"""What `--with cylinder` moves: right only on the same door and cylinder."""
LAST: Final = "pairing_enabled"
"""What opens the lock to newcomers is written when all else is done (6.1)."""
_STAYING: Final = "codes or timers that stay on the new lock would keep other hours"


class CodeSettings:
    """Works out what becomes of settings.

    Args:
        source: the backup.
        target: the new lock as it is now.
        policy: what was decided.
        staying: something of the target's own that goes by local hours is to stay there.
    """

    def __init__(self, source: Snapshot, target: Snapshot, policy: Policy, *, staying: bool) -> None:
        self._source, self._policy, self._staying = source, policy, staying
        self._held = {item.key: item for item in target.settings}
        self.records: list[RecordResult] = []
        self.first: list[Step] = []
        self.last: list[Step] = []

    def work(self) -> None:
        """Fill `records`, `first` and `last`."""
        for item in sorted(self._source.settings, key=lambda item: _name(item) not in ZONE):
            self.records.append(self._judge(item))
        order = {item.key: number for number, item in enumerate(self._source.settings)}
        self.records.sort(key=lambda record: order[record.key])

    def _judge(self, item: Setting) -> RecordResult:
        result = RecordResult(key=item.key, kind="setting", outcome="copy")
        name, there = _name(item), self._held.get(item.key)
        named = "cylinder" in self._policy.with_ and name in CYLINDER
        if item.device_bound and not named:
            return replace(result, outcome="skip", reasons=("device-bound",))
        if there is not None and there.value == item.value:
            return replace(result, done=True, proof="V4")
        if there is None:
            return replace(result, outcome="skip", reasons=("setting-unsupported",))
        if name in ZONE and self._staying:
            result = replace(result, outcome="refuse", reasons=("zone-differs",), detail=_STAYING)
            choice = overridden(result, self._policy)
            if choice != "override":
                return result if choice is None else replace(result, outcome="skip")
            result = replace(result, outcome="copy")
        step = Step(key=item.key, kind="setting", action="put", origin={}, value=item.value, was_empty=False)
        (self.last if name == LAST else self.first).append(step)
        return replace(result, detail=f"{there.value} → {item.value}")

    @property
    def zone_steps(self) -> tuple[StepId, ...]:
        """What has to be right before hours of the day mean anything."""
        return tuple(("put", step.key) for step in self.first if _bare(step.key) in ZONE)

    @property
    def zone_open(self) -> bool:
        """Whether hours of the day may mean something else on the new lock, whatever the steps do."""
        if not self._held:
            return False  # a model on paper
        mine, theirs = (
            {_name(item): item.value for item in held if _name(item) in ZONE}
            for held in (self._source.settings, self._held.values())
        )
        put = {_bare(step.key) for step in self.first}
        given = {"timezone_id": NO_ZONE}
        return any(
            mine.get(name, given.get(name)) != theirs.get(name, given.get(name)) for name in ZONE if name not in put
        )


def _name(item: Setting) -> str:
    return _bare(item.key)


def _bare(key: str) -> str:
    return key.partition(".")[2]
