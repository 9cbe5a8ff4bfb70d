"""Records of TTLock locks as they cross the wire: passcodes, cards, fingers, passage mode, log (no I/O).

Section numbers are those of the TTLock reference. Integers are big endian; dates are decimal per byte, in the own
time of the lock, without a zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from lockmigrate.errors import FrameError

DATE_BYTES: Final = 5
PERMANENT_FROM: Final = bytes([0, 1, 1, 0, 0])
PERMANENT_UNTIL: Final = bytes([99, 12, 31, 23, 59])
"""2000-01-01 00:00 to 2099-12-31 23:59: what "always" is written as (section 3)."""
_ALWAYS_FROM: Final = frozenset({PERMANENT_FROM, bytes([0, 1, 31, 14, 0])})
_ALWAYS_UNTIL: Final = frozenset({PERMANENT_UNTIL, bytes([99, 12, 1, 23, 59]), bytes([99, 12, 31, 14, 0])})
"""Other clients' ways of saying the same (section 3; roquerodrigo/ttlock-ble)."""
PERMANENT, ONE_TIME, PERIOD, CYCLIC = 1, 2, 3, 4
"""Types of passcodes (section 7)."""
FINGER_BYTES: Final = 6
CARD_BYTES: Final = (4, 8)
PASSAGE_BYTES: Final = 7
MIN_CODE, MAX_CODE = 4, 9
"""Digits of a passcode (section 12)."""


