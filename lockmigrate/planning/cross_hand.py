"""What no plan between families writes: who has to come and enrol, whom to invite, what to set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.adopted import EVERY_DAY, Limits
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import AppKeyData, Credential, LockSchedule
from lockmigrate.model.results import WRITTEN, RecordResult, Unit
from lockmigrate.planning.cross_codes import Codes
from lockmigrate.planning.cross_people import People
from lockmigrate.planning.cross_shape import Shape, joined
from lockmigrate.planning.limits import both
from lockmigrate.planning.people_parts import DOUBTS
from lockmigrate.planning.policy import Policy
from lockmigrate.planning.settings import plan_access_keys

_INVITE: Final = {"app": "invite again", "bridge": "pair the bridge again", "fob": "pair the fob again"}
_DAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_OFF: Final = "it is switched off on the old unit"


class ByHand:
    """Works out what becomes of fingers, faces, apps and the like."""

    def __init__(
        self,
        source: Snapshot,
        unit: Unit,
        policy: Policy,
        people: People,
        codes: Codes,
        fates: Mapping[str, RecordResult],
    ) -> None:
        self._source, self._unit, self._policy = source, unit, policy
        self._people, self._codes, self._fates = people, codes, fates
        self._by_key = {item.key: item for item in source.credentials}

    def judge(self, item: Credential) -> RecordResult:
        """Say what becomes of one of them."""
        if item.credential_type == "AppKey":
            return app_key(item)
        face = item.credential_type == "Face"
        result = RecordResult(key=item.key, kind="face" if face else "fingerprint", outcome="copy")
        person = self._people.fates.get(item.user or "")
        if person is not None and person.outcome != "adjust":
            return replace(person, key=result.key, kind=result.kind, detail=None, follows=person.key)
        bearer = self._by_key.get(item.linked_to) if isinstance(item.linked_to, str) else None
        code = self._fates.get(bearer.key) if bearer is not None else None
        if code is not None and code.outcome == "skip":  # the rights that it has are none, or left out
            return replace(code, key=result.key, kind=result.kind, follows=code.key)
        shape = Shape(result, self._policy)
        limits = self._codes.limits_of(item)
        limits = limits if bearer is None else both(limits, self._codes.limits_of(bearer))
        if item.user is None and self._source.users:
            shape.question("user-missing", DOUBTS["user-missing"])
        if item.status == "disabled" or self._off(item):
            shape.skip("disabled-unsupported", _OFF)
        if self._codes.over(limits):
            shape.skip("expired", "its last day is over")
        if limits.never or not self._people.opens_with(item.user, item.credential_type):
            shape.skip("rule-unsupported", "it alone does not open the old unit")
        if item.duress:
            shape.refuse("duress-unsupported", "the new unit has no finger with a silent alarm")
        held = self._unit.capabilities.credentials
        if (held.face if face else held.fingerprint) is None:
            lacks = "the new unit knows no faces" if face else "the new unit has no fingerprint reader"
            shape.question("template-format", lacks)
        settled = shape.settled()
        if settled.outcome not in WRITTEN:
            return settled
        given = item.template is not None
        reasons = [*settled.reasons, "template-format" if given or face else "template-unreadable"]
        reasons += ["schedule-unreadable"] if limits.unknown else []
        detail = joined((self._who(item, limits), settled.detail))
        return replace(settled, outcome="re_enrol", reasons=tuple(dict.fromkeys(reasons)), detail=detail)

    def _off(self, item: Credential) -> bool:
        user = self._people.users.get(item.user or "")
        return user is not None and user.user_status == "OccupiedDisabled"

    def _who(self, item: Credential, limits: Limits) -> str | None:
        """Say whose finger it is, and when it counted: what has to be set again after enrolling (6.7)."""
        user = self._people.users.get(item.user or "")
        name = item.name if isinstance(item.name, str) else user.user_name if user is not None else None
        parts = [f'"{name}"'] if name else []
        number = item.vendor.get("ttlock", {}).get("number")
        parts += [f"finger {number}"] if number else []
        parts += words(limits)
        parts += [f"opens with the rights of {item.linked_to}"] if isinstance(item.linked_to, str) else []
        return joined(parts)


def words(limits: Limits) -> list[str]:
    """Say when something counts."""
    found = []
    if limits.dated:
        begins = limits.from_local or limits.from_utc or "always"
        found.append(f"valid from {begins} until {limits.until_local or limits.until_utc or 'for ever'}")
    for window in limits.week or ():
        days = _days(window.mask)
        hours = f"{_clock(window.start_min)}–{_clock(window.end_min)}"
        shown = [] if window.mask == EVERY_DAY else [days]
        shown += [] if window.whole_day else [hours]
        found.append(f"only {' '.join(shown)}")
    return found


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _timed(item: LockSchedule) -> str:
    """Say what a lock does and when, in the words of its family."""
    days = f"days {' '.join(map(str, item.month_days))} of each month" if item.month_days else _days(item.days_mask)
    until = f"–{item.end}" if isinstance(item.end, str) else ""
    off = "" if item.enabled else " (switched off)"
    return f"it was {item.action}, {days} {item.start}{until}{off}"


def _days(mask: int) -> str:
    return " ".join(name for day, name in enumerate(_DAYS) if mask >> day & 1) if mask != EVERY_DAY else "every day"


def app_key(item: Credential) -> RecordResult:
    """Say what becomes of an app, a bridge, a fob or a keypad: no unit gives their keys out."""
    result = RecordResult(key=item.key, kind="access_key", outcome="skip")
    if item.vendor.get("nuki", {}).get("own"):
        return replace(result, reasons=("own-authorisation",))
    if item.status == "disabled":
        return replace(result, reasons=("disabled-unsupported",), detail=_OFF)
    kind = item.data.kind if isinstance(item.data, AppKeyData) else "unknown"
    how = _INVITE.get(kind, "pair it again")
    return replace(result, outcome="reissue", reasons=("app-invitation",), detail=how)


def rest(source: Snapshot, target: Snapshot, policy: Policy) -> list[RecordResult]:
    """Return what is no credential and hangs on none."""
    found: list[RecordResult] = []
    for timed in source.lock_schedules:
        shape = Shape(RecordResult(key=timed.key, kind="lock_schedule", outcome="copy"), policy)
        shape.question("schedule-unsupported", _timed(timed))
        found.append(shape.settled())
    for setting in source.settings:
        reason = "device-bound" if setting.device_bound else "setting-unsupported"
        known = not setting.device_bound and setting.value is not None
        was = f"it was {setting.value} {setting.unit or ''}".rstrip() if known else None
        found.append(RecordResult(key=setting.key, kind="setting", outcome="skip", reasons=(reason,), detail=was))
    keys, _ = plan_access_keys(source, target, replace(policy, with_=frozenset()))
    found += keys
    if source.log:
        found.append(RecordResult(key="log", kind="log", outcome="skip", reasons=("log",)))
    return found
