"""The records of a snapshot as `diff` compares them: fields for people, and a keyed digest in place of every secret.

A digest is HMAC-SHA-256 under a key that is drawn for one run and forgotten (neutral-format 7): a plain hash of a
four-digit PIN is found by trying 10,000 of them. Records are compared by whole digests; 8 hex digits are shown.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import (
    CardData,
    Credential,
    Kind,
    LockSchedule,
    PinData,
    Schedule,
    Setting,
    User,
)
from lockmigrate.model.secret import Secret
from lockmigrate.operations.show import timer_row, week_text

SHOWN_DIGITS: Final = 8
_KINDS: Final[dict[str, Kind]] = {
    "PIN": "pin", "RFID": "card", "Fingerprint": "fingerprint", "Face": "face", "AppKey": "access_key",
}  # fmt: skip
_MEANT: Final = {
    "zk": ("privilege", "verify_mode", "own_tz", "tz_bits", "flag"),
    "f5": ("permission",),
    "ttlock": ("type", "number_bytes"),
}
"""Facts of a family that change what a record opens; the others are its history, or how it is stored."""


class Digest(str):
    """A whole keyed digest in hex; only its first digits are for anybody's eyes."""

    __slots__ = ()


Value = str | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One record, ready to be compared. Holds no secret."""

    key: str
    kind: Kind
    name: str | None = None
    identity: str
    """What it is known by on another unit: its content, or whose it is."""
    fields: dict[str, Value]
    own: bool = False
    """It belongs to the unit itself: compared only within one unit."""
    family_only: bool = False
    """It means something only among units of one family."""
    unknown: tuple[str, ...] = ()
    """Limits of it that were not given out: equal or not, nobody can tell."""
    places: dict[str, Value] = field(default_factory=dict)
    """Its numbers on the unit, which count where both units number alike."""


class Digester:
    """Makes digests under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, what: str, data: bytes) -> Digest:
        """Return the digest of a value of some kind."""
        return Digest(hmac.new(self._key, what.encode() + b"\0" + data, hashlib.sha256).hexdigest())


def items_of(snapshot: Snapshot, digest: Digester) -> list[Item]:
    """Return everything of a snapshot but its log, in the order of the document."""
    return list(_Items(snapshot, digest).all())


