"""From a unit of one family to one of another: an outcome for every record, and steps where some can be written.

Codes and cards are judged by the rules of neutral-format 6, put into the form of the target's family, and planned by
that family's own rule book, which knows about room, about what the target holds, and about order. What hangs on them
(limits, tables, the person) shares their fate; what no unit gives out, or another family has no place for, says who has
to come or what has to be done by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Adopter
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import AppKeyData, Credential, Kind, Lock, Metadata
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.codes import plan_codes
from lockmigrate.planning.cross_codes import KINDS, Codes
from lockmigrate.planning.cross_people import People
from lockmigrate.planning.cross_shape import WRITTEN
from lockmigrate.planning.draft import Asker, Draft
from lockmigrate.planning.entries import plan_entries
from lockmigrate.planning.people_parts import DOUBTS
from lockmigrate.planning.policy import Policy
from lockmigrate.planning.settings import missing_by_name, plan_access_keys

HELD: Final = "held/"
PLANNERS: Final[Mapping[str, Callable[..., None]]] = {"nuki": plan_codes, "ttlock": plan_entries}
"""Family to the rule book that plans what was adopted."""
_INVITE: Final = {"app": "invite again", "bridge": "pair the bridge again", "fob": "pair the fob again"}
_TABLES: Final = "its hours go with each code that it limits"
_UNUSED: Final = "nothing that is written goes by it"
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
        self._adopter, self._asker = adopter, Asker(policy)
        self._held = {key: value for key, value in fitted.items() if key.startswith(HELD)}
        self._people = People(source, self._asker, adopter.holds if adopter is not None else {})
        records = frozenset(value.record for value in self._held.values())
        self.codes = Codes(source, target, unit, policy, self._people, adopter, records)
        self.inner = Draft()
        self._fates: dict[str, RecordResult] = {}
        self.records: list[RecordResult] = []
        self.steps: list[Step] = []
        self.warnings: list[str] = []

    def work(self, unconfirmed: frozenset[str]) -> None:
        """Fill `inner`, `records`, `steps` and `warnings`."""
        self._people.work()
        self.codes.work()
        self._fates |= self.codes.fates
        self._plan_adopted(unconfirmed)
        for item in self._source.credentials:
            if item.credential_type not in KINDS:
                self._fates[item.key] = self._other(item)
        bearers = self._shared()
        self.steps = [self._carrying(step, bearers) for step in self.inner.steps]
        self.records = [*self._in_order(), *self._rest()]
        self._warn()

    # ---- what is written --------------------------------------------------------------------------------------------

    def _plan_adopted(self, unconfirmed: frozenset[str]) -> None:
        """Let the target's family plan what was adopted; what it says of a record comes on top of what was said."""
        plan = PLANNERS.get(self._target.lock.family)
        if plan is None or self._adopter is None:
            return
        adopted = self.codes.adopted
        snapshot = Snapshot(
            metadata=Metadata(),
            lock=Lock(family=self._target.lock.family, protocol=self._target.lock.protocol),
            capabilities=self._target.capabilities,
            credentials=tuple(item.credential for item in adopted.values()),
            schedules=tuple(limit for item in adopted.values() for limit in item.schedules),
            settings=self._target.settings,
        )
        fitted = {**self._held, **{key: Fitted(record=item.record) for key, item in adopted.items()}}
        # Names of what moves by --with are of the source, and are reported by the outer plan.
        policy = replace(self._policy, with_=frozenset())
        plan(self.inner, snapshot, self._target, self._unit, policy, unconfirmed, fitted)
        for record in self.inner.records:
            if record.key in adopted:
                self._fates[record.key] = _joined(self._fates[record.key], record)

    def _carrying(self, step: Step, bearers: Mapping[str, list[str]]) -> Step:
        """A step carries what shares its fate, so that this is proven with it."""
        also = tuple(bearers.get(step.key, ())) if step.action == "put" else ()
        return Step(
            key=step.key,
            kind=step.kind,
            action=step.action,
            origin=step.origin,
            value=step.value,
            also=also,
            was_empty=step.was_empty,
        )

    # ---- what shares a fate -----------------------------------------------------------------------------------------

    def _shared(self) -> dict[str, list[str]]:
        """Give limits, people, tables and groups their fates; returns which step bears which of them."""
        bearers: dict[str, list[str]] = {}
        written = [item for item in self._source.credentials if self._moves(item)]
        for user in self._source.users:
            own = [item for item in written if item.user == user.key]
            self._fates[user.key] = self._bound(self._person(user.key, own), own, bearers)
        for limit in self._source.schedules:
            holder = limit.origin.get("holder")
            if isinstance(holder, str):
                self._fates[limit.key] = self._of_holder(limit.key, holder, bearers)
            else:
                self._fates[limit.key] = self._table(limit.key, "schedule", written, bearers)
        for group in self._source.groups:
            self._fates[group.key] = self._table(group.key, "group", written, bearers)
        for combination in self._source.combinations:
            groups = set(combination.groups)
            own = [item for item in written if self._group_of(item) in groups]
            self._fates[combination.key] = self._carried(combination.key, "combination", own, bearers)
        return bearers

    def _moves(self, item: Credential) -> bool:
        fate = self._fates.get(item.key)
        return item.credential_type in KINDS and fate is not None and fate.outcome in WRITTEN

    def _person(self, key: str, own: list[Credential]) -> RecordResult:
        fate = self._people.fates[key]
        if fate.outcome != "adjust":
            return fate
        reasons = fate.reasons
        if key in self.codes.named and own:
            reasons = tuple(reason for reason in reasons if reason != "name-not-stored")
            return replace(fate, reasons=reasons, detail=fate.detail or "the name goes to the person's code")
        name = self._people.users[key].user_name
        return replace(fate, reasons=reasons, detail=fate.detail or (f'"{name}"' if name else None))

    def _of_holder(self, key: str, holder: str, bearers: dict[str, list[str]]) -> RecordResult:
        fate = self._fates.get(holder)
        if fate is None:
            return RecordResult(key=key, kind="schedule", outcome="skip", reasons=("user-missing",))
        result = replace(fate, key=key, kind="schedule", detail=None, follows=fate.follows or holder, new_pin=False)
        if fate.outcome in WRITTEN:
            _bear(bearers, holder, key)
            about = tuple(reason for reason in fate.reasons if reason in _OF_TIMES)
            result = replace(result, outcome="adjust" if about else "copy", reasons=about)
        return result

    def _table(
        self, key: str, kind: Kind, written: Iterable[Credential], bearers: dict[str, list[str]]
    ) -> RecordResult:
        own = [item for item in written if key in self._tables_of(item)]
        return self._carried(key, kind, own, bearers)

    def _carried(self, key: str, kind: Kind, own: list[Credential], bearers: dict[str, list[str]]) -> RecordResult:
        if not own:
            return RecordResult(key=key, kind=kind, outcome="skip", reasons=("schedule-unsupported",), detail=_UNUSED)
        result = RecordResult(key=key, kind=kind, outcome="adjust", reasons=("schedule-unsupported",), detail=_TABLES)
        return self._bound(result, own, bearers)

    def _bound(self, result: RecordResult, own: list[Credential], bearers: dict[str, list[str]]) -> RecordResult:
        """Tie a record to the first of the codes that it goes with, one that is still to be written if there is one."""
        if result.outcome not in WRITTEN or not own:
            return result
        first = next((item for item in own if not self._fates[item.key].done), own[0])
        fate = self._fates[first.key]
        _bear(bearers, first.key, result.key)
        return replace(result, follows=first.key, done=fate.done, proof=fate.proof)

    def _group_of(self, item: Credential) -> str | None:
        user = self._people.users.get(item.user or "")
        return user.group if user is not None and isinstance(user.group, str) else None

    def _tables_of(self, item: Credential) -> tuple[str, ...]:
        user = self._people.users.get(item.user or "")
        if user is None:
            return ()
        group = next((one for one in self._source.groups if one.key == self._group_of(item)), None)
        own = user.schedules if isinstance(user.schedules, tuple) else group.schedules if group is not None else ()
        return (*own, *((group.key,) if group is not None else ()))

    # ---- what is not written ----------------------------------------------------------------------------------------

    def _other(self, item: Credential) -> RecordResult:
        """What becomes of fingers, faces and apps."""
        if item.credential_type == "AppKey":
            return app_key(item)
        face = item.credential_type == "Face"
        result = RecordResult(key=item.key, kind="face" if face else "fingerprint", outcome="copy")
        person = self._people.fates.get(item.user or "")
        if person is not None and person.outcome in ("skip", "refuse", "needs_input"):
            return replace(person, key=result.key, kind=result.kind, detail=None, follows=person.key)
        if item.user is None and self._source.users:
            return self._asker.ask(result, "user-missing", DOUBTS["user-missing"])
        if item.duress:
            result = self._asker.refuse(result, "duress-unsupported", "the new unit has no finger with a silent alarm")
            if result.outcome not in WRITTEN:
                return result
        held = self._unit.capabilities.credentials
        if (held.face if face else held.fingerprint) is None:
            lacks = "the new unit knows no faces" if face else "the new unit has no fingerprint reader"
            return self._asker.ask(replace(result, reasons=()), "template-format", lacks)
        given = item.template is not None
        reason = "template-format" if given or face else "template-unreadable"
        return replace(result, outcome="re_enrol", reasons=(*result.reasons, reason), detail=self._who(item))

    def _who(self, item: Credential) -> str | None:
        """Say whose finger it is, and when it counted: what has to be set again after enrolling (6.7)."""
        user = self._people.users.get(item.user or "")
        name = item.name if isinstance(item.name, str) else user.user_name if user is not None else None
        parts = [f'"{name}"'] if name else []
        number = item.vendor.get("ttlock", {}).get("number")
        parts += [f"finger {number}"] if number else []
        for limit in self._source.schedules:
            if limit.key in item.schedules and limit.kind == "YearDay":
                begins = limit.start_local or limit.start_utc or "always"
                parts.append(f"valid from {begins} until {limit.end_local or limit.end_utc or 'for ever'}")
        parts += [f"opens with the rights of {item.linked_to}"] if isinstance(item.linked_to, str) else []
        return ", ".join(parts) or None

    def _in_order(self) -> list[RecordResult]:
        source = self._source
        sections: tuple[tuple[Any, ...], ...] = (
            source.users, source.credentials, source.groups, source.combinations, source.schedules,
        )  # fmt: skip
        return [self._fates[item.key] for items in sections for item in items]

    def _rest(self) -> list[RecordResult]:
        """What is no credential and hangs on none."""
        found: list[RecordResult] = []
        for timed in self._source.lock_schedules:
            result = RecordResult(key=timed.key, kind="lock_schedule", outcome="copy")
            detail = "what the old lock does at such times is set by hand on the new unit, where it can"
            found.append(self._asker.ask(result, "schedule-unsupported", detail))
        for setting in self._source.settings:
            reason = "device-bound" if setting.device_bound else "setting-unsupported"
            found.append(RecordResult(key=setting.key, kind="setting", outcome="skip", reasons=(reason,)))
        keys, _ = plan_access_keys(self._source, self._target, replace(self._policy, with_=frozenset()))
        found += keys
        if self._source.log:
            found.append(RecordResult(key="log", kind="log", outcome="skip", reasons=("log",)))
        return found

    def _warn(self) -> None:
        mine, theirs = self._source.lock.time_zone, self._target.lock.time_zone
        if isinstance(mine, str) and isinstance(theirs, str) and mine != theirs:
            self.warnings.append(
                f"zone-differs: the old lock is set to {mine}, the new one to {theirs}; hours of the day stay what the "
                "clock at the door shows"
            )
        if self._source.lock.family == "zk" and any(step.kind == "pin" for step in self.steps):
            self.warnings.append(WEAKER)


