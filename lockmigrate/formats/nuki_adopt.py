"""How a Nuki lock would hold keypad codes of another family's lock (no I/O)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, Literal

from lockmigrate.errors import FrameError
from lockmigrate.formats import build
from lockmigrate.formats.nuki_records import (
    CODE_NAME_BYTES,
    DATE_BYTES,
    TAIL,
    UNLIMITED,
    WantedCode,
    build_date,
    neutral_days,
    parse_tail,
    unpack_code,
)
from lockmigrate.model.adopted import DAY_MIN, EVERY_DAY, Adopted, Holds, Limits, Wanted, Window
from lockmigrate.model.records import Credential, Kind, PinData, Schedule
from lockmigrate.model.secret import Secret

LAST_MINUTE: Final = DAY_MIN - 1
"""A time of day is an hour up to 23 and a minute (section 7)."""


class NukiAdopter:
    """Codes with a name, a switch, dates in UTC and one window of local hours on some weekdays (section 7)."""

    dates: Literal["utc", "local"] = "utc"
    earliest = "1000-01-01T00:00:00Z"
    latest = "9999-12-31T23:59:59Z"
    full = False
    holds: Mapping[Kind, Holds] = {"pin": Holds(week_windows=1, disabled=True, name_bytes=CODE_NAME_BYTES)}

    def build(self, kind: Kind, wanted: Wanted) -> Adopted:
        """Return the code; see `Adopter`."""
        limited = any((wanted.week, wanted.start, wanted.end))
        name = wanted.name.encode("utf-8")
        code = WantedCode(
            digits=wanted.value,
            name=name.ljust(CODE_NAME_BYTES, b"\x00"),
            enabled=wanted.enabled,
            limited=limited,
            tail=_tail(wanted) if limited else UNLIMITED,
        )
        schedules = tuple(_schedules(wanted))
        return Adopted(
            credential=Credential(
                key=wanted.key,
                origin={"code_id": wanted.number},
                credential_type="PIN",
                status="enabled" if wanted.enabled else "disabled",
                data=PinData(digits=Secret(wanted.value)),
                schedules=tuple(item.key for item in schedules),
                name=wanted.name,
            ),
            schedules=schedules,
            record=code.packed(),
        )

    def read(self, kind: Kind, record: bytes) -> tuple[str, bool, Limits]:
        """Read a planned code back; see `Adopter`."""
        del kind
        code = unpack_code(record)
        if not code.limited:
            return code.digits, code.enabled, Limits()
        limit = parse_tail(code.tail)
        week: Window | None = None
        if limit.weekly:
            hours = (limit.from_local or "00:00", limit.until_local or "24:00")
            start, end = (int(text[:2]) * 60 + int(text[3:]) for text in hours)
            week = Window(neutral_days(limit.weekdays), start, end)
        return (
            code.digits,
            code.enabled,
            Limits(
                week=None if week is None else (week,),
                from_utc=limit.from_utc,
                until_utc=limit.until_utc,
                unknown=("impossible-date",) if limit.impossible else (),
            ),
        )


def _tail(wanted: Wanted) -> bytes:
    """Write the time limit; all days are named, as what none means in a limited entry is unconfirmed (section 7)."""
    week = wanted.week or Window(EVERY_DAY, 0, DAY_MIN)
    hours = not week.whole_day
    values = {
        "from_date": _date(wanted.start),
        "until_date": _date(wanted.end),
        "weekdays": nuki_days(week.mask),
        "from_time": _time(week.start_min) if hours else bytes(2),
        "until_time": _time(min(week.end_min, LAST_MINUTE)) if hours else bytes(2),
    }
    return build(TAIL, values, "a time limit")


def _date(text: str | None) -> bytes:
    if text is None:
        return bytes(DATE_BYTES)
    return build_date(dt.datetime.fromisoformat(text))


def _time(minutes: int) -> bytes:
    return bytes(divmod(minutes, 60))


def nuki_days(mask: int) -> int:
    """Turn a mask with bit 0 Sunday, bit 1 Monday into Nuki's: bit 6 Monday to bit 0 Sunday.

    Raises:
        FrameError: no day at all, which a lock reads as every day (section 7).
    """
    if not mask & EVERY_DAY:
        raise FrameError("a time limit without a day")
    return sum(1 << (-day % 7) for day in range(7) if mask & (1 << day))


def _schedules(wanted: Wanted) -> list[Schedule]:
    own = {"holder": wanted.key}
    found = []
    if wanted.start or wanted.end:
        key = f"schedule/{wanted.key}.adopted-dates"
        found.append(Schedule(key=key, origin=own, kind="YearDay", start_utc=wanted.start, end_utc=wanted.end))
    if wanted.week is not None:
        key = f"schedule/{wanted.key}.adopted-week"
        found.append(Schedule(key=key, origin=own, kind="WeekDay", days_mask=wanted.week.mask))
    return found