class _Items:
    def __init__(self, snapshot: Snapshot, digest: Digester) -> None:
        self._snapshot, self._digest, self._family = snapshot, digest, snapshot.lock.family
        self._limits = {item.key: item for item in snapshot.schedules}
        self._users = {item.key: item for item in snapshot.users}
        self._credentials = {item.key: item for item in snapshot.credentials}

    def all(self) -> Iterator[Item]:
        snapshot = self._snapshot
        yield from (self._user(item) for item in snapshot.users)
        yield from (self._credential(item) for item in snapshot.credentials)
        for group in snapshot.groups:
            fields: dict[str, Value] = {
                "schedules": ", ".join(group.schedules),
                "verify_style": _plain(group.verify_style),
            }
            fields["honours_holidays"] = _plain(group.honours_holidays)
            yield Item(key=group.key, kind="group", identity=group.key, fields=fields, family_only=True)
        for item in snapshot.combinations:
            told: dict[str, Value] = {"groups": ", ".join(item.groups)}
            yield Item(key=item.key, kind="combination", identity=item.key, fields=told, family_only=True)
        for limit in snapshot.schedules:
            if "holder" not in limit.origin:  # others are fields of what they limit
                week: dict[str, Value] = {"when": _when(limit)}
                yield Item(key=limit.key, kind="schedule", identity=limit.key, fields=week, family_only=True)
        yield from (self._lock_schedule(item) for item in snapshot.lock_schedules)
        yield from (self._setting(item) for item in snapshot.settings)
        for held in snapshot.access_keys:
            if held.kind != "given":
                secret: dict[str, Value] = {"value": self._digest("access key", held.secret.reveal_bytes())}
                yield Item(key=held.key, kind="access_key", identity=held.key, fields=secret, own=True)

    def _user(self, user: User) -> Item:
        fields: dict[str, Value] = {
            "name": user.user_name,
            "name_bytes": _plain(user.user_name_raw) if user.user_name is None else None,
            "id": _plain(user.external_id),
            "enabled": user.user_status == "OccupiedEnabled",
            "privilege": _plain(user.privilege),
            "rule": _plain(user.credential_rule),
            "type": _plain(user.user_type),
            "group": _plain(user.group),
            "schedules": ", ".join(user.schedules) if isinstance(user.schedules, tuple) else None,
            **self._meant(user.vendor),
        }
        return Item(
            key=user.key, kind="user", name=user.user_name, identity=_person(user), fields=fields,
            places={"number": user.origin.get("user_index")},
        )  # fmt: skip

    def _credential(self, item: Credential) -> Item:
        limits = [self._limits[key] for key in item.schedules if key in self._limits]
        fields: dict[str, Value] = {
            "value": self._value(item),
            "format": item.template.template_format if item.template else None,
            "name": _plain(item.name),
            "state": item.data_state,
            "status": item.status,
            "duress": item.duress,
            "schedules": "; ".join(sorted(_when(limit) for limit in limits)) or None,
            "use_limit": _plain(item.use_limit),
            "linked_to": self._linked(item),
            "owner": _person(self._users[item.user]) if item.user in self._users else item.user,
            **self._meant(item.vendor),
        }
        return Item(
            key=item.key,
            kind=_KINDS[item.credential_type],
            name=item.name if isinstance(item.name, str) else None,
            identity=self._identity(item, fields),
            fields=fields,
            own=item.credential_type == "AppKey",
            unknown=tuple(limit.key for limit in limits if limit.kind == "Unknown"),
            places={"slot": item.origin.get("credential_index")},
        )

    def _identity(self, item: Credential, fields: dict[str, Value]) -> str:
        if item.user is not None:
            finger = item.template.origin_finger if item.template else item.origin.get("finger")
            return f"{item.credential_type} of {fields['owner']} {_plain(finger)}"
        if fields["value"] is not None:
            return f"{item.credential_type} {fields['value']}"
        return f"{item.credential_type} {fields['name']} {fields['linked_to']} {fields['schedules']}"

    def _value(self, item: Credential) -> Digest | None:
        if isinstance(item.data, PinData):
            return self._digest("PIN", item.data.digits.reveal_bytes())
        if isinstance(item.data, CardData):
            return self._digest("card", item.data.number.reveal_bytes())
        if item.template is not None:
            return self._digest("template", self._snapshot.bytes_of(item.template.template))
        return None

    def _linked(self, item: Credential) -> Value:
        """Whose code it goes by: named where it has a name, so that a new code of the same person is one change."""
        other = self._credentials.get(item.linked_to) if isinstance(item.linked_to, str) else None
        if other is None:
            return None
        return other.name if isinstance(other.name, str) and other.name else self._value(other)

    def _lock_schedule(self, item: LockSchedule) -> Item:
        row = timer_row(item)
        fields: dict[str, Value] = {"when": row["days"], "action": item.action, "enabled": item.enabled}
        return Item(
            key=item.key, kind="lock_schedule", identity=f"{row['days']} {item.action}", fields=fields, family_only=True
        )

    def _setting(self, item: Setting) -> Item:
        hidden = item.hidden if isinstance(item.hidden, Secret) else None
        value = self._digest("setting", hidden.reveal_bytes()) if hidden is not None else item.value
        return Item(
            key=item.key, kind="setting", identity=item.key, fields={"value": value}, own=item.device_bound,
            family_only=True,
        )  # fmt: skip

    def _meant(self, vendor: dict[str, dict[str, object]]) -> dict[str, Value]:
        facts = vendor.get(self._family, {})
        return {f"{self._family}.{name}": _plain(facts.get(name)) for name in _MEANT.get(self._family, ())}


def shown(value: Value) -> Value:
    """Return a field as it may be shown."""
    return str(value)[:SHOWN_DIGITS] if isinstance(value, Digest) else value


def _person(user: User) -> str:
    return f"id {user.external_id}" if isinstance(user.external_id, str) else f"name {user.user_name}"


def _when(limit: Schedule) -> str:
    return week_text(limit)


def _plain(value: object) -> Value:
    """A field that the record has, or None."""
    return value if isinstance(value, str | int | bool) else None
