"""Units that know people (ZK): users with their PINs and cards, fingers, groups, combinations and time tables.

A user's number is what fingers hang on, so it is kept, or a person decides. What a user may do rests on tables that lie
elsewhere in the unit: a user is written only where those allow no more than the old unit's did (R0); where that is not
known, the record waits for a person's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, Kind, User
from lockmigrate.model.results import WRITTEN, RecordResult, Unit
from lockmigrate.model.steps import Fitted, Step
from lockmigrate.planning.doors import UNKNOWN, Doors, Member, Right, member_of, more
from lockmigrate.planning.draft import Draft
from lockmigrate.planning.people_extra import Extra, link, staying
from lockmigrate.planning.people_fingers import Fingers
from lockmigrate.planning.people_parts import (
    ANSWERS,
    DOUBTS,
    SKIP_ONLY,
    WIDER,
    Scene,
    doubts_of,
    fingers_of,
    id_of,
    is_disabled,
    mode_of,
    place_of,
    uid_of,
)
from lockmigrate.planning.people_tables import Resident, Tables
from lockmigrate.planning.policy import Choice, Policy
from lockmigrate.planning.settings import missing_by_name, plan_access_keys, plan_settings

ADMINS: Final = ("enroller", "admin", "owner")
NOT_CARRIED: Final[Mapping[str, str]] = {"PIN": "pin-length", "RFID": "card-too-long"}
"""What lies in a user's record, and the question with which it stays behind if the record is written all the same."""
NARROWER: Final = "on the target it may enter at fewer times, in fewer ways or only beside others"


def plan_people(
    draft: Draft,
    source: Snapshot,
    target: Snapshot,
    unit: Unit,
    policy: Policy,
    unconfirmed: frozenset[str],
    fitted: Mapping[str, Fitted],
) -> None:
    """Fill a draft for a unit with users; `fitted` says how the target would hold each of them.

    Which tables may change depends on who stays on the target, and who makes room depends on the tables. So the plan is
    made again without those who go, until that is the same; where it does not settle, all of them count as staying.
    """

    def planned(leaving: frozenset[int]) -> Scene:
        scene = Scene(
            draft=Draft(),
            source=source,
            target=target,
            unit=unit,
            policy=policy,
            unconfirmed=unconfirmed,
            fitted=fitted,
        )
        _People(scene, leaving).work()
        return scene

    leaving: frozenset[int] = frozenset()
    scene = first = planned(leaving)
    while scene.merging and scene.cleared > leaving:
        leaving = frozenset(scene.cleared)
        scene = planned(leaving)
    if not scene.cleared >= leaving:
        scene = first
    for name in ("records", "steps", "removals", "existing", "overwrites", "warnings", "needs"):
        setattr(draft, name, getattr(scene.draft, name))