_OF_TIMES: Final = frozenset(
    {"time-rounded", "schedule-unreadable", "schedule-unsupported", "end-2400", "zone-differs"}
)
"""Reasons of a code that are about its limits."""


def _joined(mine: RecordResult, theirs: RecordResult) -> RecordResult:
    """Put what the target's family says of a record on top of what was said before."""
    if theirs.outcome == "copy":
        return replace(mine, done=theirs.done, proof=theirs.proof)
    reasons = tuple(dict.fromkeys((*theirs.reasons, *mine.reasons)))
    return replace(theirs, reasons=reasons, new_pin=mine.new_pin)


def _bear(bearers: dict[str, list[str]], bearer: str, key: str) -> None:
    bearers.setdefault(bearer, []).append(key)


def app_key(item: Credential) -> RecordResult:
    """Say what becomes of an app, a bridge, a fob or a keypad: no unit gives their keys out."""
    if item.vendor.get("nuki", {}).get("own"):
        return RecordResult(key=item.key, kind="access_key", outcome="skip", reasons=("own-authorisation",))
    kind = item.data.kind if isinstance(item.data, AppKeyData) else "unknown"
    return RecordResult(
        key=item.key,
        kind="access_key",
        outcome="reissue",
        reasons=("app-invitation",),
        detail=_INVITE.get(kind, "pair it again"),
    )
