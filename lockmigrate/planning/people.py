"""Units that know people (ZK): users with their PINs and cards, fingers, groups, combinations and time tables.

A user's number is what fingers hang on, so it is kept, or a person decides. What a user may do rests on tables that lie
elsewhere in the unit: where the old unit's tables are not known, a record that refers to them waits for a person's word
(R0: losing a time window widens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, Group, Kind, Schedule, User
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.draft import Draft
from lockmigrate.planning.people_parts import (
    DOUBTS,
    Place,
    WeekOrGroups,
    by_key,
    doubts_of,
    place_of,
    supported,
    tables_of,
    unread_tables,
)
from lockmigrate.planning.policy import Choice, Policy, decided
from lockmigrate.planning.settings import missing_by_name, plan_access_keys, plan_settings
from lockmigrate.planning.templates import fit

ANSWERS: Final[tuple[Choice, ...]] = ("write", "override", "skip")
ADMINS: Final = ("enroller", "admin", "owner")


def plan_people(
    draft: Draft,
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    unconfirmed: frozenset[str],
    fitted: Mapping[str, Fitted],
) -> None:
    """Fill a draft for a unit with users; `fitted` says how the target would hold each of them."""
    _People(draft, source, target, unit, policy, unconfirmed, fitted).work()


class _People:
    def __init__(
        self,
        draft: Draft,
        source: Snapshot,
        target: Snapshot,
        unit: Unit,
        policy: Policy,
        unconfirmed: frozenset[str],
        fitted: Mapping[str, Fitted],
    ) -> None:
        self._draft, self._source, self._target, self._unit = draft, source, target, unit
        self._policy, self._unconfirmed, self._fitted = policy, unconfirmed, fitted
        self._is_file = unit.details.get("medium") == "file"
        self._keeps_tables = not self._is_file and supported(target, "schedules")
        self._held = {int(user.origin["user_index"]): user for user in target.users}
        self._held_fingers = {
            place_of(item): item for item in target.credentials if item.credential_type == "Fingerprint"
        }
        self._ids = {user.external_id: uid for uid, user in self._held.items() if user.external_id}
        self._doubts = doubts_of(source)
        self._in_records: dict[str, list[Credential]] = {}
        """User to the PIN and the card that lie in the same record."""
        for item in source.credentials:
            if item.user and item.credential_type in ("PIN", "RFID"):
                self._in_records.setdefault(item.user, []).append(item)
        self._outcomes: dict[str, RecordResult] = {}
        self._uids: set[int] = set()
        self._places: set[Place] = set()
        self._from_terminal = source.lock.protocol.get("medium") != "file"
        self._resting: list[str] = []
        """Users whose rights rest on tables that their terminal does not give out."""
        self._styles_unknown = any(gap.section == "verify_styles" for gap in target.gaps)
        self._written_users: set[str] = set()

    def work(self) -> None:
        """Fill the draft: removals first (they free numbers), then tables, people, fingers, settings."""
        draft = self._draft
        tables: list[Step] = []
        users: list[Step] = []
        fingers: list[Step] = []
        for item in tables_of(self._source):
            self._table(item, tables)
        for user in self._in_order():
            self._user(user, users)
        for credential in self._source.credentials:
            if credential.credential_type == "Fingerprint":
                self._finger(credential, fingers)
        gone, defaults = self._extra()
        settings, first, last = plan_settings(self._source, self._target, self._policy)
        keys, key_steps = plan_access_keys(self._source, self._target, self._policy)
        draft.records = [*self._in_source_order(), *settings, *keys, *self._log()]
        order = {user.key: index for index, user in enumerate(self._source.users)}
        users.sort(key=lambda step: order[step.key])  # those who may enter had the first choice of room; now as read
        draft.steps = [*gone, *first, *tables, *users, *fingers, *defaults, *last, *key_steps]
        draft.warnings += [*self._warnings(), *missing_by_name(draft.records, self._policy)]

    # ---- tables of times and groups ---------------------------------------------------------------------------------

    def _table(self, item: WeekOrGroups, steps: list[Step]) -> None:
        kind: Kind = "schedule" if isinstance(item, Schedule) else "group" if isinstance(item, Group) else "combination"
        result = RecordResult(key=item.key, kind=kind, outcome="copy")
        if not item.raw:
            self._outcomes[item.key] = replace(result, outcome="skip", reasons=("zone-table-unknown",))
            return
        if not self._keeps_tables:
            self._outcomes[item.key] = replace(result, outcome="skip", reasons=("schedule-unsupported",))
            return
        data = self._source.bytes_of(item.raw[0])
        held = by_key(self._target, item.key)
        if held is not None and held.raw and self._target.bytes_of(held.raw[0]) == data:
            self._outcomes[item.key] = replace(result, done=True, proof="V4")
            return
        if held is not None and item.key not in self._unconfirmed:
            if self._policy.existing == "merge":
                asked = self._ask(result, "capacity", "the target's table of this number says something else")
                self._outcomes[item.key] = asked
                if asked.outcome != "copy":
                    return
            else:
                self._draft.overwrites.append(item.key)
        self._outcomes.setdefault(item.key, result)
        number = int(item.origin["number"])
        steps.append(
            Step(key=item.key, kind=kind, action="put", origin={"number": number}, value=data, was_empty=held is None)
        )

    # ---- users, with the PIN and the card in their record -----------------------------------------------------------

    def _in_order(self) -> list[User]:
        """Where room is short those who may enter come first, then the lower number (neutral-format 6.3)."""
        return sorted(
            self._source.users, key=lambda user: (user.user_status == "OccupiedDisabled", user.origin["user_index"])
        )

    def _user(self, user: User, steps: list[Step]) -> None:
        uid = int(user.origin["user_index"])
        result = RecordResult(key=user.key, kind="user", outcome="copy")
        fitted = self._fitted.get(user.key)
        if fitted is None:
            self._settle(user, replace(result, outcome="needs_input", reasons=("user-id-unsupported",)))
            return
        style = None if self._styles_unknown else user.vendor.get("zk", {}).get("verify_mode")
        held = self._held.get(uid)
        if uid not in self._uids and held is not None and self._same(held, fitted.record, style):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            self._uids.add(uid)
            self._written_users.add(user.key)
            self._settle(user, replace(result, done=True, proof="V4"))
            return
        result = self._judge(user, result, fitted)
        if result.outcome not in ("copy", "adjust"):
            self._settle(user, result)
            return
        result = self._room(user, uid, result)
        if result.outcome not in ("copy", "adjust"):
            self._settle(user, result)
            return
        self._uids.add(uid)
        self._written_users.add(user.key)
        self._settle(user, result)
        steps.append(
            Step(
                key=user.key,
                kind="user",
                action="put",
                origin={"user_index": uid, "verify": style},
                value=fitted.record,
                also=tuple(item.key for item in self._carried(user)),
                was_empty=held is None,
            )
        )

    def _judge(self, user: User, result: RecordResult, fitted: Fitted) -> RecordResult:
        """Ask everything that stands in the way, one after the other; the first that is not answered decides."""
        for code, detail in self._user_questions(user, fitted):
            asked = self._ask(result, code, detail)
            if asked.outcome != "copy":
                return asked
            result = replace(asked, outcome=result.outcome, reasons=(*result.reasons, code))
        refusals = fitted.refusals
        if self._styles_unknown and user.vendor.get("zk", {}).get("verify_mode"):
            detail = "the target does not tell in which way a user has to verify, so that this could not be proven"
            refusals = (*refusals, ("rule-unsupported", detail))
        for code, detail in refusals:
            refused = replace(result, outcome="refuse", reasons=(code,), detail=detail)
            answer = decided(refused, self._policy, ("override", "skip"))
            if answer is None:
                return refused
            if answer.choice == "skip":
                return replace(refused, outcome="skip")
            result = replace(result, reasons=(*result.reasons, code), detail=detail)
        if fitted.changes:
            codes = tuple(code for code, _ in fitted.changes)
            result = replace(result, outcome="adjust", reasons=(*result.reasons, *codes), detail=fitted.changes[0][1])
        return result

    def _user_questions(self, user: User, fitted: Fitted) -> list[tuple[str, str]]:
        questions = [(code, DOUBTS[code]) for code in self._doubts.get(user.key, ())]
        questions += fitted.questions
        unknown = None if self._is_file else self._unknown_tables(user)
        if unknown:
            questions.append(("zone-table-unknown", unknown))
        return questions

    def _unknown_tables(self, user: User) -> str | None:
        missing = unread_tables(self._source, user)
        if not missing:
            return None
        if self._from_terminal and user.vendor.get("zk", {}).get("record_bytes") == 28:
            # Such terminals give their tables out in no form that is public; the raw numbers move, and the plan warns
            # (ZK reference, section 8).
            self._resting.append(user.key)
            return None
        return f"it rests on {', '.join(missing)}, whose contents the backup does not hold"

    def _room(self, user: User, uid: int, result: RecordResult) -> RecordResult:
        """See whether number and id are free on the target, and whether there is room at all."""
        if uid in self._uids:
            return self._ask(result, "uid-duplicate", "another record of the backup takes this number", ("skip",))
        held = self._held.get(uid)
        torn = user.key in self._unconfirmed
        merging = self._policy.existing == "merge"
        elsewhere = self._ids.get(user.external_id) if user.external_id else None
        if merging and elsewhere not in (None, uid):
            return self._ask(result, "user-id-duplicate", f"user {elsewhere} of the target has this id", ("skip",))
        if held is not None and not torn:
            if merging:
                return self._ask(result, "capacity", f"user {uid} of the target is another one")
            self._draft.overwrites.append(user.key)
        total = self._unit.capabilities.number_of_total_users_supported
        staying = len(self._held.keys() - self._uids) if merging else 0
        if total is not None and held is None and len(self._uids) + staying + 1 > total:
            return self._ask(result, "capacity", f"the target has room for {total} users", ("skip",))
        return result

    def _same(self, held: User, record: bytes, style: Any) -> bool:
        mode = held.vendor.get("zk", {}).get("verify_mode")
        return bool(held.raw) and self._target.bytes_of(held.raw[0]) == record and (mode or 0) == (style or 0)

    def _carried(self, user: User) -> list[Credential]:
        return self._in_records.get(user.key, [])

    def _settle(self, user: User, result: RecordResult) -> None:
        """Note the outcome of a user; what lies in the same record shares it."""
        self._outcomes[user.key] = result
        for item in self._carried(user):
            kind: Kind = "pin" if item.credential_type == "PIN" else "card"
            own = () if result.outcome in ("copy", "adjust") else result.reasons
            outcome = "copy" if result.outcome == "adjust" else result.outcome
            self._outcomes[item.key] = replace(
                result, key=item.key, kind=kind, outcome=outcome, reasons=own, detail=None, follows=user.key
            )

    # ---- fingers ----------------------------------------------------------------------------------------------------

    def _finger(self, credential: Credential, steps: list[Step]) -> None:
        result = RecordResult(key=credential.key, kind="fingerprint", outcome="copy")
        self._outcomes[credential.key] = self._judge_finger(credential, result, steps)

    def _judge_finger(self, credential: Credential, result: RecordResult, steps: list[Step]) -> RecordResult:
        template, place = credential.template, place_of(credential)
        if template is None:
            return replace(result, outcome="re_enrol", reasons=("template-unreadable",))
        data, flag = self._source.bytes_of(template.template), int(credential.vendor.get("zk", {}).get("flag", 1))
        held = self._held_fingers.get(place)
        owner = self._outcomes.get(credential.user or "")
        if held is not None and held.template is not None and place not in self._places and credential.user:
            same = self._target.bytes_of(held.template.template) == data
            if same and held.vendor.get("zk", {}).get("flag", 1) == flag and credential.user in self._written_users:
                self._places.add(place)
                return replace(result, done=True, proof="V4")
        for code in self._doubts.get(credential.key, ()):
            asked = self._ask(result, code, DOUBTS[code], ("skip",) if code == "user-missing" else ANSWERS)
            if asked.outcome != "copy":
                return asked
        if owner is None or credential.user not in self._written_users:
            reasons = owner.reasons if owner else ("user-missing",)
            outcome = owner.outcome if owner and owner.outcome in ("skip", "refuse") else "needs_input"
            detail = "its user is not written"
            follows = owner.key if owner and owner.outcome == outcome else None
            reasons = reasons or ("user-missing",)
            return replace(result, outcome=outcome, reasons=reasons, detail=detail, follows=follows)
        capability = self._unit.capabilities.credentials.fingerprint
        verdict = fit(template.template_format, capability)
        if verdict != "fits":
            takes = ", ".join(capability.template_formats) if capability else ""
            detail = f"the template is {template.template_format}, the target takes {takes or 'no templates'}"
            return replace(result, outcome="re_enrol", reasons=(verdict,), detail=detail)
        if place in self._places:
            return self._ask(result, "uid-duplicate", "another template of the backup takes this place", ("skip",))
        result = self._finger_room(credential, held, result)
        if result.outcome != "copy":
            return result
        self._places.add(place)
        steps.append(
            Step(
                key=credential.key,
                kind="fingerprint",
                action="put",
                origin={"user_index": place[0], "finger": place[1], "flag": flag},
                value=data,
                was_empty=held is None or credential.key in self._unconfirmed,
            )
        )
        return result

    def _finger_room(self, credential: Credential, held: Credential | None, result: RecordResult) -> RecordResult:
        merging = self._policy.existing == "merge"
        if held is not None and credential.key not in self._unconfirmed:
            if merging:
                return self._ask(result, "capacity", "the target holds another template for this finger")
            self._draft.overwrites.append(credential.key)
        capability = self._unit.capabilities.credentials.fingerprint
        slots = capability.slots if capability else None
        staying = len(self._held_fingers.keys() - self._places) if merging else 0
        if slots is not None and held is None and len(self._places) + staying + 1 > slots:
            return self._ask(result, "capacity", f"the target has room for {slots} templates", ("skip",))
        return result

    # ---- what else is on the target ---------------------------------------------------------------------------------

    def _extra(self) -> tuple[list[Step], list[Step]]:
        """Find what the plan would not write; returns the steps that take people away, and those that reset tables."""
        users = [user.key for uid, user in sorted(self._held.items()) if uid not in self._uids]
        fingers = [item for place, item in sorted(self._held_fingers.items()) if place not in self._places]
        wanted = {*self._outcomes}
        tables: list[tuple[Kind, Any]] = [
            *(("schedule", item) for item in self._target.schedules if item.raw),
            *(("group", item) for item in self._target.groups),
            *(("combination", item) for item in self._target.combinations),
        ]
        unwanted = [
            (kind, item)
            for kind, item in tables
            if item.key not in wanted and not item.vendor.get("zk", {}).get("default")
        ]
        self._draft.existing = [*users, *(item.key for item in fingers), *(item.key for _, item in unwanted)]
        self._draft.existing += [key for key in self._draft.overwrites if key not in self._draft.existing]
        if self._policy.existing != "replace":
            return [], []
        self._draft.removals = [*users, *(item.key for item in fingers), *(item.key for _, item in unwanted)]
        leaving = {user.key: user for uid, user in sorted(self._held.items()) if uid not in self._uids}
        gone = [
            Step(
                key=item.key,
                kind="fingerprint",
                action="remove",
                origin={"user_index": place_of(item)[0], "finger": place_of(item)[1]},
                was_empty=False,
            )
            for item in fingers
            if item.user not in leaving  # deleting a user takes the templates along
        ]
        gone += [
            Step(
                key=user.key,
                kind="user",
                action="remove",
                origin={"user_index": user.origin["user_index"]},
                also=tuple(item.key for item in fingers if item.user == user.key),
                was_empty=False,
            )
            for user in leaving.values()
        ]
        defaults = [
            Step(key=item.key, kind=kind, action="remove", origin={"number": item.origin["number"]}, was_empty=False)
            for kind, item in unwanted
        ]
        return gone, defaults

    # ---- answers, order, words --------------------------------------------------------------------------------------

    def _ask(self, result: RecordResult, reason: str, detail: str, suits: tuple[Choice, ...] = ANSWERS) -> RecordResult:
        asked = replace(result, outcome="needs_input", reasons=(reason,), detail=detail)
        answer = decided(asked, self._policy, suits)
        if answer is None:
            return asked
        return replace(asked, outcome="skip" if answer.choice == "skip" else "copy")

    def _in_source_order(self) -> list[RecordResult]:
        source = self._source
        sections = (source.users, source.credentials, source.groups, source.combinations, source.schedules)
        return [self._result_of(item.key) for items in sections for item in items]

    def _result_of(self, key: str) -> RecordResult:
        if key in self._outcomes:
            return self._outcomes[key]
        # A PIN or a card of nobody, a face: nothing writes it.
        kind: Kind = "face" if key.startswith("face/") else "card" if key.startswith("card/") else "pin"
        return RecordResult(key=key, kind=kind, outcome="needs_input", reasons=("user-missing",))

    def _log(self) -> list[RecordResult]:
        if not self._source.log:
            return []
        return [RecordResult(key="log", kind="log", outcome="skip", reasons=("log",))]

    def _warnings(self) -> list[str]:
        warnings = []
        admins = [user for user in self._source.users if user.privilege in ADMINS and user.key in self._written_users]
        if admins:
            warnings.append(f"{len(admins)} of the users have administration rights, which move with them")
        resting = [key for key in self._resting if key in self._written_users]
        if resting:
            warnings.append(
                f"zone-table-unknown: {len(resting)} of the users have time zones or a group of their own; the old "
                "terminal does not give out what those allow: see that the new one's tables say the same before it "
                "goes into service"
            )
        if self._is_file and self._source.schedules:
            warnings.append(
                "zone-table-unknown: a folder carries the numbers of time zones and groups, not their tables; "
                "they have to be on the terminal that reads it"
            )
        return warnings
