"""The plan: one outcome for every source record, and the steps that make it true.

A pure function of the backup, of what the target holds now, and of what was decided. R0: a change may narrow a
right, never widen one. An EF01 module's slot number is what the lock's controller hangs rights on, so a template keeps
its slot or waits for a person's word; it is never moved on our own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, Loss, Setting
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Step
from lockmigrate.planning.policy import Choice, Policy, decided
from lockmigrate.planning.templates import fit, size_unknown

EMPTY_MARKS: Final = (b"\x00", b"\xff")
_NAMED: Final = {"setting/ef01.address": "address", "access_key/ef01.password": "password"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a restore would do. Holds secrets inside its steps; results show only `records`."""

    records: tuple[RecordResult, ...]
    steps: tuple[Step, ...] = field(repr=False)
    removals: tuple[str, ...]
    existing: tuple[str, ...]
    """Records on the target that the plan would not write."""
    overwrites: tuple[str, ...]
    """Those of them whose slot gets another finger: they are lost but for the copy made before."""
    blocked_by: tuple[str, ...]
    """Machine codes of what forbids it as it stands."""
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    sample: bytes | None = field(default=None, repr=False)
    """A template to send into memory and back first, where the target's size is not known."""

    @property
    def executable(self) -> bool:
        return not self.blocked_by

    @property
    def to_write(self) -> int:
        """How many records have to be written."""
        return sum(1 for step in self.steps if step.action == "put")


def make_plan(
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    *,
    unconfirmed: frozenset[str] = frozenset(),
) -> Plan:
    """Plan a restore.

    Args:
        source: what the backup holds.
        target: what the new unit holds now.
        unit: the new unit's identity and limits.
        policy: what was decided.
        unconfirmed: keys that an interrupted restore of this backup started on this unit and did not confirm.
    """
    fingers = _Fingers(source, target, unit.capabilities.credentials.fingerprint, policy, unconfirmed)
    fingers.work()
    records = list(fingers.records)
    settings, setting_steps, last_steps = _settings(source, target, policy)
    records += settings
    keys, key_steps = _access_keys(source, target, policy)
    records += keys
    blocked = _blocked(records, fingers, policy, same_family=source.lock.family == target.lock.family)
    losses = [
        Loss(record=item.key, stage="plan", code=reason, detail=item.detail)
        for item in records
        for reason in item.reasons
        if item.outcome in ("re_enrol", "needs_input", "refuse")
    ]
    removals = [] if policy.existing != "replace" else fingers.surplus
    return Plan(
        records=tuple(records),
        steps=(*setting_steps, *fingers.steps, *_removal_steps(removals), *last_steps, *key_steps),
        removals=tuple(removals),
        existing=tuple(fingers.existing),
        overwrites=tuple(fingers.overwrites) if policy.existing == "replace" else (),
        blocked_by=tuple(blocked),
        losses=tuple(losses),
        warnings=tuple(_warnings(records, fingers, policy, unit)),
        sample=fingers.sample,
    )


