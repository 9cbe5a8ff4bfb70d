"""Locks whose codes and cards stand alone, without a person or a number (TTLock): what becomes of each.

A code is known by its digits, a card by its number, of which a lock holds none twice. What is done is what the target
holds just as the backup has it. A limit that exists and cannot be read is a question, never "always" by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import CardData, Credential, Kind, LockSchedule, PinData, Schedule, Setting
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.draft import Draft
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import Choice, Policy, decided
from lockmigrate.planning.settings import missing_by_name, plan_access_keys

HELD: Final = "held/"
"""Before the key of a record of the target's own, as `formats.fitted` has it."""
KINDS: Final[Mapping[str, Kind]] = {"PIN": "pin", "RFID": "card"}
"""What can be written, and what a plan calls it."""
UNREAD: Final = (
    "whether it is limited to days and hours cannot be read back: write it valid at all hours of its dates, or leave "
    "it out and give it out anew"
)


def plan_entries(
    draft: Draft,
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    unconfirmed: frozenset[str],
    fitted: Mapping[str, Fitted],
) -> None:
    """Fill a draft for a lock of this kind."""
    del unconfirmed  # each write is whole at once: what an interrupted run left is equal, or not there
    entries = _Entries(source, target, unit, policy, fitted)
    entries.work()
    settings = _Settings(source, target)
    settings.work()
    passage = _Passage(source, target)
    passage.work()
    keys, key_steps = plan_access_keys(source, target, policy)
    draft.records += [*entries.records, *passage.records, *settings.records, *keys]
    if source.log:
        draft.records.append(RecordResult(key="log", kind="log", outcome="skip", reasons=("log",)))
    draft.existing = [*entries.existing, *passage.surplus]
    draft.overwrites = entries.overwrites
    draft.removals = [*entries.surplus, *passage.surplus]
    gone = [*entries.removal_steps(), *passage.removal_steps()] if policy.existing == "replace" else []
    # Passage mode holds the door open: last of all (6.1).
    draft.steps += [*settings.steps, *gone, *entries.steps, *passage.steps, *key_steps]
    if entries.steps:
        draft.warnings.append(
            "capacity-unknown: such a lock does not say how much it holds; what does not fit is told when it is full"
        )
    if entries.stuck:
        draft.warnings.append(f"{entries.stuck} codes of the new lock are of a kind that nobody has explained and stay")
    draft.warnings += missing_by_name(draft.records, policy)


