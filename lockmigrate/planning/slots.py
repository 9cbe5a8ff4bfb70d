"""Modules that know slots and no people (EF01, GT-511, F5): what becomes of templates, settings and keys.

A module's slot number is what the lock's controller hangs rights on, so a template keeps its slot or waits for a
person's word; it is never moved on our own.
"""

from __future__ import annotations

from msgspec.structs import replace

from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Step
from lockmigrate.planning.draft import Draft
from lockmigrate.planning.policy import Choice, Policy, decided
from lockmigrate.planning.settings import missing_by_name, plan_access_keys, plan_settings
from lockmigrate.planning.templates import fit, size_unknown


def plan_slots(
    draft: Draft, source: Snapshot, target: Snapshot, unit: Unit, policy: Policy, unconfirmed: frozenset[str]
) -> None:
    """Fill a draft for a module without users."""
    fingers = _Fingers(source, target, unit.capabilities.credentials.fingerprint, policy, unconfirmed)
    fingers.work()
    settings, first, last = plan_settings(source, target, policy)
    keys, key_steps = plan_access_keys(source, target, policy)
    draft.records += [*fingers.records, *settings, *keys]
    draft.removals = fingers.surplus if policy.existing == "replace" else []
    gone = _removal_steps(draft.removals)
    # Where room and numbers are two things, what goes makes the room; else new before old, each in its own slot.
    moves = [*gone, *fingers.steps] if fingers.room_is_shared else [*fingers.steps, *gone]
    draft.steps += [*first, *moves, *last, *key_steps]
    draft.existing = fingers.existing
    draft.overwrites = fingers.overwrites
    draft.sample = fingers.sample
    if fingers.unverified:
        draft.warnings.append(
            "template-size-unverified: the target does not say how large its templates are; one is sent into its "
            "memory and fetched back before anything is stored"
        )
    draft.warnings += missing_by_name(draft.records, policy)


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
            int(item.origin["credential_index"]): (item.key, _bytes_of(target, item))
            for item in target.credentials
            if item.credential_type == "Fingerprint"
        }
        self._unconfirmed = unconfirmed
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.existing: list[str] = []
        self.sample: bytes | None = None
        self.unverified = False
        # Only EF01 modules can hold a template in memory without storing it.
        self._size_unknown = source.lock.family == "ef01" and size_unknown(capability)
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
    def room_is_shared(self) -> bool:
        """Whether any free number takes a record as long as there is room at all."""
        return self._capability is not None and self._capability.last_slot is not None

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
        if credential.template is None:
            return replace(
                result, outcome="re_enrol", reasons=("template-unreadable",), detail="the old unit did not give it out"
            )
        data = self._source.bytes_of(credential.template.template)
        if self._equal(slot, data):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            return self._done(result, slot)
        verdict = fit(credential.template.template_format, self._capability)
        if verdict in ("template-format", "template-dialect", "template-size"):
            return replace(result, outcome="re_enrol", reasons=(verdict,), detail=self._why(credential))
        beyond = not self._exists(slot)
        if beyond:
            result, new = self._move(result, credential.key, data, f"the target has no slot {slot}, {self._range()}")
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
        if self._full(slot):
            detail = f"the target has room for {self._capability.slots if self._capability else 0} fingers"
            return self._ask(result, "capacity", detail, ("skip",))
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
        new = answer.value
        if not isinstance(new, int) or not self._exists(new) or new in self._planned | self._wanted_slots:
            return replace(asked, detail=f"{detail}; the decided slot {new} is not free on the target"), None
        if new in self._held and not self._equal(new, data) and not self._torn(new, key):
            return replace(asked, detail=f"{detail}; the decided slot {new} holds another finger"), None
        was = self._slot_of(key)
        moved = replace(asked, outcome="adjust", detail=f"slot {was} → {new}, as decided")
        return moved, new

    def _exists(self, slot: int) -> bool:
        """Whether the target has a slot of this number, as far as it is known."""
        first, last = (self._capability.first_slot, self._capability.last) if self._capability else (0, None)
        return first <= slot <= (0xFFFF if last is None else last)

    def _range(self) -> str:
        first, last = (self._capability.first_slot, self._capability.last) if self._capability else (0, None)
        return f"only {first} to {last}"

    def _full(self, slot: int) -> bool:
        """Whether there is no room for one more, where room and numbers are two things."""
        capability = self._capability
        if capability is None or capability.slots is None or not self.room_is_shared or slot in self._held:
            return False
        staying = self._held.keys() if self._policy.existing == "merge" else self._held.keys() & self._wanted_slots
        return len(self._planned | staying) >= capability.slots

    def _slot_of(self, key: str) -> int:
        return next(int(item.origin["credential_index"]) for item in self._wanted if item.key == key)

    def _why(self, credential: Credential) -> str:
        have = credential.template.template_format if credential.template else "?"
        takes = self._capability.template_formats if self._capability else ()
        return f"the template is {have}, the target takes {', '.join(takes) or 'no templates'}"


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


def _bytes_of(snapshot: Snapshot, credential: Credential) -> bytes | None:
    return snapshot.bytes_of(credential.template.template) if credential.template else None
