"""Locks that know codes and no people (Nuki): what becomes of codes, timers, authorisations and settings.

A new lock numbers its records itself. A code is known by its digits, of which a lock holds none twice; it is done when
digits, name, limit and whether it is enabled are what the backup has. A right never grows on the way: the lock's time
zone is right before a code with hours of the day is written, and where it cannot be made right, such a code is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import AppKeyData, Credential, PinData, Schedule
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.codes_settings import CodeSettings
from lockmigrate.planning.codes_timers import CodeTimers, whole
from lockmigrate.planning.draft import Draft, StepId, step_id
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import Policy, decided, overridden
from lockmigrate.planning.settings import missing_by_name, plan_access_keys

HELD: Final = "held/"
"""Before the key of a record of the target's own, as `formats.fitted` has it."""
OTHER_DOOR: Final = "the backup is of an Opener, which opens another door and means other things by its actions"
ZONE_OPEN: Final = "it goes by local hours, and the new lock's time zone cannot be made that of the old one"


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
    staying = policy.existing == "merge" and _own_hours(source, target, fitted)
    settings = CodeSettings(source, target, policy, staying=staying)
    settings.work()
    codes = _Codes(source, target, unit, policy, unconfirmed, fitted, settings)
    codes.work()
    timers = CodeTimers(source, target, policy, unconfirmed, settings, other_door=is_other_door(source, target))
    timers.work()
    keys, key_steps = plan_access_keys(source, target, policy)
    draft.records += [*codes.records, *timers.records, *settings.records, *keys]
    if source.log:
        draft.records.append(RecordResult(key="log", kind="log", outcome="skip", reasons=("log",)))
    draft.existing = [*codes.existing, *timers.existing]
    draft.overwrites = [*codes.overwrites, *timers.overwrites]
    draft.removals = [*codes.surplus, *timers.surplus]
    gone = [*codes.removal_steps(), *timers.removal_steps()] if policy.existing == "replace" else []
    # What goes goes first: by another time zone it would open at other hours meanwhile.
    draft.steps += [*gone, *settings.first, *codes.steps, *timers.steps, *settings.last, *key_steps]
    draft.needs |= codes.needs | timers.needs
    lost = codes.fingers_lost([step for step in draft.steps if step.action == "remove"])
    if lost:
        draft.warnings.append(
            f"{lost} fingers of the new lock's own people hang on codes that go or are replaced, and go with them"
        )
    draft.warnings += missing_by_name(draft.records, policy)
    if codes.steps and unit.details.get("keypad", "") is None:
        draft.warnings.append(
            "no-keypad: the new lock reports no keypad; whether it stores codes before one is paired is unconfirmed"
        )


def is_other_door(source: Snapshot, target: Snapshot) -> bool:
    """Whether the backup is of an Opener and the target is none: other codes, and actions that mean other things."""
    return source.lock.protocol.get("variant") == "opener" != target.lock.protocol.get("variant")


def _own_hours(source: Snapshot, target: Snapshot, fitted: Mapping[str, Fitted]) -> bool:
    """Whether the target holds what goes by local hours and is not the backup's."""
    mine = {value.record for key, value in fitted.items() if not key.startswith(HELD)}
    weekly = {limit.origin.get("holder") for limit in target.schedules if limit.kind != "YearDay"}
    codes = [item for item in target.credentials if item.credential_type == "PIN" and item.key in weekly]
    timers = {whole(source, item) for item in source.lock_schedules}
    return any(fitted[f"{HELD}{item.key}"].record not in mine for item in codes) or any(
        whole(target, item) not in timers for item in target.lock_schedules
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
        settings: CodeSettings,
    ) -> None:
        self._source, self._policy, self._unconfirmed, self._fitted = source, policy, unconfirmed, fitted
        self._capability = unit.capabilities.credentials.pin
        self._settings = settings
        self._other_door = is_other_door(source, target)
        coverage = target.coverage.get("credentials")
        self._silent = coverage is not None and coverage.state == "unsupported"
        self._limits = {item.key: item for item in source.schedules}
        self._held = {_digits(item): item for item in target.credentials if item.credential_type == "PIN"}
        same = source.lock.serial is not None and source.lock.serial == target.lock.serial
        fingers = [] if same else [item.linked_to for item in target.credentials if isinstance(item.linked_to, str)]
        self._bearing = Counter(fingers)
        """Codes of the target that fingers hang on, and how many."""
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
        if self._by_hours(item):
            if self._settings.zone_open:
                result = self._widens(result, "zone-differs", ZONE_OPEN)
                if result.outcome != "copy":
                    return result
            self.needs["put", item.key] = self._settings.zone_steps
        if there is not None and self._equal(item, there):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            self._kept.add(digits)
            return replace(result, done=True, proof="V4")
        if self._capability is not None and self._capability.writable != "data":
            return self._refused(result, "writing to a unit of this kind is not supported: sources disagree about it")
        if self._silent:
            return self._ask(result, "no-keypad", "the new lock does not answer when it is asked for keypad codes")
        if self._other_door:
            result = self._widens(result, "other-family", OTHER_DOOR)
            if result.outcome != "copy":
                return result
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
            if there.key in self._bearing:
                # Fingers of the new lock's own people hang on it and would have the rights of what it becomes.
                gone = self._removal(there)
                self.steps.append(gone)
                self.needs["put", item.key] = (*self.needs.get(("put", item.key), ()), step_id(gone))
                there = None
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

    def _by_hours(self, item: Credential) -> bool:
        """Whether its limits go by local hours, as far as is known."""
        return any(self._limits[key].kind != "YearDay" for key in item.schedules if key in self._limits)

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

    def _widens(self, result: RecordResult, reason: str, detail: str) -> RecordResult:
        """Refuse a code that might open when the old lock would not; only an answer to it by its key overrides that."""
        refused = replace(result, outcome="refuse", reasons=(*result.reasons, reason), detail=detail)
        choice = overridden(refused, self._policy)
        return refused if choice is None else replace(refused, outcome="skip" if choice == "skip" else "copy")

    def _refused(self, result: RecordResult, detail: str) -> RecordResult:
        refused = replace(result, outcome="refuse", reasons=("no-public-layout",), detail=detail)
        return replace(refused, outcome="skip") if overridden(refused, self._policy) == "skip" else refused

    def fingers_lost(self, removed: list[Step]) -> int:
        """Return how many fingers of the target go with codes that are taken away."""
        return sum(self._bearing[step.key] for step in removed)

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
        return [self._removal(item) for digits, item in self._held.items() if digits not in self._kept]

    def _removal(self, item: Credential) -> Step:
        return Step(
            key=item.key,
            kind="pin",
            action="remove",
            origin=dict(item.origin),
            value=self._fitted[f"{HELD}{item.key}"].record,
            was_empty=False,
        )


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
