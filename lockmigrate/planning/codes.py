"""Locks that know codes and no people (Nuki): what becomes of codes, timers, authorisations and settings.

A new lock numbers its records itself. A code is known by its digits, of which a lock holds none twice; it is done when
digits, name, limit and whether it is enabled are what the backup has. A right never grows on the way: the lock's time
zone is right before a code with hours of the day is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import AppKeyData, Credential, LockSchedule, PinData, Schedule, Setting
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.draft import Draft, StepId
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import Policy, decided, overridden
from lockmigrate.planning.settings import missing_by_name, plan_access_keys

HELD: Final = "held/"
"""Before the key of a record of the target's own, as `formats.fitted` has it."""
ZONE: Final = ("timezone_offset_min", "dst_mode", "timezone_id")
CYLINDER: Final = ("unlocked_offset", "locked_offset", "single_locked_offset", "unlocked_to_locked_offset",
                   "detached_cylinder")  # fmt: skip
"""What `--with cylinder` moves: right only on the same door and cylinder."""
LAST: Final = "pairing_enabled"
"""What opens the lock to newcomers is written when all else is done (6.1)."""


def plan_codes(
    draft: Draft,
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    unconfirmed: frozenset[str],
    fitted: Mapping[str, Fitted],
) -> None:
    """Fill a draft for a lock of this kind."""
    settings = _Settings(source, target, policy)
    settings.work()
    codes = _Codes(source, target, unit, policy, unconfirmed, fitted, settings.zone_steps)
    codes.work()
    timers = _Timers(source, target, policy, unconfirmed)
    timers.work()
    keys, key_steps = plan_access_keys(source, target, policy)
    draft.records += [*codes.records, *timers.records, *settings.records, *keys]
    if source.log:
        draft.records.append(RecordResult(key="log", kind="log", outcome="skip", reasons=("log",)))
    draft.existing = [*codes.existing, *timers.existing]
    draft.overwrites = [*codes.overwrites, *timers.overwrites]
    draft.removals = [*codes.surplus, *timers.surplus]
    gone = [*codes.removal_steps(), *timers.removal_steps()] if policy.existing == "replace" else []
    draft.steps += [*settings.first, *gone, *codes.steps, *timers.steps, *settings.last, *key_steps]
    draft.needs |= codes.needs
    draft.warnings += [*settings.warnings, *missing_by_name(draft.records, policy)]
    if codes.steps and unit.details.get("keypad", "") is None:
        draft.warnings.append(
            "no-keypad: the new lock reports no keypad; whether it stores codes before one is paired is unconfirmed"
        )