class _Fingers:
    """Works out what becomes of the fingerprints."""

    def __init__(
        self,
        source: Snapshot,
        target: Snapshot,
        capability: CredentialCapability | None,
        policy: Policy,
        unconfirmed: frozenset[str],
    ) -> None:
        self._source, self._capability, self._policy = source, capability, policy
        self._wanted = [item for item in source.credentials if item.credential_type == "Fingerprint"]
        self._held = {
            int(item.origin["credential_index"]): (item.key, target.bytes_of(item.data.template) if item.data else None)
            for item in target.credentials
            if item.credential_type == "Fingerprint"
        }
        self._unconfirmed = unconfirmed
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.existing: list[str] = []
        self.sample: bytes | None = None
        self.unverified = False
        self._size_unknown = size_unknown(capability)
        self._wanted_slots = {int(item.origin["credential_index"]) for item in self._wanted}
        self._planned: set[int] = set()
        self._conflicts: set[int] = set()

    def work(self) -> None:
        """Fill `records`, `steps`, `existing` and `sample`."""
        for credential in self._wanted:
            self.records.append(self._judge(credential))
        self.existing = [
            key for slot, (key, _) in sorted(self._held.items()) if slot not in self._planned or slot in self._conflicts
        ]

    @property
    def overwrites(self) -> list[str]:
        """Occupied slots that another finger is written to."""
        return [key for slot, (key, _) in sorted(self._held.items()) if slot in self._conflicts]

    @property
    def surplus(self) -> list[str]:
        """What `replace` takes away: occupied slots that nothing is written to."""
        return [key for slot, (key, _) in sorted(self._held.items()) if slot not in self._planned]

    def _judge(self, credential: Credential) -> RecordResult:
        slot = int(credential.origin["credential_index"])
        result = RecordResult(key=credential.key, kind="fingerprint", outcome="copy")
        if credential.data is None:
            return replace(
                result, outcome="re_enrol", reasons=("template-unreadable",), detail="the old unit did not give it out"
            )
        data = self._source.bytes_of(credential.data.template)
        if self._equal(slot, data):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            return self._done(result, slot)
        verdict = fit(credential.data.template_format, self._capability)
        if verdict in ("template-format", "template-dialect", "template-size"):
            return replace(result, outcome="re_enrol", reasons=(verdict,), detail=self._why(credential))
        slots = self._capability.slots if self._capability else None
        beyond = slots is not None and slot >= slots
        if beyond:
            result, new = self._move(result, credential.key, data, f"slot {slot} is beyond the target's {slots} slots")
            if new is None:
                return result
            slot = new
            if self._equal(slot, data):
                return self._done(result, slot)
        if verdict == "template-look-alike":
            asked = self._ask(result, "template-look-alike", self._why(credential))
            if asked.outcome != "copy":
                return asked
            both = (*result.reasons, *asked.reasons)
            result = replace(asked, outcome="adjust", reasons=both, detail=result.detail) if beyond else asked
        return self._place(result, credential.key, slot, data)

    def _place(self, result: RecordResult, key: str, slot: int, data: bytes) -> RecordResult:
        if slot in self._planned:
            detail = f"slot {slot} of the target is taken by another record of the backup"
            return replace(result, outcome="needs_input", reasons=("capacity",), detail=detail)
        held = slot in self._held
        torn = held and self._torn(slot, key)
        if held and not torn:
            if self._policy.existing == "merge":
                result, new = self._move(result, key, data, "another finger lies in this slot of the target")
                if new is None:
                    return result
                if self._equal(new, data):
                    return self._done(result, new)
                slot, held = new, new in self._held
                torn = held
            else:
                self._conflicts.add(slot)
        self._planned.add(slot)
        if self._size_unknown:
            self.unverified, self.sample = True, self.sample or data
        self.steps.append(
            Step(
                key=key,
                kind="fingerprint",
                action="put",
                origin={"credential_index": slot},
                value=data,
                was_empty=not held or torn,
            )
        )
        return result

    def _equal(self, slot: int, data: bytes) -> bool:
        return slot not in self._planned and slot in self._held and self._held[slot][1] == data

    def _torn(self, slot: int, key: str) -> bool:
        """What lies there is nobody's finger: it cannot be read, or an interrupted restore was writing it."""
        return self._held[slot][1] is None or key in self._unconfirmed

    def _done(self, result: RecordResult, slot: int) -> RecordResult:
        self._planned.add(slot)
        return replace(result, done=True, proof="V4")

    def _ask(
        self, result: RecordResult, reason: str, detail: str, suits: tuple[Choice, ...] = ("write", "override", "skip")
    ) -> RecordResult:
        asked = replace(result, outcome="needs_input", reasons=(reason,), detail=detail)
        answer = decided(asked, self._policy, suits)
        if answer is None:
            return asked
        return replace(asked, outcome="skip" if answer.choice == "skip" else "copy")

    def _move(self, result: RecordResult, key: str, data: bytes, detail: str) -> tuple[RecordResult, int | None]:
        """Ask for another slot; a template is never moved on our own."""
        asked = self._ask(result, "capacity", detail, ("skip",))
        if asked.outcome == "skip":
            return asked, None
        answer = decided(asked, self._policy, ("value",))
        if answer is None:
            return asked, None
        slots, new = (self._capability.slots if self._capability else None) or 0, answer.value
        if not isinstance(new, int) or not 0 <= new < slots or new in self._planned | self._wanted_slots:
            return replace(asked, detail=f"{detail}; the decided slot {new} is not free on the target"), None
        if new in self._held and not self._equal(new, data) and not self._torn(new, key):
            return replace(asked, detail=f"{detail}; the decided slot {new} holds another finger"), None
        was = self._slot_of(key)
        moved = replace(asked, outcome="adjust", detail=f"slot {was} → {new}, as decided")
        return moved, new

    def _slot_of(self, key: str) -> int:
        return next(int(item.origin["credential_index"]) for item in self._wanted if item.key == key)

    def _why(self, credential: Credential) -> str:
        have = credential.data.template_format if credential.data else "?"
        takes = self._capability.template_formats if self._capability else ()
        return f"the template is {have}, the target takes {', '.join(takes) or 'no templates'}"