class _Entries:
    """Works out what becomes of codes and cards, of fingers, and of the limits that hang on them."""

    def __init__(
        self,
        source: Snapshot,
        target: Snapshot,
        unit: Unit,
        policy: Policy,
        fitted: Mapping[str, Fitted],
    ) -> None:
        self._source, self._policy, self._fitted = source, policy, fitted
        held = unit.capabilities.credentials
        self._capabilities: dict[Kind, CredentialCapability | None] = {"pin": held.pin, "card": held.card}
        self._limits = {item.key: item for item in source.schedules}
        self._held = {_identity(item): item for item in target.credentials if item.credential_type in KINDS}
        same = source.lock.serial is not None and source.lock.serial == target.lock.serial
        mine = {item.key for item in source.credentials} if same else set()
        fingers = [item for item in target.credentials if item.credential_type not in KINDS and item.key not in mine]
        self._fingers = {item.key: target.bytes_of(item.raw[0]) for item in fingers if item.raw}
        """Of other people, by their keys: a number says nothing of whose finger it is on another lock."""
        self._admin = {str(item.secret.reveal()) for item in target.access_keys if "admin" in item.key}
        self._wanted: dict[tuple[str, str], str] = {}
        self._kept: set[tuple[str, str]] = set()
        """What the target has and the plan keeps or writes."""
        self._conflicts: set[tuple[str, str]] = set()
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []

    def work(self) -> None:
        """Fill `records` and `steps`: what people need most goes first, as nobody knows how much fits (6.3)."""
        fates = {item.key: self._judge(item) for item in self._source.credentials}
        writable = [item for item in self._source.credentials if _to_write(fates[item.key])]
        order = {"PIN": 0, "RFID": 1}
        for item in sorted(writable, key=lambda item: order[item.credential_type]):
            self._put(item)
        self.records += fates.values()
        for limit in self._source.schedules:
            self.records.append(_shared(limit, fates.get(str(limit.origin.get("holder")))))

    def _judge(self, item: Credential) -> RecordResult:
        kind = KINDS.get(item.credential_type)
        if kind is None:
            return RecordResult(
                key=item.key, kind="fingerprint", outcome="re_enrol", reasons=("template-unreadable",),
                detail=self._who(item),
            )  # fmt: skip
        result = RecordResult(key=item.key, kind=kind, outcome="copy")
        ident = _identity(item)
        if ident in self._wanted:
            return self._ask(result, "pin-duplicate", f"the backup holds it as {self._wanted[ident]} too")
        self._wanted[ident] = item.key
        there = self._held.get(ident)
        unread = any(limit.why == "unreadable" for limit in self._limits_of(item))
        if there is not None and self._equal(item, there):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            # What hours it opens at may differ and cannot be read on either lock; nothing is changed about that here.
            return self._done(result, ident)
        if isinstance(item.use_limit, int):
            return replace(result, outcome="skip", reasons=("one-time-code",), detail="it may be spent already")
        capability = self._capabilities[kind]
        if capability is None or capability.writable != "data":
            return self._ask(result, "setting-unsupported", "the new lock takes none")
        if item.key not in self._fitted:
            return self._ask(result, "no-public-layout", "nobody has explained its record; give it out anew")
        for code, detail in self._fitted[item.key].questions:
            suits: tuple[Choice, ...] = ("write", "skip") if code == "schedule-unreadable" else ("skip",)
            result = self._ask(result, code, detail, suits)
            if result.outcome != "copy":
                return result
        if kind == "pin" and (problem := self._unfit(ident[1], capability)) is not None:
            return self._ask(result, *problem)
        if self._over(item):
            return replace(result, outcome="skip", reasons=("expired",), detail="its last day is over")
        if any(limit.why == "impossible-date" for limit in self._limits_of(item)):
            return self._ask(result, "schedule-unreadable", "its dates do not exist", ("skip",))
        if unread:
            result = self._ask(result, "schedule-unreadable", UNREAD, ("write", "skip"))
            if result.outcome != "copy":
                return result
        # Also where an interrupted run has begun with it: what it writes is equal at once, this is somebody else's.
        if there is not None and self._policy.existing == "merge":
            asked = self._ask(result, "pin-duplicate", f"the new lock has it as {there.key}", ("write", "skip"))
            if asked.outcome != "copy":
                self._conflicts.add(ident)
            return asked
        return result

    def _who(self, item: Credential) -> str:
        """Say whose finger it is and when it counted: what has to be set again after enrolling (neutral-format 6.7)."""
        name = f'"{item.name}", ' if isinstance(item.name, str) else ""
        dates = [limit for limit in self._limits_of(item) if limit.kind == "YearDay"]
        words = ["always", "for ever"]
        for limit in dates:
            words = [limit.start_local or words[0], limit.end_local or words[1]]
        number = item.vendor.get("ttlock", {}).get("number")
        return f"{name}finger {number}, valid from {words[0]} until {words[1]}: enrol it again, then set these dates"

    def _done(self, result: RecordResult, ident: tuple[str, str]) -> RecordResult:
        self._kept.add(ident)
        return replace(result, done=True, proof="V4")

    def _unfit(self, digits: str, capability: CredentialCapability) -> tuple[str, str] | None:
        wrong = unfit(digits, capability)
        if wrong:
            return wrong[0], "the new lock does not take these digits"
        if digits in self._admin:
            return "pin-equals-admin", "these digits are the new lock's administrator code"
        return None

    def _put(self, item: Credential) -> None:
        ident = _identity(item)
        there = self._held.get(ident)
        if there is not None:
            self._kept.add(ident)
            self._conflicts.add(ident)
        self.steps.append(
            Step(
                key=item.key,
                kind=KINDS[item.credential_type],
                action="put",
                origin={},
                value=self._fitted[item.key].record,
                also=tuple(limit.key for limit in self._limits_of(item)),
                was_empty=there is None,
            )
        )

    def _limits_of(self, item: Credential) -> list[Schedule]:
        return [self._limits[key] for key in item.schedules if key in self._limits]

    def _equal(self, mine: Credential, theirs: Credential) -> bool:
        held, wanted = self._fitted.get(f"{HELD}{theirs.key}"), self._fitted.get(mine.key)
        return held is not None and wanted is not None and held.record == wanted.record

    def _over(self, item: Credential) -> bool:
        now = self._policy.now_local
        if now is None or self._policy.keep_expired:
            return False
        return any(isinstance(limit.end_local, str) and limit.end_local < now for limit in self._limits_of(item))

    def _ask(
        self, result: RecordResult, reason: str, detail: str, suits: tuple[Choice, ...] = ("skip",)
    ) -> RecordResult:
        asked = replace(result, outcome="needs_input", reasons=(*result.reasons, reason), detail=detail)
        answer = decided(replace(asked, reasons=(reason,)), self._policy, suits)
        if answer is None:
            return asked
        return replace(asked, outcome="skip" if answer.choice == "skip" else "copy")

    @property
    def existing(self) -> list[str]:
        """What the target holds and the plan would not write, or would change."""
        held = [item.key for ident, item in self._held.items() if ident not in self._kept or ident in self._conflicts]
        return [*held, *self._fingers]

    @property
    def overwrites(self) -> list[str]:
        return [item.key for ident, item in self._held.items() if ident in self._conflicts & self._kept]

    def _surplus(self) -> list[tuple[str, Kind, bytes]]:
        left = [
            (item.key, KINDS[item.credential_type], self._fitted[f"{HELD}{item.key}"].record)
            for ident, item in self._held.items()
            if ident not in self._kept and f"{HELD}{item.key}" in self._fitted
        ]
        return left + [(key, "fingerprint", raw) for key, raw in self._fingers.items()]

    @property
    def surplus(self) -> list[str]:
        """What `replace` takes away."""
        return [key for key, _, _ in self._surplus()]

    @property
    def stuck(self) -> int:
        """How many records of the target not even `replace` takes away, as nobody has explained them."""
        return sum(1 for item in self._held.values() if f"{HELD}{item.key}" not in self._fitted)

    def removal_steps(self) -> list[Step]:
        """Steps that take the surplus away."""
        return [
            Step(key=key, kind=kind, action="remove", origin={}, value=raw, was_empty=False)
            for key, kind, raw in self._surplus()
        ]


