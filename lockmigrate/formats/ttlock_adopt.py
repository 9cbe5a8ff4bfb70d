"""How a TTLock lock would hold codes and cards of another family's lock (no I/O)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Literal

from lockmigrate.formats.ttlock_records import (
    PERIOD,
    PERMANENT,
    PERMANENT_FROM,
    PERMANENT_UNTIL,
    Holder,
    Passcode,
    limits_of,
    parse_holder,
    parse_passcode,
)
from lockmigrate.model.adopted import Adopted, Holds, Limits, Wanted
from lockmigrate.model.records import CardData, Credential, Kind, PinData, Schedule
from lockmigrate.model.secret import Secret


class TTLockAdopter:
    """Codes and cards with two dates in the door's own time, and nothing else (sections 7 and 8).

    Weekly limits of cards can be written and never read back (section 9.1), so that nothing could prove them.
    """

    dates: Literal["utc", "local"] = "local"
    earliest = "2000-01-01T00:00"
    latest = "2099-12-31T23:58"
    """A year is one byte; a minute later is what "always" is written as (section 3)."""
    full = False
    holds: Mapping[Kind, Holds] = {"pin": Holds(), "card": Holds()}

    def build(self, kind: Kind, wanted: Wanted) -> Adopted:
        """Return the code or the card; see `Adopter`."""
        start = PERMANENT_FROM if wanted.start is None else _date(wanted.start)
        end = PERMANENT_UNTIL if wanted.end is None else _date(wanted.end)
        schedules: tuple[Schedule, ...] = ()
        if wanted.start or wanted.end:
            key = f"schedule/{wanted.key}.adopted-dates"
            own = {"holder": wanted.key}
            schedules = (Schedule(key=key, origin=own, kind="YearDay", start_local=wanted.start, end_local=wanted.end),)
        limits = tuple(item.key for item in schedules)
        if kind == "card":
            number = int(wanted.value).to_bytes(wanted.size_bytes, "big")
            card = Holder(number=number, start=start, end=end)
            credential = Credential(
                key=wanted.key,
                origin={"list_position": wanted.number},
                credential_type="RFID",
                data=CardData(number=Secret(wanted.value)),
                schedules=limits,
                vendor={"ttlock": {"number_bytes": wanted.size_bytes}},
            )
            return Adopted(credential=credential, schedules=schedules, record=card.record)
        dated = bool(schedules)
        code = Passcode(
            kind=PERIOD if dated else PERMANENT,
            code=wanted.value,
            original=wanted.value,
            start=start,
            end=end if dated else None,
        )
        credential = Credential(
            key=wanted.key,
            origin={"list_position": wanted.number},
            credential_type="PIN",
            data=PinData(digits=Secret(wanted.value)),
            schedules=limits,
        )
        return Adopted(credential=credential, schedules=schedules, record=code.record()[1:])

    def read(self, kind: Kind, record: bytes) -> tuple[str, bool, Limits]:
        """Read a planned code or card back; see `Adopter`."""
        if kind == "card":
            card = parse_holder(record)
            value, start, end = card.decimal, card.start, card.end
        else:
            code = parse_passcode(record)
            value, start, end = code.code, code.start, code.end or PERMANENT_UNTIL
        begins, ends, impossible = limits_of(start, end)
        unknown = ("impossible-date",) if impossible else ()
        return value, True, Limits(from_local=begins, until_local=ends, unknown=unknown)


def _date(text: str) -> bytes:
    moment = dt.datetime.fromisoformat(text)
    return bytes([moment.year - 2000, moment.month, moment.day, moment.hour, moment.minute])