class _Codes:
    """Works out what becomes of keypad codes, of what hangs on them, and of authorisations."""

    def __init__(
        self,
        source: Snapshot,
        target: Snapshot,
        unit: Unit,
        policy: Policy,
        unconfirmed: frozenset[str],
        fitted: Mapping[str, Fitted],
        zone_steps: tuple[StepId, ...],
    ) -> None:
        self._source, self._policy, self._unconfirmed, self._fitted = source, policy, unconfirmed, fitted
        self._capability = unit.capabilities.credentials.pin
        self._zone_steps = zone_steps
        self._limits = {item.key: item for item in source.schedules}
        self._held = {_digits(item): item for item in target.credentials if item.credential_type == "PIN"}
        self._wanted: dict[str, str] = {}
        self._kept: set[str] = set()
        """Digits of target codes that the plan keeps or writes."""
        self._conflicts: set[str] = set()
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.needs: dict[StepId, tuple[StepId, ...]] = {}

    def work(self) -> None:
        """Fill `records`, `steps` and `needs`."""
        pins = [item for item in self._source.credentials if item.credential_type == "PIN"]
        judged = {item.key: self._judge(item) for item in pins}
        self._place(pins, judged)
        fates: dict[str, RecordResult] = {}
        for item in self._source.credentials:
            result = judged[item.key] if item.key in judged else _other(item)
            fates[item.key] = result
            self.records.append(result)
        for limit in self._source.schedules:
            self.records.append(_shared(limit, fates.get(str(limit.origin.get("holder")))))

    def _judge(self, item: Credential) -> RecordResult:
        """Say what becomes of a code but for whether there is room for it."""
        result = RecordResult(key=item.key, kind="pin", outcome="copy")
        digits = _digits(item)
        if digits in self._wanted:
            return self._ask(result, "pin-duplicate", f"the backup holds these digits as {self._wanted[digits]} too")
        self._wanted[digits] = item.key
        there = self._held.get(digits)
        if there is not None and self._equal(item, there):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            self._kept.add(digits)
            return replace(result, done=True, proof="V4")
        if self._capability is not None and self._capability.writable != "data":
            return self._refused(result, "writing to a unit of this kind is not supported: sources disagree about it")
        for code, detail in self._fitted[item.key].questions:
            return self._ask(result, code, detail)
        if wrong := unfit(digits, self._capability):
            return self._ask(result, wrong[0], "the new lock does not take these digits")
        if self._over(item):
            return replace(result, outcome="skip", reasons=("expired",), detail="its last day is over")
        if there is not None and not self._torn(item) and self._policy.existing == "merge":
            asked = self._ask(
                result, "pin-duplicate", f"the new lock has these digits as {there.key}", ("write", "skip")
            )
            if asked.outcome != "copy":
                self._conflicts.add(digits)
                return asked
        return result

    def _place(self, pins: list[Credential], judged: dict[str, RecordResult]) -> None:
        """Give room to codes in the order in which people need them, and make the steps."""
        todo = [item for item in pins if judged[item.key].outcome == "copy" and not judged[item.key].done]
        slots = self._capability.slots if self._capability else None
        fresh = [item for item in todo if _digits(item) not in self._held]
        staying = (
            len(self._held) if self._policy.existing != "replace" else len(self._held.keys() & self._wanted.keys())
        )
        room = None if slots is None else max(0, slots - staying)
        for number, item in enumerate(sorted(fresh, key=_need)):
            if room is not None and number >= room:
                detail = f"the new lock has room for {slots} codes"
                judged[item.key] = self._ask(judged[item.key], "capacity", detail)
        for item in todo:
            if judged[item.key].outcome == "copy":
                self._put(item)

    def _put(self, item: Credential) -> None:
        digits = _digits(item)
        there, torn = self._held.get(digits), self._torn(item)
        if there is not None:
            self._kept.add(digits)
            if not torn:
                self._conflicts.add(digits)
        step = Step(
            key=item.key,
            kind="pin",
            action="put",
            origin={} if there is None else {"code_id": there.origin["code_id"]},
            value=self._fitted[item.key].record,
            also=tuple(key for key in item.schedules if key in self._limits),
            was_empty=there is None or torn,
        )
        self.steps.append(step)
        if any(self._limits[key].kind != "YearDay" for key in item.schedules if key in self._limits):
            self.needs["put", item.key] = self._zone_steps

    def _equal(self, mine: Credential, theirs: Credential) -> bool:
        held = self._fitted.get(f"{HELD}{theirs.key}")
        return held is not None and held.record == self._fitted[mine.key].record and not held.questions

    def _torn(self, item: Credential) -> bool:
        """An interrupted restore was writing it: what is there is ours, half-way."""
        return item.key in self._unconfirmed

    def _over(self, item: Credential) -> bool:
        now = self._policy.now_utc
        if now is None or self._policy.keep_expired:
            return False
        ends = [limit.end_utc for key in item.schedules if (limit := self._limits.get(key)) is not None]
        return any(isinstance(end, str) and end < now for end in ends)

    def _ask(self, result: RecordResult, reason: str, detail: str, suits: tuple[Any, ...] = ("skip",)) -> RecordResult:
        asked = replace(result, outcome="needs_input", reasons=(reason,), detail=detail)
        answer = decided(asked, self._policy, suits)
        if answer is None:
            return asked
        return replace(asked, outcome="skip" if answer.choice == "skip" else "copy")

    def _refused(self, result: RecordResult, detail: str) -> RecordResult:
        refused = replace(result, outcome="refuse", reasons=("no-public-layout",), detail=detail)
        return replace(refused, outcome="skip") if overridden(refused, self._policy) == "skip" else refused

    @property
    def existing(self) -> list[str]:
        """Codes on the target that the plan would not write, or would change."""
        return [
            item.key for digits, item in self._held.items() if digits not in self._kept or digits in self._conflicts
        ]

    @property
    def overwrites(self) -> list[str]:
        return [self._held[digits].key for digits in self._held if digits in self._conflicts & self._kept]

    @property
    def surplus(self) -> list[str]:
        """What `replace` takes away."""
        return [item.key for digits, item in self._held.items() if digits not in self._kept]

    def removal_steps(self) -> list[Step]:
        """Steps that take the surplus away."""
        gone = [item for digits, item in self._held.items() if digits not in self._kept]
        return [
            Step(key=item.key, kind="pin", action="remove", origin=dict(item.origin), was_empty=False) for item in gone
        ]


def _need(item: Credential) -> tuple[bool, str, int]:
    """Sort key of 6.3: enabled before disabled, recently used first, then the old number."""
    last = item.vendor.get("nuki", {}).get("last_active_utc") or ""
    newest_first = "".join(chr(0x10FFFF - ord(character)) for character in last) or chr(0x10FFFF)
    return item.status != "enabled", newest_first, int(item.origin["code_id"])


