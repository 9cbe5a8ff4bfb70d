"""Records of Nuki locks as they cross the wire: keypad codes, authorisations, timers, fingerprints, log (no I/O).

Section numbers are those of the Nuki reference. Layouts agree between the official document, NukiBleEsp32 and pyNukiBT;
no sample of a real lock has been published for them (section 16).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct, Terminated
from construct import Optional as Maybe

from lockmigrate.formats import build, parse
from lockmigrate.formats.lists import announced_of as announced_of
from lockmigrate.formats.lists import join_list as join_list
from lockmigrate.formats.lists import split_list as split_list

TAIL_BYTES: Final = 19
DATE_BYTES: Final = 7
CODE_NAME_BYTES: Final = 20
PERSON_NAME_BYTES: Final = 32
LOG_HEAD_BYTES: Final = 48
UNLIMITED: Final = bytes(TAIL_BYTES)
ENDED: Final = bytes.fromhex("d0070101000000" + "d0070102000000" + "00" + "0000" + "0000")
"""A tail that ended on 2000-01-02: with it a new code opens nothing until it is what it shall be."""
PENDING: Final = bytes.fromhex("320801010c0000" + "320801020c0000" + "00" + "0000" + "0000")
"""A tail of one day in 2098: for locks that take no window that has ended."""

DATE: Final = Struct(
    "year" / Int16ul, "month" / Int8ul, "day" / Int8ul, "hour" / Int8ul, "minute" / Int8ul, "second" / Int8ul
)
"""Section 7."""
TAIL: Final = Struct(
    "from_date" / Bytes(DATE_BYTES),
    "until_date" / Bytes(DATE_BYTES),
    "weekdays" / Int8ul,
    "from_time" / Bytes(2),
    "until_time" / Bytes(2),
    Terminated,
)
"""The time-limit tail T (section 7): dates are UTC, weekdays and times of day local."""
CODE: Final = Struct(
    "code_id" / Int16ul,
    "code" / Int32ul,
    "name" / Bytes(CODE_NAME_BYTES),
    "enabled" / Int8ul,
    "created" / Bytes(DATE_BYTES),
    "last_active" / Bytes(DATE_BYTES),
    "lock_count" / Int16ul,
    "limited" / Int8ul,
    "tail" / Maybe(Bytes(TAIL_BYTES)),
    Terminated,
)
"""Keypad Code 0x0045, 44 or 63 bytes (9.3)."""
PERSON: Final = Struct(
    "authorization_id" / Int32ul,
    "id_type" / Int8ul,
    "name" / Bytes(PERSON_NAME_BYTES),
    "enabled" / Int8ul,
    "remote_allowed" / Int8ul,
    "created" / Bytes(DATE_BYTES),
    "last_active" / Bytes(DATE_BYTES),
    "lock_count" / Int16ul,
    "limited" / Int8ul,
    "tail" / Maybe(Bytes(TAIL_BYTES)),
    Terminated,
)
"""Authorization Entry 0x000A, 56 or 75 bytes (9.2)."""
TIMER: Final = Struct(
    "timer_id" / Int8ul,
    "enabled" / Int8ul,
    "weekdays" / Int8ul,
    "hour" / Int8ul,
    "minute" / Int8ul,
    "action" / Int8ul,
    Terminated,
)
"""Time Control Entry 0x003E, 6 bytes (9.4)."""
FINGERPRINT: Final = Struct(
    "fingerprint_id" / Bytes(32), "code_id" / Int16ul, "name" / Bytes(CODE_NAME_BYTES), Terminated
)
"""Fingerprint Entry 0x0099, 54 bytes; undocumented, from NukiBleEsp32 alone (9.3)."""
LOG_HEAD: Final = Struct(
    "index" / Int32ul,
    "date" / Bytes(DATE_BYTES),
    "authorization_id" / Int32ul,
    "name" / Bytes(PERSON_NAME_BYTES),
    "type" / Int8ul,
    Terminated,
)
"""The first 48 bytes of a Log Entry 0x0032; what belongs to the type follows, sometimes padded (9.6)."""

NEW_CODE: Final = Struct("code" / Int32ul, "name" / Bytes(CODE_NAME_BYTES), "limited" / Int8ul, "tail" / Bytes(19))
"""Add Keypad Code 0x0041, 44 bytes (9.3)."""
CHANGED_CODE: Final = Struct(
    "code_id" / Int16ul,
    "code" / Int32ul,
    "name" / Bytes(CODE_NAME_BYTES),
    "enabled" / Int8ul,
    "limited" / Int8ul,
    "tail" / Bytes(TAIL_BYTES),
)
"""Update Keypad Code 0x0046, 47 bytes (9.3)."""
STATES_UPDATE_COUNT_AT: Final = 13
"""Offset of the config update count in Keyturner States 0x000C, where the firmware sends it (9.1)."""
ID_TYPES: Final[Mapping[int, Literal["app", "bridge", "fob", "keypad"]]] = {
    0: "app",
    1: "bridge",
    2: "fob",
    3: "keypad",
}
"""Section 4."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A time-limit tail, in its parts; what is not set is None or 0."""

    from_utc: str | None
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    until_utc: str | None
    weekdays: int
    """As on the wire: bit 6 Monday to bit 0 Sunday; 0 is every day."""
    from_local: str | None
    """`HH:MM`; None where the window is not set (both ends 00:00)."""
    until_local: str | None
    impossible: bool
    """A date or time of it does not exist."""

    @property
    def dated(self) -> bool:
        return self.from_utc is not None or self.until_utc is not None

    @property
    def weekly(self) -> bool:
        return bool(self.weekdays) or self.from_local is not None