class _People:
    def __init__(self, scene: Scene, leaving: frozenset[int]) -> None:
        self._scene, self._leaving = scene, leaving
        self._source, self._target = scene.source, scene.target
        self._held: dict[int, list[User]] = {}
        self._ids: dict[bytes, set[int]] = {}
        for user in scene.target.users:
            self._held.setdefault(uid_of(user), []).append(user)
            self._ids.setdefault(_id_on(scene.target, user), set()).add(uid_of(user))
        self._finger_uids = {place_of(item)[0] for item in fingers_of(scene.target)}
        self._doubts = doubts_of(scene.source)
        self._in_records: dict[str, list[Credential]] = {}
        """User to the PIN and the card that lie in the same record."""
        for item in scene.source.credentials:
            if item.user and item.credential_type in NOT_CARRIED:
                self._in_records.setdefault(item.user, []).append(item)
        self._exact = {
            id_of(scene.fitted[user.key].record)
            for user in scene.source.users
            if user.key in scene.fitted and self._keeps_id(user)
        }
        """Ids that are on the target what they were."""
        self._styles_read = any(mode_of(user) is not None for user in scene.source.users)
        self._styles_unknown = any(gap.section == "verify_styles" for gap in scene.target.gaps)
        # Only a folder says of itself that it carries numbers and no tables.
        self._from_file = any(gap.code == UNKNOWN for gap in scene.source.gaps)
        self._resting: list[str] = []
        """Users whose rights rest on tables that their terminal does not give out."""

    def work(self) -> None:
        """Fill the draft: removals first (they free numbers), then tables, people, fingers, settings."""
        scene, draft = self._scene, self._scene.draft
        users = sorted(self._source.users, key=lambda user: (is_disabled(user), uid_of(user)))
        scene.equal |= {uid_of(user) for user in users if self._there(user)}
        self._tables = Tables(scene, list(self._residents()))
        self._tables.work()
        scene.equal -= self._tables.unsettled
        self._taken = scene.equal | (self._held.keys() if scene.merging else set())
        """Numbers that are or will be taken: what is equal counts before what is new."""
        self._before, self._after = _rights(self._tables.mine, presumed=True), _rights(self._tables.now)
        steps: list[Step] = []
        for user in users:
            self._user(user, steps)
        order = {user.key: index for index, user in enumerate(self._source.users)}
        steps.sort(key=lambda step: order[step.key])  # those who may enter had the first choice of room; now as read
        fingers = Fingers(scene)
        fingers.work()
        extra = Extra(scene, self._tables, fingers.steps)
        extra.work()
        link(scene, self._tables, extra.steps, steps, fingers.steps)
        settings, first, last = plan_settings(self._source, self._target, scene.policy)
        keys, key_steps = plan_access_keys(self._source, self._target, scene.policy)
        draft.records = [*self._in_source_order(), *settings, *keys, *self._log()]
        draft.steps = [*extra.steps, *first, *self._tables.steps, *steps, *fingers.steps, *last, *key_steps]
        draft.warnings += [*self._warnings(), *missing_by_name(draft.records, scene.policy)]

    def _residents(self) -> Iterable[Resident]:
        """Sort the people of the target who stay as they are, by what they may do."""
        scene = self._scene
        stay = ({*self._held} - self._leaving) if scene.merging else scene.equal
        users = (user for user in self._target.users if uid_of(user) in stay)
        for member, uids in staying(users).items():
            yield Resident(member, tuple(uids))

    # ---- one user ---------------------------------------------------------------------------------------------------

    def _user(self, user: User, steps: list[Step]) -> None:
        scene, uid = self._scene, uid_of(user)
        result = RecordResult(key=user.key, kind="user", outcome="copy")
        fitted = scene.fitted.get(user.key)
        if fitted is None:
            detail = "the target holds no such records"
            self._settle(user, scene.ask(result, "user-id-unsupported", detail, SKIP_ONLY))
            return
        there = uid not in scene.uids and uid in scene.equal and self._there(user)
        if there and not fitted.refusals and not self._hides_style(user):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            known = [said for said in fitted.questions if said[0] != "user-id-duplicate"]
            result = _said(result, (*known, *fitted.changes))
        else:
            result = self._judge(user, result, fitted)
            if result.outcome in WRITTEN and not there:
                result = self._room(user, uid, fitted, result)
        if result.outcome not in WRITTEN:
            self._settle(user, result)
            return
        scene.uids.add(uid)
        self._taken.add(uid)
        scene.written.add(user.key)
        if there:
            self._settle(user, replace(result, done=True, proof="V4"))
            scene.looser[user.key] = self._wider(user, fitted)
            return
        self._settle(user, result)
        steps.append(
            Step(
                key=user.key,
                kind="user",
                action="put",
                origin={"user_index": uid, "verify": self._style(user)},
                value=fitted.record,
                also=tuple(item.key for item in self._carried(user) if self._not_carried(user, item) is None),
            )
        )

    def _judge(self, user: User, result: RecordResult, fitted: Fitted) -> RecordResult:
        """Ask everything that stands in the way, one after the other; the first that is not answered decides."""
        scene = self._scene
        asked: list[tuple[str, str]] = []
        for code, detail, suits in self._questions(user, fitted):
            result = scene.ask(result, code, detail, suits)
            if result.outcome not in WRITTEN:
                return result
            asked += [(code, detail)] if (code, detail) in fitted.questions else []
        wider = self._wider(user, fitted)
        if UNKNOWN in wider:
            result = scene.ask(result, UNKNOWN, self._why_unknown(user))
            if result.outcome not in WRITTEN:
                return result
        refusals = dict(fitted.refusals)
        if self._hides_style(user):
            detail = "the target does not tell in which way a user has to verify, so that this could not be proven"
            refusals.setdefault("rule-unsupported", detail)
        refusals = {**{code: WIDER[code] for code in wider if code != UNKNOWN}, **refusals}
        for code, detail in refusals.items():
            result = scene.refuse(result, code, detail)
            if result.outcome not in WRITTEN:
                return result
        changes = (*asked, *fitted.changes)
        if not wider:
            changes += tuple((code, NARROWER) for code in self._narrower(user, fitted))
        return _said(result, changes)

    def _questions(self, user: User, fitted: Fitted) -> Iterable[tuple[str, str, tuple[Choice, ...]]]:
        for code in self._doubts.get(user.key, ()):
            yield code, DOUBTS[code], ANSWERS
        if mode_of(user) is None and self._styles_read and not self._styles_unknown:
            yield "rule-unsupported", "the old unit did not tell in which way this user has to verify", ANSWERS
        exact, found = self._keeps_id(user), id_of(fitted.record)
        clash = not exact and found != b"" and found in self._exact
        if clash:
            yield "user-id-duplicate", f"as a number this user id is that of another user ({found.decode()})", SKIP_ONLY
        for code, detail in fitted.questions:
            if code != "user-id-duplicate":
                yield code, detail, ANSWERS
            elif not exact:
                yield code, detail, SKIP_ONLY

    def _keeps_id(self, user: User) -> bool:
        """Whether a user's id is the very same on the target."""
        return id_of(self._scene.fitted[user.key].record) == _id_on(self._source, user)

    def _style(self, user: User) -> Any:
        """Return the verify mode to be written; None where the target does not tell any."""
        return None if self._styles_unknown else mode_of(user) or 0

    def _hides_style(self, user: User) -> bool:
        return self._styles_unknown and bool(mode_of(user))

    # ---- what the tables allow --------------------------------------------------------------------------------------

    def _wider(self, user: User, fitted: Fitted) -> tuple[str, ...]:
        """Name what the target's tables, as they will be, may allow the user beyond the old unit's."""
        member, width = member_of(user), user.vendor.get("zk", {}).get("record_bytes")
        if self._scene.is_file or member.group is None:
            return ()
        alike = width == len(fitted.record)
        if alike and width == 28 and not self._from_file and not self._tables.mine.knows("group"):
            # Such terminals give their tables out in no form that is public; the raw numbers move, and the plan warns
            # (ZK reference, section 8).
            if member.bits or member.group not in (0, 1):
                self._resting.append(user.key)
            return ()
        return more(self._after(self._on_target(member, alike=alike)), self._before(member))

    def _narrower(self, user: User, fitted: Fitted) -> tuple[str, ...]:
        member = member_of(user)
        if not self._tables.mine.knows("group") or not self._tables.now.knows("group"):
            return ()
        alike = user.vendor.get("zk", {}).get("record_bytes") == len(fitted.record)
        less = more(self._before(member), self._after(self._on_target(member, alike=alike)))
        return tuple(dict.fromkeys("schedule-unsupported" if code == UNKNOWN else code for code in less))

    @staticmethod
    def _on_target(member: Member, *, alike: bool) -> Member:
        """Between widths a user's own zones do not move, and what names them is refused (`formats.fitted`)."""
        return member if alike else Member(member.group, None, 0, member.style)

    def _why_unknown(self, user: User) -> str:
        member, mine, now = member_of(user), self._tables.mine, self._tables.now
        own = "its own time zones" if member.own or member.bits else f"group {member.group}"
        if not now.knows("group") and mine.knows("group"):
            return f"it rests on {own}, and the target does not give out what its tables say"
        if not mine.knows("group"):
            return f"it rests on {own}, whose contents the backup does not hold"
        return f"it rests on {own}, and whether the target's tables allow the same cannot be told"

    # ---- a place for it ---------------------------------------------------------------------------------------------

    def _room(self, user: User, uid: int, fitted: Fitted, result: RecordResult) -> RecordResult:
        """See whether number and id are free on the target, and whether there is room at all."""
        scene, held = self._scene, self._held.get(uid, [])
        if uid in scene.uids:
            return scene.ask(result, "uid-duplicate", "another record of the backup takes this number", SKIP_ONLY)
        mine = id_of(fitted.record)
        elsewhere = self._ids.get(mine, set()) - {uid} - scene.equal if mine else set()
        if scene.merging and elsewhere:
            detail = f"user {min(elsewhere)} of the target has this id"
            return scene.ask(result, "user-id-duplicate", detail, SKIP_ONLY)
        if scene.merging and not held and uid in self._finger_uids:
            detail = f"the target holds fingerprints of nobody under the number {uid}, which would be this user's"
            return scene.ask(result, "uid-duplicate", detail, SKIP_ONLY)
        total = scene.unit.capabilities.number_of_total_users_supported
        if total is not None and len(self._taken) + (uid not in self._taken) > total:
            return scene.ask(result, "capacity", f"the target has room for {total} users", SKIP_ONLY)
        if not held:
            return result
        # Whatever an interrupted run left is this person's; anybody else is asked about.
        torn = user.key in scene.unconfirmed and all(_id_on(self._target, other) == mine for other in held)
        if not torn and uid not in self._tables.unsettled:
            if scene.merging:
                same = mine != b"" and {_id_on(self._target, other) for other in held} == {mine}
                what = "has another record" if same else "is another one"
                result = scene.ask(result, "capacity", f"user {uid} of the target {what}")
                if result.outcome not in WRITTEN:
                    return result
            scene.draft.overwrites += [other.key for other in held]
        scene.cleared.add(uid)
        return result

    def _there(self, user: User) -> bool:
        """Whether the very record stands in its place on the target, as the only one."""
        held, fitted = self._held.get(uid_of(user), []), self._scene.fitted.get(user.key)
        if fitted is None or len(held) != 1 or not held[0].raw:
            return False
        styles = 0 if self._styles_unknown else (mode_of(user) or 0)
        same = self._target.bytes_of(held[0].raw[0]) == fitted.record
        return same and (mode_of(held[0]) or 0) == styles

    # ---- what lies in the record ------------------------------------------------------------------------------------

    def _carried(self, user: User) -> list[Credential]:
        return self._in_records.get(user.key, [])

    def _not_carried(self, user: User, item: Credential) -> str | None:
        """Return why a PIN or a card does not fit into the record as the target holds it."""
        fitted = self._scene.fitted.get(user.key)
        code = NOT_CARRIED[item.credential_type]
        return code if fitted and any(code == question for question, _ in fitted.questions) else None

    def _settle(self, user: User, result: RecordResult) -> None:
        """Note the outcome of a user; what lies in the same record shares it."""
        self._scene.outcomes[user.key] = result
        for item in self._carried(user):
            kind: Kind = "pin" if item.credential_type == "PIN" else "card"
            left = self._not_carried(user, item)
            if result.outcome in WRITTEN and left is not None:
                own = RecordResult(key=item.key, kind=kind, outcome="skip", reasons=(left,), detail=result.detail)
            elif result.outcome in WRITTEN:
                own = replace(
                    result, key=item.key, kind=kind, outcome="copy", reasons=(), detail=None, follows=user.key
                )
            else:
                own = replace(result, key=item.key, kind=kind, detail=None, follows=user.key)
            self._scene.outcomes[item.key] = own

    # ---- order, words -----------------------------------------------------------------------------------------------

    def _in_source_order(self) -> list[RecordResult]:
        source = self._source
        sections = (source.users, source.credentials, source.groups, source.combinations, source.schedules)
        return [self._result_of(item) for items in sections for item in items]

    def _result_of(self, item: Any) -> RecordResult:
        if item.key in self._scene.outcomes:
            return self._scene.outcomes[item.key]
        if item.credential_type == "Face":
            return RecordResult(key=item.key, kind="face", outcome="re_enrol", reasons=("template-format",))
        kind: Kind = "card" if item.credential_type == "RFID" else "pin"
        nobody = RecordResult(key=item.key, kind=kind, outcome="copy")
        return self._scene.ask(nobody, "user-missing", DOUBTS["user-missing"], SKIP_ONLY)

    def _log(self) -> list[RecordResult]:
        if not self._source.log:
            return []
        return [RecordResult(key="log", kind="log", outcome="skip", reasons=("log",))]

    def _warnings(self) -> list[str]:
        warnings, scene = [], self._scene
        admins = [user for user in self._source.users if user.privilege in ADMINS and user.key in scene.written]
        if admins:
            warnings.append(f"{len(admins)} of the users have administration rights, which move with them")
        resting = [key for key in self._resting if key in scene.written]
        if resting:
            warnings.append(
                f"zone-table-unknown: {len(resting)} of the users have time zones or a group of their own; the old "
                "terminal does not give out what those allow: see that the new one's tables say the same before it "
                "goes into service"
            )
        if scene.is_file and self._source.groups:
            warnings.append(
                "zone-table-unknown: a folder carries the numbers of time zones and groups, not their tables; "
                "they have to be on the terminal that reads it"
            )
        return warnings


def _said(result: RecordResult, changes: Iterable[tuple[str, str]]) -> RecordResult:
    """Note what changes on the way: the record is then not the same, and says so."""
    changes = list(changes)
    if not changes:
        return result
    reasons = tuple(dict.fromkeys((*result.reasons, *(code for code, _ in changes))))
    return replace(result, outcome="adjust", reasons=reasons, detail=result.detail or changes[0][1])


def _id_on(snapshot: Snapshot, user: User) -> bytes:
    return id_of(snapshot.bytes_of(user.raw[0])) if user.raw else b""


def _rights(doors: Doors, *, presumed: bool = False) -> Any:
    """Return the evaluation of these tables, each kind of member worked out once."""

    @cache
    def right(member: Member) -> Right:
        return doors.right(member, presumed=presumed)

    return right