def _digits(item: Credential) -> str:
    return str(item.data.digits.reveal()) if isinstance(item.data, PinData) else ""


def _other(item: Credential) -> RecordResult:
    """What becomes of a credential that no lock gives out."""
    if item.credential_type == "Fingerprint":
        linked = item.linked_to if isinstance(item.linked_to, str) else None
        return RecordResult(
            key=item.key,
            kind="fingerprint",
            outcome="re_enrol",
            reasons=("template-unreadable",),
            detail=f"opens with the rights of {linked}" if linked else None,
        )
    if item.vendor.get("nuki", {}).get("own"):
        return RecordResult(key=item.key, kind="access_key", outcome="skip", reasons=("own-authorisation",))
    kind = item.data.kind if isinstance(item.data, AppKeyData) else "unknown"
    how = {"app": "invite again", "bridge": "pair the bridge again", "fob": "pair the fob again"}
    return RecordResult(
        key=item.key,
        kind="access_key",
        outcome="reissue",
        reasons=("app-invitation",),
        detail=how.get(kind, "pair it again"),
    )


def _shared(limit: Schedule, holder: RecordResult | None) -> RecordResult:
    """A limit shares the fate of what it hangs on."""
    if holder is None:
        return RecordResult(key=limit.key, kind="schedule", outcome="skip", reasons=("user-missing",))
    return RecordResult(
        key=limit.key,
        kind="schedule",
        outcome=holder.outcome,
        reasons=holder.reasons,
        proof=holder.proof,
        done=holder.done,
        follows=holder.key,
    )


class _Timers:
    """Works out what becomes of timers; a lock may hold the same one twice."""

    def __init__(self, source: Snapshot, target: Snapshot, policy: Policy, unconfirmed: frozenset[str]) -> None:
        self._source, self._policy, self._unconfirmed = source, policy, unconfirmed
        self._left = list(target.lock_schedules)
        self._bytes = {
            id(item): _raw(snapshot, item) for snapshot in (source, target) for item in snapshot.lock_schedules
        }
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.overwrites: list[str] = []

    def work(self) -> None:
        """Fill `records` and `steps`; whole matches go first, so that a half one takes nobody else's place."""
        done = {item.key for item in self._source.lock_schedules if self._take(item, whole=True) is not None}
        for item in self._source.lock_schedules:
            result = RecordResult(key=item.key, kind="lock_schedule", outcome="copy")
            if item.key in done:
                self.records.append(replace(result, done=True, proof="V4"))
                continue
            torn = item.key in self._unconfirmed
            there = self._take(item, whole=False) if torn or self._policy.existing != "merge" else None
            if there is not None and not torn:
                self.overwrites.append(there.key)
            self.records.append(result)
            self.steps.append(
                Step(
                    key=item.key,
                    kind="lock_schedule",
                    action="put",
                    origin={} if there is None else dict(there.origin),
                    value=self._bytes[id(item)],
                    was_empty=there is None or torn,
                )
            )

    def _take(self, item: LockSchedule, *, whole: bool) -> LockSchedule | None:
        """Take a timer of the target that does the same at the same time; `whole`: and is on or off as this one."""
        mine = self._bytes[id(item)]
        for there in self._left:
            theirs = self._bytes[id(there)]
            if theirs[2:] == mine[2:] and (not whole or bool(theirs[1]) == bool(mine[1])):
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
            Step(key=item.key, kind="lock_schedule", action="remove", origin=dict(item.origin), was_empty=False)
            for item in self._left
        ]


def _raw(snapshot: Snapshot, item: LockSchedule) -> bytes:
    return snapshot.bytes_of(item.raw[0])


class _Settings:
    """Works out what becomes of settings."""

    def __init__(self, source: Snapshot, target: Snapshot, policy: Policy) -> None:
        self._source, self._policy = source, policy
        self._held = {item.key: item for item in target.settings}
        self.records: list[RecordResult] = []
        self.first: list[Step] = []
        self.last: list[Step] = []
        self.warnings: list[str] = []

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
            if name in ZONE:
                self.warnings.append(
                    f"zone-differs: the new lock has no setting {name}; hours of the day are kept as they are"
                )
            return replace(result, outcome="skip", reasons=("setting-unsupported",))
        step = Step(key=item.key, kind="setting", action="put", origin={}, value=item.value, was_empty=False)
        (self.last if name == LAST else self.first).append(step)
        return replace(result, detail=f"{there.value} → {item.value}")

    @property
    def zone_steps(self) -> tuple[StepId, ...]:
        """What has to be right before hours of the day mean anything."""
        return tuple(("put", step.key) for step in self.first if _bare(step.key) in ZONE)


def _name(item: Setting) -> str:
    return _bare(item.key)


def _bare(key: str) -> str:
    return key.partition(".")[2]