def _to_write(result: RecordResult) -> bool:
    return result.outcome == "copy" and not result.done


def _identity(item: Credential) -> tuple[str, str]:
    if isinstance(item.data, PinData):
        return "pin", str(item.data.digits.reveal())
    if isinstance(item.data, CardData):
        return f"card/{item.vendor.get('ttlock', {}).get('number_bytes')}", str(item.data.number.reveal())
    return "other", item.key


def _shared(limit: Schedule, holder: RecordResult | None) -> RecordResult:
    """A limit shares the fate of what it hangs on."""
    if holder is None:
        return RecordResult(key=limit.key, kind="schedule", outcome="skip", reasons=("user-missing",))
    return RecordResult(
        key=limit.key, kind="schedule", outcome=holder.outcome, reasons=holder.reasons, proof=holder.proof,
        done=holder.done, follows=holder.key,
    )  # fmt: skip


class _Passage:
    """Works out what becomes of passage mode: windows in which the door stays open."""

    def __init__(self, source: Snapshot, target: Snapshot) -> None:
        self._source = source
        coverage = target.coverage.get("lock_schedules")
        self._unsupported = coverage is not None and coverage.state == "unsupported"
        self._held = {_raw(target, item): item for item in target.lock_schedules}
        self._bytes = {item.key: _raw(source, item) for item in source.lock_schedules}
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []

    def work(self) -> None:
        """Fill `records` and `steps`."""
        for item in self._source.lock_schedules:
            raw = self._bytes[item.key]
            result = RecordResult(key=item.key, kind="lock_schedule", outcome="copy")
            if raw in self._held:
                self.records.append(replace(result, done=True, proof="V4"))
            elif self._unsupported:
                self.records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
            else:
                self.records.append(result)
                self.steps.append(
                    Step(key=item.key, kind="lock_schedule", action="put", origin={}, value=raw, was_empty=True)
                )

    @property
    def surplus(self) -> list[str]:
        wanted = set(self._bytes.values())
        return [item.key for raw, item in self._held.items() if raw not in wanted]

    def removal_steps(self) -> list[Step]:
        """Steps that take away what the backup does not hold."""
        wanted = set(self._bytes.values())
        return [
            Step(key=item.key, kind="lock_schedule", action="remove", origin={}, value=raw, was_empty=False)
            for raw, item in self._held.items()
            if raw not in wanted
        ]


def _raw(snapshot: Snapshot, item: LockSchedule) -> bytes:
    return snapshot.bytes_of(item.raw[0])


class _Settings:
    """Works out what becomes of settings; times are clipped to what the new lock takes."""

    def __init__(self, source: Snapshot, target: Snapshot) -> None:
        self._source = source
        self._held = {item.key: item for item in target.settings}
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []

    def work(self) -> None:
        """Fill `records` and `steps`."""
        for item in self._source.settings:
            self.records.append(self._judge(item))

    def _judge(self, item: Setting) -> RecordResult:
        result, there = RecordResult(key=item.key, kind="setting", outcome="copy"), self._held.get(item.key)
        if item.device_bound:
            return replace(result, outcome="skip", reasons=("device-bound",))
        if there is None:
            return replace(result, outcome="skip", reasons=("setting-unsupported",))
        value = self._clipped(item)
        if value != item.value:
            detail = f"{item.value} → {value}, which is as far as the new lock goes"
            result = replace(result, outcome="adjust", reasons=("setting-unsupported",), detail=detail)
        if there.value == value:
            return replace(result, done=True, proof="V4")
        self.steps.append(Step(key=item.key, kind="setting", action="put", origin={}, value=value, was_empty=False))
        return result if result.detail else replace(result, detail=f"{there.value} → {value}")

    def _clipped(self, item: Setting) -> int | str | bool | None:
        """Locking again sooner or later than it was; 0 is off, and stays off."""
        stem = item.key.removesuffix("_s")
        least, most = self._held.get(f"{stem}_least_s"), self._held.get(f"{stem}_most_s")
        if least is None or most is None or not isinstance(item.value, int) or not item.value:
            return item.value
        if not (isinstance(least.value, int) and isinstance(most.value, int) and least.value <= most.value):
            return item.value
        return min(max(item.value, least.value), most.value)