def parse_date(raw: bytes) -> str | None:
    """Return a date as ISO 8601 text in UTC; None where it is not set or does not exist (section 7)."""
    values = parse(DATE, raw, "a date")
    try:
        moment = dt.datetime(
            values.year, values.month, values.day, values.hour, values.minute, values.second, tzinfo=dt.UTC
        )
    except ValueError:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year >= 1000 else None


def build_date(moment: dt.datetime) -> bytes:
    """Return the 7 bytes of a date; the moment is turned into UTC."""
    utc = moment.astimezone(dt.UTC)
    names = ("year", "month", "day", "hour", "minute", "second")
    return build(DATE, {name: getattr(utc, name) for name in names}, "a date")


def parse_tail(raw: bytes) -> Limit:
    """Read a time-limit tail of 19 bytes.

    Raises:
        FrameError: it has another length.
    """
    values = parse(TAIL, raw, "a time limit")
    dates = {name: bytes(values[name]) for name in ("from_date", "until_date")}
    texts = {name: parse_date(data) for name, data in dates.items()}
    times = [bytes(values[name]) for name in ("from_time", "until_time")]
    impossible = any(any(dates[name]) and texts[name] is None for name in dates)
    impossible = impossible or any(time[0] > 23 or time[1] > 59 for time in times) or values.weekdays > 0x7F
    windowed = any(map(any, times))
    return Limit(
        from_utc=texts["from_date"],
        until_utc=texts["until_date"],
        weekdays=int(values.weekdays),
        from_local=f"{times[0][0]:02}:{times[0][1]:02}" if windowed else None,
        until_local=f"{times[1][0]:02}:{times[1][1]:02}" if windowed else None,
        impossible=impossible,
    )


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One keypad code."""

    code_id: int
    digits: str
    name: bytes
    """20 bytes as they stand in the record."""
    enabled: bool
    limited: bool
    tail: bytes | None
    """None where the lock did not send it."""
    created: bytes
    last_active: bytes
    lock_count: int

    def __repr__(self) -> str:
        return f"CodeRow(code_id={self.code_id})"

    @property
    def rights(self) -> tuple[str, bytes, bool, bool, bytes]:
        """What makes two codes of two locks the same: digits, name, whether enabled, and the limit where there is one.

        The bytes of a limit that is switched off mean nothing, nor do those behind the zero that ends a name.
        """
        return self.digits, cut_name(self.name), self.enabled, self.limited, self.limit

    @property
    def opens(self) -> tuple[bool, bool, bytes]:
        """The part of `rights` that says when it opens."""
        return self.rights[2:]

    @property
    def limit(self) -> bytes:
        """The 19 bytes of the tail as a request wants them: zero where nothing is limited (section 7)."""
        return self.tail if self.limited and self.tail is not None else UNLIMITED


def parse_code(raw: bytes) -> CodeRow:
    """Read a keypad code of 44 or 63 bytes.

    Raises:
        FrameError: it does not follow its layout.
    """
    row = parse(CODE, raw, "a keypad code")
    return CodeRow(
        code_id=row.code_id,
        digits=str(row.code),
        name=bytes(row.name),
        enabled=row.enabled != 0,
        limited=row.limited != 0,
        tail=bytes(row.tail) if row.tail is not None else None,
        created=bytes(row.created),
        last_active=bytes(row.last_active),
        lock_count=row.lock_count,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCode:
    """A keypad code as it shall be: what a step carries, in 46 bytes."""

    digits: str
    name: bytes
    enabled: bool
    limited: bool
    tail: bytes

    def __repr__(self) -> str:
        return "WantedCode(••••••)"

    @property
    def rights(self) -> tuple[str, bytes, bool, bool, bytes]:
        """See `CodeRow.rights`."""
        return self.digits, cut_name(self.name), self.enabled, self.limited, self.tail if self.limited else UNLIMITED

    @property
    def opens(self) -> tuple[bool, bool, bytes]:
        """See `CodeRow.opens`."""
        return self.rights[2:]

    def added(self, *, ended: bool = False, pending: bool = False) -> bytes:
        """Return the payload of Add Keypad Code; `ended`, `pending`: with a limit that lets nobody in for now."""
        shut = ENDED if ended else PENDING if pending else None
        limited, tail = (self.limited, self.rights[-1]) if shut is None else (True, shut)
        return build(
            NEW_CODE, {"code": int(self.digits), "name": self.name, "limited": limited, "tail": tail}, "a keypad code"
        )

    def changed(self, code_id: int) -> bytes:
        """Return the payload of Update Keypad Code, which replaces all fields."""
        values = {
            "code_id": code_id,
            "code": int(self.digits),
            "name": self.name,
            "enabled": self.enabled,
            "limited": self.limited,
            "tail": self.rights[-1],
        }
        return build(CHANGED_CODE, values, "a keypad code")

    def packed(self) -> bytes:
        """Return the value of a step."""
        return self.changed(0)


def unpack_code(value: bytes) -> WantedCode:
    """Read what `WantedCode.packed` made.

    Raises:
        FrameError: it did not.
    """
    row = parse(CHANGED_CODE, value, "a keypad code")
    return WantedCode(
        digits=str(row.code),
        name=bytes(row.name),
        enabled=bool(row.enabled),
        limited=bool(row.limited),
        tail=bytes(row.tail),
    )


def wanted(row: CodeRow) -> WantedCode:
    """Return a code of the old lock as the new one shall hold it."""
    return WantedCode(
        digits=row.digits,
        name=cut_name(row.name),
        enabled=row.enabled,
        limited=row.limited,
        tail=row.limit,
    )


@dataclass(frozen=True, slots=True)
class TimerRow:
    """One timer (time control entry): at this local time on these days, do this."""

    timer_id: int
    enabled: bool
    weekdays: int
    hour: int
    minute: int
    action: int

    @property
    def deed(self) -> tuple[int, int, int, int]:
        """What it does and when, without its number and without whether it is switched on."""
        return self.weekdays, self.hour, self.minute, self.action

    def packed(self) -> bytes:
        """Return the 6 bytes of it."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return build(TIMER, values, "a timer")


def parse_timer(raw: bytes) -> TimerRow:
    """Read a timer of 6 bytes.

    Raises:
        FrameError: it does not follow its layout.
    """
    row = parse(TIMER, raw, "a timer")
    return TimerRow(row.timer_id, row.enabled != 0, row.weekdays, row.hour, row.minute, row.action)


def neutral_days(weekdays: int) -> int:
    """Turn Nuki's weekdays (bit 6 Monday to bit 0 Sunday, 0 every day) into a mask with bit 0 Sunday, bit 1 Monday."""
    if not weekdays & 0x7F:
        return 0x7F
    return sum(1 << day for day in range(7) if weekdays & (1 << (-day % 7)))


def cut_name(raw: bytes) -> bytes:
    """Return a zero padded name of as many bytes without the rubbish behind its first zero (9.6)."""
    return raw.split(b"\x00", 1)[0].ljust(len(raw), b"\x00")


def text_of(raw: bytes) -> str | None:
    """Return a zero padded name as text; None where it is no UTF-8. What follows the first zero is rubbish (9.6)."""
    try:
        return raw.split(b"\x00", 1)[0].decode("utf-8")
    except UnicodeDecodeError:
        return None
