"""From a unit of one family to one of another: an outcome for every record, and steps where some can be written.

Codes and cards are judged by the rules of neutral-format 6, put into the form of the target's family, and planned by
that family's own rule book, which knows about room, about what the target holds, and about order. What hangs on them
(limits, tables, the person) shares their fate (`cross_shared`); what no unit gives out, or another family has no place
for, says who has to come or what has to be done by hand (`cross_hand`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Adopter
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Lock, Metadata
from lockmigrate.model.results import WRITTEN, RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.codes import plan_codes
from lockmigrate.planning.cross_codes import KINDS, Codes
from lockmigrate.planning.cross_hand import ByHand, rest
from lockmigrate.planning.cross_people import People
from lockmigrate.planning.cross_shape import joined
from lockmigrate.planning.cross_shared import Shared
from lockmigrate.planning.doors import WAYS, Doors, Member
from lockmigrate.planning.draft import Draft
from lockmigrate.planning.entries import plan_entries
from lockmigrate.planning.people import plan_people
from lockmigrate.planning.policy import Decisions, Policy
from lockmigrate.planning.settings import missing_by_name

HELD: Final = "held/"
PLANNERS: Final[Mapping[str, Callable[..., None]]] = {
    "nuki": plan_codes,
    "ttlock": plan_entries,
    "zk": plan_people,
}
"""Family to the rule book that plans what was adopted."""
_FIRST_GROUP: Final = (
    "everybody would belong to the new unit's first group: when and how that opens is not known, or not by a PIN or a "
    "card alone"
)
WEAKER: Final = (
    "the old unit asked for a person's number and then for the PIN; on the new lock the PIN alone opens, so choose "
    "PINs that are hard to guess"
)


def plan_across(
    draft: Draft,
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    unconfirmed: frozenset[str],
    fitted: Mapping[str, Fitted],
    adopter: Adopter | None,
) -> bool:
    """Fill a draft for a unit of another family; returns whether anything of this kind can be written to it at all."""
    across = _Across(source, target, unit, policy, adopter, fitted)
    across.work(unconfirmed)
    inner = across.inner
    draft.no_templates = True
    draft.records += across.records
    draft.steps += across.steps
    draft.existing, draft.overwrites, draft.removals = inner.existing, inner.overwrites, inner.removals
    draft.needs |= inner.needs
    draft.warnings += [*inner.warnings, *across.warnings, *missing_by_name(draft.records, policy)]
    return across.codes.possible


class _Across:
    def __init__(
        self,
        source: Snapshot,
        target: Snapshot,
        unit: Unit,
        policy: Policy,
        adopter: Adopter | None,
        fitted: Mapping[str, Fitted],
    ) -> None:
        self._source, self._target, self._unit, self._policy = source, target, unit, policy
        self._adopter = adopter
        self._held = {key: value for key, value in fitted.items() if key.startswith(HELD)}
        self._people = People(source, policy, adopter.holds if adopter is not None else {})
        people = (target.bytes_of(user.raw[0]) for user in target.users if user.raw)
        records = frozenset((*(value.record for value in self._held.values()), *people))
        self.codes = Codes(source, target, unit, policy, self._people, adopter, records, _doubt(target))
        self.inner = Draft()
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.warnings: list[str] = []

    def work(self, unconfirmed: frozenset[str]) -> None:
        """Fill `inner`, `records`, `steps` and `warnings`."""
        self._people.work()
        self.codes.work()
        fates = dict(self.codes.fates)
        self._plan_adopted(unconfirmed, fates)
        by_hand = ByHand(self._source, self._unit, self._policy, self._people, self.codes, fates)
        for item in self._source.credentials:
            if item.credential_type not in KINDS:
                fates[item.key] = by_hand.judge(item)
        shared = Shared(self._source, self._people, self.codes, fates)
        shared.work()
        self.steps = [_carrying(step, shared.bearers) for step in self.inner.steps]
        self.records = [*self._in_order(fates), *rest(self._source, self._target, self._policy)]
        self._warn()

    def _plan_adopted(self, unconfirmed: frozenset[str], fates: dict[str, RecordResult]) -> None:
        """Let the target's family plan what was adopted; what it says of a record comes on top of what was said."""
        plan = PLANNERS.get(self._target.lock.family)
        if plan is None or self._adopter is None:
            return
        adopted = self.codes.adopted
        snapshot = Snapshot(
            metadata=Metadata(),
            lock=Lock(family=self._target.lock.family, protocol=self._target.lock.protocol),
            capabilities=self._target.capabilities,
            users=tuple(item.user for item in adopted.values() if item.user is not None),
            credentials=tuple(item.credential for item in adopted.values()),
            schedules=tuple(limit for item in adopted.values() for limit in item.schedules),
            settings=self._target.settings,
        )
        fitted = {**self._held, **{key: Fitted(record=item.record) for key, item in adopted.items()}}
        # What a run has begun with is known by its digits: those of a person's choice may have been others then.
        unconfirmed -= self.codes.chosen
        plan(self.inner, snapshot, self._target, self._unit, self._inner_policy(), unconfirmed, fitted)
        for record in self.inner.records:
            if record.key in adopted:
                fates[record.key] = _on_top(fates[record.key], record)

    def _inner_policy(self) -> Policy:
        """Return the policy without what is answered already: that people share a PIN is not what to do about a
        stranger's; and without what is named with `--with`, which is the old unit's and told by the outer plan."""
        policy, shared = self._policy, self.codes.shared
        answers = []
        for item in policy.decisions.answer:
            by_reason = item.key is None and item.reason == "pin-duplicate" and item.choice == "write"
            if shared and by_reason:
                answers += [replace(item, key=key, reason=None) for key in self.codes.adopted if key not in shared]
            elif item.key not in shared or item.choice != "write":
                answers.append(item)
        return replace(policy, with_=frozenset(), decisions=Decisions(answer=tuple(answers)))

    def _in_order(self, fates: Mapping[str, RecordResult]) -> list[RecordResult]:
        source = self._source
        sections: tuple[tuple[Any, ...], ...] = (
            source.users, source.credentials, source.groups, source.combinations, source.schedules,
        )  # fmt: skip
        return [fates[item.key] for items in sections for item in items]

    def _warn(self) -> None:
        mine, theirs = self._source.lock.time_zone, self._target.lock.time_zone
        codes = self.codes
        if isinstance(mine, str) and isinstance(theirs, str) and mine != theirs:
            self.warnings.append(
                f"zone-differs: the old lock is set to {mine}, the new one to {theirs}; hours of the day stay what the "
                "clock at the door shows"
            )
        elif codes.by_hours and not isinstance(theirs, str):
            self.warnings.append(
                "zone-differs: the new lock names no time zone; hours of the day are kept, so see that its clock shows "
                "what the one at the door does"
            )
        if codes.converted and codes.zone_from == "new":
            self.warnings.append(
                f"zone-differs: the old lock names no time zone; its dates were read in that of the new one, {theirs}"
            )
        if self._source.lock.family == "zk" and any(step.kind == "pin" for step in self.steps):
            self.warnings.append(WEAKER)