def parse_local(raw: bytes) -> str | None:
    """Return a date of 5 bytes as `YYYY-MM-DDTHH:MM`; None where it does not exist."""
    try:
        moment = datetime(2000 + raw[0], raw[1], raw[2], raw[3], raw[4])  # noqa: DTZ001 - the lock names no zone
    except (ValueError, IndexError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M")


def limits_of(start: bytes, end: bytes | None) -> tuple[str | None, str | None, bool]:
    """Return (from, until, whether a date of it does not exist); what is written for "always" is no limit."""
    begins = None if start in _ALWAYS_FROM else parse_local(start)
    ends = None if end is None or end in _ALWAYS_UNTIL else parse_local(end)
    impossible = (begins is None and start not in _ALWAYS_FROM) or (
        ends is None and end is not None and end not in _ALWAYS_UNTIL
    )
    return begins, ends, impossible


@dataclass(frozen=True, slots=True, kw_only=True)
class Passcode:
    """One record of the passcode list (7.1)."""

    kind: int
    code: str
    """What opens now."""
    original: str
    """What it was made as: its identity."""
    start: bytes
    end: bytes | None = None
    """Types 2 and 3."""
    cycle: bytes = b""
    """Type 4: two bytes that nobody has explained."""
    rest: bytes = b""
    """What a newer firmware appends."""

    def __repr__(self) -> str:
        return f"Passcode(kind={self.kind})"

    @property
    def tail(self) -> bytes:
        """What follows the codes in a record, and in the request that restores it."""
        return self.start + (self.end or b"") + self.cycle

    def recovered(self) -> bytes:
        """Return the request that writes it whole, under its original code (7.2, operation 6)."""
        codes = (self.original.encode("ascii"), self.code.encode("ascii"))
        return bytes([6, self.kind]) + b"".join(bytes([len(code)]) + code for code in codes) + self.tail

    def added(self) -> bytes:
        """Return the request that adds it (operation 2): loses the original code, where that is another."""
        code = self.code.encode("ascii")
        return bytes([2, self.kind, len(code)]) + code + self.start + (self.end or b"")

    def deleted(self) -> bytes:
        """Return the request that deletes it (operation 3)."""
        code = self.code.encode("ascii")
        return bytes([3, self.kind, len(code)]) + code

    def record(self) -> bytes:
        """Return the record as a lock lists it, with its length."""
        codes = (self.code.encode("ascii"), self.original.encode("ascii"))
        body = bytes([self.kind]) + b"".join(bytes([len(code)]) + code for code in codes) + self.tail + self.rest
        return bytes([len(body)]) + body


def parse_passcode(raw: bytes) -> Passcode:
    """Read one record without its length byte.

    Raises:
        FrameError: it is cut short, or holds what is no code.
    """
    kind, at = raw[0] if raw else 0, 1
    codes = []
    for _ in range(2):
        size = raw[at] if at < len(raw) else 0
        code = raw[at + 1 : at + 1 + size]
        if len(code) != size or not code.isdigit():
            raise FrameError("a passcode record is cut short or holds no code")
        codes.append(code.decode("ascii"))
        at += 1 + size
    start, at = raw[at : at + DATE_BYTES], at + DATE_BYTES
    end = raw[at : at + DATE_BYTES] if kind in (ONE_TIME, PERIOD) else None
    at += DATE_BYTES if end is not None else 0
    cycle = raw[at : at + 2] if kind == CYCLIC else b""
    at += len(cycle)
    short = (
        len(start) != DATE_BYTES or (end is not None and len(end) != DATE_BYTES) or (kind == CYCLIC and len(cycle) != 2)
    )
    if short or not PERMANENT <= kind <= CYCLIC:
        raise FrameError(f"a passcode record of type {kind} is cut short or of an unknown type")
    return Passcode(kind=kind, code=codes[0], original=codes[1], start=start, end=end, cycle=cycle, rest=raw[at:])


def split_passcodes(page: bytes) -> Iterator[bytes]:
    """Yield the records of one page, each without its length byte; steps by that, never by what is understood.

    Raises:
        FrameError: a record reaches beyond the page.
    """
    at = 0
    while at < len(page):
        size = page[at]
        if not size or at + 1 + size > len(page):
            raise FrameError("a page of passcodes is cut short")
        yield page[at + 1 : at + 1 + size]
        at += 1 + size


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A card or a finger: a number and the dates of its validity (sections 8 and 9)."""

    number: bytes
    start: bytes
    end: bytes

    def __repr__(self) -> str:
        return f"Holder({len(self.number)} bytes)"

    @property
    def record(self) -> bytes:
        return self.number + self.start + self.end

    @property
    def decimal(self) -> str:
        """The number as people see it."""
        return str(int.from_bytes(self.number, "big"))


def parse_holder(raw: bytes) -> Holder:
    """Read a record.

    Raises:
        FrameError: it is too short.
    """
    if len(raw) - 2 * DATE_BYTES not in (*CARD_BYTES, FINGER_BYTES):
        raise FrameError(f"a card or finger record of {len(raw)} bytes")
    cut = len(raw) - 2 * DATE_BYTES
    return Holder(number=raw[:cut], start=raw[cut : cut + DATE_BYTES], end=raw[cut + DATE_BYTES :])


def split_holders(page: bytes, kind: Literal["card", "finger"]) -> list[bytes]:
    """Return the records of one page: how wide a card's number is, only the page's length tells (section 8).

    Raises:
        FrameError: no width fits, or both: such a page is longer than a frame of this family.
    """
    widths = CARD_BYTES if kind == "card" else (FINGER_BYTES,)
    sizes = [width + 2 * DATE_BYTES for width in widths if len(page) % (width + 2 * DATE_BYTES) == 0]
    if not sizes or (len(sizes) > 1 and page):
        raise FrameError(f"a page of {kind}s of {len(page)} bytes")
    return [page[at : at + sizes[0]] for at in range(0, len(page), sizes[0])]


def split_cards(page: bytes) -> list[bytes]:
    """Take a page of cards apart; see `split_holders`."""
    return split_holders(page, "card")


def split_fingers(page: bytes) -> list[bytes]:
    """Take a page of fingers apart; see `split_holders`."""
    return split_holders(page, "finger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One record of passage mode: when the door stays open (section 10)."""

    weekly: bool
    day: int
    month: int
    start: str
    end: str


def parse_passage(raw: bytes) -> Passage:
    """Read a record of 7 bytes.

    Raises:
        FrameError: it has another length, or a type that is not known.
    """
    if len(raw) != PASSAGE_BYTES or raw[0] not in (1, 2):
        raise FrameError("a passage record of another form")
    return Passage(
        weekly=raw[0] == 1,
        day=raw[1],
        month=raw[2],
        start=f"{raw[3]:02}:{raw[4]:02}",
        end=f"{raw[5]:02}:{raw[6]:02}",
    )
