"""How a ZKTeco terminal would hold a code or a card of another family's lock: as a person of its own (no I/O).

Such a lock knows no people, and a terminal nothing else, so each code gets a number that people type before it. The
person is an ordinary user of the first group, without time zones of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from lockmigrate.formats.zk_fit import record_bytes_of
from lockmigrate.formats.zk_records import (
    DISABLED_BIT,
    NAME_BYTES,
    NAME_USABLE_BYTES,
    PIN_BYTES,
    Row,
    Row16,
    Row28,
    Row72,
    Width,
    build_user,
    card_of,
    cut_text,
    parse_user,
    password_of,
    rights_of,
)
from lockmigrate.model.adopted import Adopted, Holds, Limits, Wanted
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import CardData, Credential, Kind, PinData, User
from lockmigrate.model.secret import Secret

FIRST_GROUP: Final = 1
MOST_USERS: Final = 65534
"""A user's number is two bytes (ZK reference, section 7)."""


class ZkAdopter:
    """People with a name, a PIN or a card, and whether they are switched off; nothing limits them to dates.

    Args:
        target: what the terminal holds: whose numbers are taken, and which of them an earlier run has written.
    """

    dates: Literal["utc", "local"] = "local"
    earliest = "0001-01-01T00:00"
    latest = "9999-12-31T23:59"

    def __init__(self, target: Snapshot) -> None:
        self._width: Width = record_bytes_of(target)
        room = NAME_USABLE_BYTES[self._width]
        person = Holds(disabled=self._width != 16, name_bytes=room, dates=False)
        self.holds: Mapping[Kind, Holds] = {"pin": person} if self._width == 16 else {"pin": person, "card": person}
        held = [(int(user.origin["user_index"]), user) for user in target.users]
        # An id that is a number, and fingers of nobody, take that number too.
        ids = (user.external_id for _, user in held if isinstance(user.external_id, str))
        self._taken = {uid for uid, _ in held} | {int(text) for text in ids if text.isascii() and text.isdigit()}
        self._taken |= {int(item.origin["user_index"]) for item in target.credentials if "user_index" in item.origin}
        self._here: dict[bytes, int] = {}
        """What an earlier run may have written: a record but for its number and id, to its number."""
        for uid, user in held:
            raw = target.bytes_of(user.raw[0]) if user.raw else b""
            if raw and _own_id(parse_user(raw), uid):
                self._here.setdefault(self._blank(raw), uid)
        self._next = 1

    @property
    def full(self) -> bool:
        """Whether all numbers are taken."""
        while self._next in self._taken:
            self._next += 1
        return self._next > MOST_USERS

    def build(self, kind: Kind, wanted: Wanted) -> Adopted:
        """Return the person; see `Adopter`."""
        blank = self._record(kind, wanted, 0)
        uid = self._here.get(self._blank(blank))
        if uid is None:
            uid = MOST_USERS if self.full else self._next
        self._taken.add(uid)
        record = self._record(kind, wanted, uid)
        data = PinData(digits=Secret(wanted.value)) if kind == "pin" else CardData(number=Secret(wanted.value))
        user = User(
            key=wanted.key,
            origin={"user_index": uid},
            user_name=wanted.name,
            user_status="OccupiedEnabled" if wanted.enabled else "OccupiedDisabled",
            privilege="user",
            group=f"group/{FIRST_GROUP}",
            schedules=None,
            vendor={"zk": {"record_bytes": self._width, "verify_mode": 0}},
        )
        return Adopted(
            credential=Credential(
                key=f"{wanted.key}.carried",
                origin={"user_index": uid},
                credential_type="PIN" if kind == "pin" else "RFID",
                user=wanted.key,
                data=data,
            ),
            user=user,
            schedules=(),
            record=record,
            note=f"number {uid} on the new unit" + (", which is typed before the PIN" if kind == "pin" else ""),
        )

    def read(self, kind: Kind, record: bytes) -> tuple[str, bool, Limits]:
        """Read a planned person back; see `Adopter`."""
        row = parse_user(record)
        password, card = password_of(row).decode("ascii", "replace"), card_of(row)
        only = password if kind == "pin" and not card else str(card) if kind == "card" and not password else ""
        return only, not rights_of(row) & DISABLED_BIT, Limits()

    def _record(self, kind: Kind, wanted: Wanted, uid: int) -> bytes:
        width = self._width
        name = wanted.name.encode("utf-8").ljust(NAME_BYTES[width], b"\x00")
        password = (wanted.value.encode("ascii") if kind == "pin" else b"").ljust(PIN_BYTES[width], b"\x00")
        card = int(wanted.value) if kind == "card" else 0
        rights = 0 if wanted.enabled else DISABLED_BIT
        row: Row
        if width == 72:
            row = Row72(
                uid=uid, privilege=rights, password=password, name=name, card=card, group=FIRST_GROUP,
                own_tz=0, tz1=0, tz2=0, tz3=0, user_id=str(uid).encode("ascii").ljust(24, b"\x00"),
            )  # fmt: skip
        elif width == 28:
            row = Row28(
                uid=uid, privilege=rights, password=password, name=name, card=card.to_bytes(5, "little"),
                group=FIRST_GROUP, tz_bits=0, user_id=uid,
            )  # fmt: skip
        else:
            row = Row16(uid=uid, privilege=rights, password=password, name=name)
        return build_user(row)

    def _blank(self, raw: bytes) -> bytes:
        """Return a record without what tells its place: number and id."""
        return raw[2:48] if self._width == 72 else raw[2:24] if self._width == 28 else raw[2:]


def _own_id(row: Row, uid: int) -> bool:
    """Whether a person's id is the number itself, as ours are."""
    if isinstance(row, Row72):
        return cut_text(row.user_id) == str(uid).encode("ascii")
    return not isinstance(row, Row28) or row.user_id == uid