def _settings(source: Snapshot, target: Snapshot, policy: Policy) -> tuple[list[RecordResult], list[Step], list[Step]]:
    held = {item.key: item for item in target.settings}
    dialects_equal = source.lock.protocol.get("variant") == target.lock.protocol.get("variant")
    pages = next((table.rows for table in target.tables if table.name == "0003-notepad"), 0)
    records: list[RecordResult] = []
    first: list[Step] = []
    last: list[Step] = []
    for item in source.settings:
        result = RecordResult(key=item.key, kind="setting", outcome="copy")
        mine, equal = held.get(item.key), _same(item, held.get(item.key))
        if item.key in _NAMED and _NAMED[item.key] in policy.with_:
            if mine is None:  # nothing could prove it
                records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
                continue
            if not equal:
                last.append(_setting_step(item))
            records.append(replace(result, done=equal, proof="V4" if equal else None))
        elif item.device_bound:
            records.append(replace(result, outcome="skip", reasons=("device-bound",)))
        elif item.key.startswith("setting/ef01.notepad."):
            if equal:
                records.append(replace(result, done=True, proof="V4"))
            elif int(item.key.rpartition(".")[2]) >= pages:
                records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
            elif mine is not None and "notepad" not in policy.with_:
                records.append(replace(result, outcome="skip", reasons=("notepad-in-use",)))
            else:
                (last if "notepad" in policy.with_ and mine is not None else first).append(_setting_step(item))
                records.append(result)
        elif equal:
            records.append(replace(result, done=True, proof="V4"))
        elif mine is None or not dialects_equal:
            records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
        else:
            first.append(_setting_step(item))
            records.append(replace(result, detail=f"{mine.value} → {item.value}"))
    return records, first, last


def _access_keys(source: Snapshot, target: Snapshot, policy: Policy) -> tuple[list[RecordResult], list[Step]]:
    held = {item.key: item.secret for item in target.access_keys}
    records, steps = [], []
    for item in source.access_keys:
        result = RecordResult(key=item.key, kind="access_key", outcome="copy")
        value = item.secret.reveal_bytes()
        if _NAMED.get(item.key) not in policy.with_:
            records.append(replace(result, outcome="skip", reasons=("admin-not-migrated",)))
        elif item.key in held and held[item.key] == Secret(value):
            records.append(replace(result, done=True, proof="V4"))
        else:
            steps.append(Step(key=item.key, kind="access_key", action="put", origin={}, value=value, was_empty=False))
            records.append(result)
    return records, steps


def _setting_step(item: Setting) -> Step:
    origin, value = {}, item.value
    if isinstance(item.hidden, Secret):
        origin = {"page": int(item.key.rpartition(".")[2])}
        return Step(
            key=item.key, kind="setting", action="put", origin=origin, value=item.hidden.reveal_bytes(), was_empty=False
        )
    if item.key == "setting/ef01.address":
        value = int(str(item.value), 16)
    number = value if isinstance(value, int) else None
    return Step(key=item.key, kind="setting", action="put", origin=origin, value=number, was_empty=False)


def _same(mine: Setting, theirs: Setting | None) -> bool:
    return theirs is not None and mine.value == theirs.value and mine.hidden == theirs.hidden


def _removal_steps(keys: list[str]) -> list[Step]:
    return [
        Step(
            key=key,
            kind="fingerprint",
            action="remove",
            origin={"credential_index": int(key.rpartition("/")[2])},
            was_empty=False,
        )
        for key in keys
    ]


def _blocked(records: list[RecordResult], fingers: _Fingers, policy: Policy, *, same_family: bool) -> list[str]:
    blocked = []
    people = [item for item in records if item.kind == "fingerprint"]
    read = [item for item in people if item.reasons != ("template-unreadable",)]
    if not same_family or (read and all(item.outcome == "re_enrol" for item in read)):
        blocked.append("wrong-target")
    if fingers.existing and policy.existing is None:
        blocked.append("target-not-empty")
    if any(item.outcome == "needs_input" for item in records):
        blocked.append("needs-input")
    if any(item.outcome == "refuse" for item in records):
        blocked.append("plan-blocked")
    if people and policy.require_consent and not policy.consent_ref:
        blocked.append("consent")
    return blocked


def _warnings(records: list[RecordResult], fingers: _Fingers, policy: Policy, unit: Unit) -> list[str]:
    warnings = []
    if fingers.unverified:
        warnings.append(
            "template-size-unverified: the target does not say how large its templates are; one is sent into its "
            "memory and fetched back before anything is stored"
        )
    if fingers.records and not policy.consent_ref and not unit.simulated:
        warnings.append(
            "consent: fingerprints are moved without a reference to the people's consent; --consent REF records one"
        )
    here = {item.key for item in records}
    warnings += [
        f"--with {name}: the backup holds none"
        for key, name in sorted(_NAMED.items())
        if name in policy.with_ and key not in here
    ]
    return warnings
