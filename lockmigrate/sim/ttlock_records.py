"""What a simulated TTLock lock remembers, and how its records stand on the wire.

Section numbers are those of the wire reference of the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar

from msgspec import Meta

from lockmigrate.sim.ttlock_frames import KEY_BYTES

PERMANENT_FROM: Final = bytes([0, 1, 1, 0, 0])
PERMANENT_TO: Final = bytes([99, 12, 31, 23, 59])
"""Section 3, "Dates": what stands for "always"."""
PERMANENT_TO_2: Final = bytes([99, 1, 1, 0, 0])
"""What R has from real locks as the end of a permanent fingerprint."""
NO_DATE: Final = bytes(5)
PERMANENT, ONE_TIME, PERIOD, CYCLIC = 1, 2, 3, 4
"""Section 7: types of passcodes on the wire."""
FINGER_KIND, CARD_KIND = 1, 2
"""Section 9.1."""
FINGER_BYTES: Final = 6
CARD_BYTES: Final = 4, 8
SEED_BYTES: Final = 6
SEED_YEARS: Final = 10
CODE_LIMIT, SECRET_LIMIT = 1071, 10**10
"""Section 7.4: a code is below the one, a secret has ten digits."""

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U24 = Annotated[int, Meta(ge=0, le=0xFFFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Date = Annotated[bytes, Meta(min_length=5, max_length=5)]
Seconds = Annotated[bytes, Meta(min_length=6, max_length=6)]
Kind = Annotated[int, Meta(ge=1, le=4)]
Digits = Annotated[str, Meta(pattern="^[0-9]{1,20}$")]
Key = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
"""What a state file may hold; whoever changes the memory of a running unit keeps to it too."""


@dataclass(kw_only=True)
class Passcode:
    """A code for the keypad (section 7)."""

    kind: Kind
    code: Digits = field(repr=False)
    """The one now valid."""
    original: Digits = field(repr=False)
    """The one it was made as: its identity."""
    start: Date = PERMANENT_FROM
    end: Annotated[bytes, Meta(max_length=5)] = b""
    """Types 2 and 3 only."""
    cycle: Annotated[bytes, Meta(max_length=2)] = b""
    """Type 4 only; never looked into (section 7.3)."""


@dataclass(kw_only=True)
class Card:
    """An IC card (section 8)."""

    number: Annotated[bytes, Meta(min_length=4, max_length=8)] = field(repr=False)
    """4 or 8 bytes."""
    start: Date = PERMANENT_FROM
    end: Date = PERMANENT_TO


@dataclass(kw_only=True)
class Finger:
    """A fingerprint (section 9): number and dates; its template is told to nobody."""

    number: Annotated[bytes, Meta(min_length=FINGER_BYTES, max_length=FINGER_BYTES)]
    start: Date = PERMANENT_FROM
    end: Date = PERMANENT_TO
    template: bool = True
    """False for a number that an app registered without a finger."""


@dataclass(kw_only=True)
class WeeklyLimit:
    """One weekday and time of day at which a card or finger opens (section 9.1); told to nobody."""

    kind: Annotated[int, Meta(ge=1, le=2)]
    number: Annotated[bytes, Meta(min_length=4, max_length=8)] = field(repr=False)
    weekday: Annotated[int, Meta(ge=1, le=7)]
    """1 is Monday."""
    start: tuple[U8, U8]
    end: tuple[U8, U8]


@dataclass(kw_only=True)
class Passage:
    """A time during which the door stays open (section 10)."""

    kind: U8
    """1 weekly, 2 monthly."""
    day: U8
    month: U8
    start: tuple[U8, U8]
    end: tuple[U8, U8]


@dataclass(kw_only=True)
class Switches:
    """The settings (section 10), as from the factory."""

    auto_lock_s: U16 = 5
    door_sensor: U8 = 0
    audio: U8 = 1
    volume: U8 = 3
    language: U8 = 1
    show_passcode: U8 = 0
    remote_unlock: U8 = 0
    lamp_s: U16 = 0
    switches: U32 = 0
    frozen: U8 = 0


@dataclass(kw_only=True)
class Seed:
    """What the passcodes of one year are computed from (section 7.4)."""

    year: U8
    code: Annotated[int, Meta(ge=0, lt=CODE_LIMIT)]
    secret: Annotated[int, Meta(ge=0, lt=SECRET_LIMIT)] = field(repr=False)


@dataclass(kw_only=True)
class LogEntry:
    """A record of the log (section 11)."""

    number: U16
    kind: U8
    date: Seconds
    battery: U8
    tail: Annotated[bytes, Meta(max_length=64)] = field(default=b"", repr=False)


@dataclass(kw_only=True)
class Flash:
    """What the lock remembers without power. Lists are by the place where a record lies, which its cursor hides."""

    aes_key: Key | None = field(default=None, repr=False)
    """None in factory state."""
    admin_ps: U32 = field(default=0, repr=False)
    unlock_key: U32 = field(default=0, repr=False)
    lock_flag_pos: U24 = 0
    admin_passcode: Annotated[str, Meta(pattern="^[0-9]{0,9}$")] = field(default="", repr=False)
    passcodes: dict[int, Passcode] = field(default_factory=dict)
    cards: dict[int, Card] = field(default_factory=dict)
    fingers: dict[int, Finger] = field(default_factory=dict)
    weekly_limits: list[WeeklyLimit] = field(default_factory=list)
    settings: Switches = field(default_factory=Switches)
    passage: dict[int, Passage] = field(default_factory=dict)
    log: list[LogEntry] = field(default_factory=list)
    """Oldest first; numbers rise by one."""
    next_log_number: U16 = 0
    next_unread: U16 = 0
    """The first record that nobody has asked for as unread."""
    seeds: list[Seed] = field(default_factory=list)
    seeds_reset: Date = NO_DATE
    clock_offset_s: int = 0
    """How far the app has moved the clock."""
    unlocked: bool = False

    @property
    def paired(self) -> bool:
        """Whether the lock has an administrator."""
        return self.aes_key is not None


T = TypeVar("T")


def free_place(records: Mapping[int, object]) -> int:
    """Return the first place where no record lies."""
    place = 1
    while place in records:
        place += 1
    return place


def in_order(records: Mapping[int, T]) -> list[tuple[int, T]]:
    """Return records as they lie, the first place first."""
    return sorted(records.items(), key=lambda item: item[0])


# ---- on the wire -----------------------------------------------------------------------------------------------------


def _text(digits: str) -> bytes:
    return bytes([len(digits)]) + digits.encode("ascii")


def passcode_record(passcode: Passcode) -> bytes:
    """Section 7.1, with the length before it, which does not count itself."""
    body = bytes([passcode.kind]) + _text(passcode.code) + _text(passcode.original) + passcode.start
    body += passcode.end if passcode.kind in (ONE_TIME, PERIOD) else b""
    body += passcode.cycle if passcode.kind == CYCLIC else b""
    return bytes([len(body)]) + body


def dated_record(record: Card | Finger) -> bytes:
    """Sections 8 and 9: number, start, end."""
    return record.number + record.start + record.end


def passage_record(passage: Passage) -> bytes:
    """Section 10: 7 bytes."""
    return bytes([passage.kind, passage.day, passage.month, *passage.start, *passage.end])


def log_record(entry: LogEntry) -> bytes:
    """Section 11, with the length before it."""
    body = bytes([entry.kind]) + entry.date + bytes([entry.battery]) + entry.tail
    return bytes([len(body)]) + body


def log_page(entries: list[LogEntry]) -> bytes:
    """Section 11: total, next cursor, records."""
    records = b"".join(log_record(entry) for entry in entries)
    return (2 + len(records)).to_bytes(2, "big") + (entries[-1].number + 1).to_bytes(2, "big") + records


def seed_bytes(seed: Seed) -> bytes:
    """Section 7.4: 12 bits of code, 36 of secret."""
    return (seed.code << 36 | seed.secret).to_bytes(SEED_BYTES, "big")


def two_codes(original: str, current: str) -> bytes:
    """Build the tail of a log record about a code (section 11)."""
    return _text(original) + _text(current)


def one_code(code: str) -> bytes:
    """Build the tail of a log record about a wrong code."""
    return _text(code)
