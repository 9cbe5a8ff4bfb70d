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
from lockmigrate.planning.policy import Policy, decided
from lockmigrate.planning.templates import fit

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
    keys, key_steps = _access_keys(source, policy)
    records += keys
    blocked = _blocked(records, fingers, policy, source)
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
        blocked_by=tuple(blocked),
        losses=tuple(losses),
        warnings=tuple(_warnings(fingers, policy, source)),
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
        verdict = fit(credential.data.template_format, self._capability)
        if verdict in ("template-format", "template-dialect", "template-size"):
            return replace(result, outcome="re_enrol", reasons=(verdict,), detail=self._why(credential))
        if verdict == "template-look-alike":
            result = self._ask(result, "template-look-alike", self._why(credential))
            if result.outcome != "copy":
                return result
        slots = self._capability.slots if self._capability else None
        if slots is not None and slot >= slots:
            asked = self._ask(result, "capacity", f"slot {slot} is beyond the target's {slots} slots")
            new = self._answered_slot(asked)
            if new is None:
                return asked if asked.outcome != "copy" else replace(asked, outcome="needs_input")
            result, slot = replace(result, outcome="adjust", detail=f"slot {slot} → {new}, as decided"), new
        return self._place(result, credential, slot, unverified=verdict == "size-unverified")

    def _place(self, result: RecordResult, credential: Credential, slot: int, *, unverified: bool) -> RecordResult:
        assert credential.data is not None  # noqa: S101  # the caller has judged it
        data = self._source.bytes_of(credential.data.template)
        held = self._held.get(slot)
        if held is not None and held[1] == data:
            self._planned.add(slot)
            return replace(result, done=True, proof="V4")
        torn = held is not None and (held[1] is None or credential.key in self._unconfirmed)
        if held is not None and not torn:
            if self._policy.existing == "merge":
                return replace(
                    result,
                    outcome="needs_input",
                    reasons=("capacity",),
                    detail=f"slot {slot} of the target holds another finger",
                )
            self._conflicts.add(slot)
        self._planned.add(slot)
        if unverified:
            self.unverified, self.sample = True, self.sample or data
        self.steps.append(
            Step(
                key=credential.key,
                kind="fingerprint",
                action="put",
                origin={"credential_index": slot},
                value=data,
                was_empty=held is None or torn,
            )
        )
        return result

    def _ask(self, result: RecordResult, reason: str, detail: str) -> RecordResult:
        asked = replace(result, outcome="needs_input", reasons=(reason,), detail=detail)
        answer = decided(asked, self._policy)
        if answer is None:
            return asked
        if answer.choice == "skip":
            return replace(asked, outcome="skip")
        if answer.choice in ("write", "override"):
            return replace(asked, outcome="copy")
        return asked

    def _answered_slot(self, asked: RecordResult) -> int | None:
        answer = decided(asked, self._policy)
        slots = self._capability.slots if self._capability else None
        if answer is None or answer.choice != "value" or not isinstance(answer.value, int):
            return None
        taken = self._planned | set(self._held) | {int(item.origin["credential_index"]) for item in self._wanted}
        fits = 0 <= answer.value < (slots or 0) and answer.value not in taken
        return answer.value if fits else None

    def _why(self, credential: Credential) -> str:
        have = credential.data.template_format if credential.data else "?"
        takes = self._capability.template_formats if self._capability else ()
        return f"the template is {have}, the target takes {', '.join(takes) or 'no templates'}"


def _settings(source: Snapshot, target: Snapshot, policy: Policy) -> tuple[list[RecordResult], list[Step], list[Step]]:
    held = {item.key: item for item in target.settings}
    dialects_equal = source.lock.protocol.get("variant") == target.lock.protocol.get("variant")
    has_notepad = any(table.name == "0003-notepad" for table in target.tables)
    records: list[RecordResult] = []
    first: list[Step] = []
    last: list[Step] = []
    for item in source.settings:
        result = RecordResult(key=item.key, kind="setting", outcome="copy")
        mine, equal = held.get(item.key), _same(item, held.get(item.key))
        if item.key in _NAMED and _NAMED[item.key] in policy.with_:
            if not equal:
                last.append(_setting_step(item))
            records.append(replace(result, done=equal, proof="V4" if equal else None))
        elif item.device_bound:
            records.append(replace(result, outcome="skip", reasons=("device-bound",)))
        elif item.key.startswith("setting/ef01.notepad."):
            if equal:
                records.append(replace(result, done=True, proof="V4"))
            elif not has_notepad:
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


def _access_keys(source: Snapshot, policy: Policy) -> tuple[list[RecordResult], list[Step]]:
    records, steps = [], []
    for item in source.access_keys:
        result = RecordResult(key=item.key, kind="access_key", outcome="copy")
        if _NAMED.get(item.key) in policy.with_:
            value = item.secret.reveal_bytes()
            steps.append(Step(key=item.key, kind="access_key", action="put", origin={}, value=value, was_empty=False))
            records.append(result)
        else:
            records.append(replace(result, outcome="skip", reasons=("admin-not-migrated",)))
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


def _blocked(records: list[RecordResult], fingers: _Fingers, policy: Policy, source: Snapshot) -> list[str]:
    blocked = []
    people = [item for item in records if item.kind == "fingerprint"]
    lost = [item for item in people if item.outcome == "re_enrol" and item.reasons != ("template-unreadable",)]
    if people and len(lost) == len(people):
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


def _warnings(fingers: _Fingers, policy: Policy, source: Snapshot) -> list[str]:
    warnings = []
    if fingers.unverified:
        warnings.append(
            "template-size-unverified: the target does not say how large its templates are; one is sent into its "
            "memory and fetched back before anything is stored"
        )
    if fingers.records and not policy.consent_ref:
        warnings.append(
            "consent: fingerprints are moved without a reference to the people's consent; --consent REF records one"
        )
    return warnings