def _doubt(target: Snapshot) -> str | None:
    """Say what is not known of the first group of a terminal, which everybody who comes from a lock belongs to."""
    if target.lock.family != "zk":
        return None
    right = Doors.of(target).right(Member(1, None, 0, 0))
    ways = WAYS.get(right.style) if right.style is not None else None
    untold = any(gap.section == "verify_styles" for gap in target.gaps)
    unknown = untold or ways is None or right.minutes is None or right.beside is None
    return _FIRST_GROUP if unknown or not {"W", "C"} <= set(ways or ()) or "P" in (ways or ()) else None


def _carrying(step: Step, bearers: Mapping[str, list[str]]) -> Step:
    """A step carries what shares its fate, so that this is proven with it."""
    also = tuple(bearers.get(step.key, ())) if step.action == "put" else ()
    return dataclasses.replace(step, also=also)


def _on_top(mine: RecordResult, theirs: RecordResult) -> RecordResult:
    """Put what the target's family says of a record on top of what was said before."""
    reasons = tuple(dict.fromkeys((*mine.reasons, *theirs.reasons)))
    detail = joined((mine.detail, theirs.detail))
    if theirs.outcome in WRITTEN:
        outcome = "adjust" if theirs.reasons or theirs.outcome == "adjust" else mine.outcome
        return replace(mine, outcome=outcome, reasons=reasons, detail=detail, done=theirs.done, proof=theirs.proof)
    reasons = tuple(dict.fromkeys((*theirs.reasons, *mine.reasons)))
    return replace(
        mine, outcome=theirs.outcome, reasons=reasons, detail=theirs.detail, new_pin=False, pin_check=None, proof=None
    )
