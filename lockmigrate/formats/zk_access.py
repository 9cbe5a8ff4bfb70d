"""Time zones, groups, unlock combinations and verify styles of ZKTeco terminals (no I/O).

Source: the family's reference, section 8; behind it adrobinoga/zk-protocol (`sections/access.md`), one TFT unit.
Numbers are plain binary, not BCD. Black-and-white units answer some of these in another form, without a public layout.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Literal

from construct import Array, Bytes, Int8ul, Int16ul, Struct, Terminated

from lockmigrate.errors import FrameError
from lockmigrate.formats import build, parse

ZONE_TABLE: Final = "0006-zones"
GROUP_TABLE: Final = "0007-groups"
COMBINATION_TABLE: Final = "0008-combinations"
VERIFY_TABLE: Final = "0009-verify"
ZONES: Final = 50
GROUPS: Final = 100
COMBINATIONS: Final = 10
"""Numbers run from 1 to these."""
ZONE_BYTES: Final = 32
GROUP_BYTES: Final = 8
COMBINATION_BYTES: Final = 8
VERIFY_BYTES: Final = 24
WINDOWS_BYTES: Final = 28
"""Seven days of a zone; what ZONE_WRITE takes behind the number."""

_DAY: Final = Struct("start_hour" / Int8ul, "start_minute" / Int8ul, "end_hour" / Int8ul, "end_minute" / Int8ul)
ZONE: Final = Struct("number" / Int16ul, "days" / Array(7, _DAY), "tail" / Bytes(2), Terminated)
"""ZONE_READ; Sunday first, the meaning of the last two bytes is unknown (A7 1C seen)."""
GROUP: Final = Struct("number" / Int8ul, "zones" / Array(3, Int16ul), "style" / Int8ul, Terminated)
"""GROUP_READ and GROUP_WRITE; bit 7 of the style: honour holidays."""
COMBINATION: Final = Struct("number" / Int8ul, "groups" / Array(5, Int8ul), "used" / Int16ul, Terminated)
"""COMBINATION_READ and COMBINATION_WRITE."""
VERIFY: Final = Struct("uid" / Int16ul, "mode" / Int8ul, "rest" / Bytes(21), Terminated)
"""VERIFY_READ and VERIFY_WRITE: 0 is the group's style, else 0x80 and the style."""

HOLIDAYS_BIT: Final = 0x80
STYLE_MASK: Final = 0x7F
OWN_STYLE_BIT: Final = 0x80

Rule = Literal["Single", "Dual", "Tri"]
RULES: Final[dict[int, Rule]] = {
    **dict.fromkeys(range(8), "Single"),
    8: "Dual", 9: "Dual", 10: "Dual", 11: "Dual", 12: "Tri", 13: "Tri", 14: "Dual",
}  # fmt: skip
"""Verify style to the nearest rule of the neutral model; "PIN" among the styles is the user's id, typed in."""


@dataclass(frozen=True, slots=True)
class Zone:
    """One time zone: a window for each day, Sunday first, as (start hour, start minute, end hour, end minute)."""

    number: int
    days: tuple[tuple[int, int, int, int], ...]
    tail: bytes = b"\x00\x00"

    @property
    def default(self) -> bool:
        """Open all day, every day, as units are delivered."""
        return all(day == (0, 0, 23, 59) for day in self.days)


@dataclass(frozen=True, slots=True)
class Group:
    """One group: up to three zones, and the way in which its members verify."""

    number: int
    zones: tuple[int, int, int]
    style: int

    @property
    def default(self) -> bool:
        """Nothing set, or for group 1 the first zone."""
        return not self.style and self.zones in ((0, 0, 0), *([(1, 0, 0)] if self.number == 1 else []))


@dataclass(frozen=True, slots=True)
class Combination:
    """One unlock combination: groups that open together."""

    number: int
    groups: tuple[int, ...]
    used: int

    @property
    def default(self) -> bool:
        """Nothing set, and for combination 1 the first group alone: without it, nobody of that group can open."""
        return self.groups == (int(self.number == 1), 0, 0, 0, 0)


@functools.lru_cache(maxsize=256)  # nearly all are as from the factory, and one restore decodes the tables many times
def parse_zone(raw: bytes) -> Zone:
    """Read a zone.

    Raises:
        FrameError: not 32 bytes.
    """
    found = parse(ZONE, raw, "a time zone")
    days = tuple((day.start_hour, day.start_minute, day.end_hour, day.end_minute) for day in found.days)
    return Zone(found.number, days, found.tail)


def build_zone(zone: Zone) -> bytes:
    """Build a zone as it is read.

    Raises:
        FrameError: not seven days, or a number does not fit.
    """
    names = ("start_hour", "start_minute", "end_hour", "end_minute")
    days = [dict(zip(names, day, strict=True)) for day in zone.days]
    return build(ZONE, {"number": zone.number, "days": days, "tail": zone.tail}, "a time zone")


@functools.lru_cache(maxsize=256)  # as above
def parse_group(raw: bytes) -> Group:
    """Read a group.

    Raises:
        FrameError: not 8 bytes.
    """
    found = parse(GROUP, raw, "a group")
    first, second, third = found.zones
    return Group(found.number, (first, second, third), found.style)


def build_group(group: Group) -> bytes:
    """Build a group.

    Raises:
        FrameError: a number does not fit.
    """
    return build(GROUP, {"number": group.number, "zones": list(group.zones), "style": group.style}, "a group")


def parse_combination(raw: bytes) -> Combination:
    """Read a combination.

    Raises:
        FrameError: not 8 bytes.
    """
    found = parse(COMBINATION, raw, "an unlock combination")
    return Combination(found.number, tuple(found.groups), found.used)


def build_combination(combination: Combination) -> bytes:
    """Build a combination.

    Raises:
        FrameError: not five groups, or a number does not fit.
    """
    values = {"number": combination.number, "groups": list(combination.groups), "used": combination.used}
    return build(COMBINATION, values, "an unlock combination")


def parse_verify(raw: bytes) -> tuple[int, int]:
    """Read a user's number and verify mode.

    Raises:
        FrameError: not 24 bytes.
    """
    found = parse(VERIFY, raw, "a verify style")
    return found.uid, found.mode


def build_verify(uid: int, mode: int) -> bytes:
    """Build what VERIFY_WRITE takes.

    Raises:
        FrameError: a number does not fit.
    """
    return build(VERIFY, {"uid": uid, "mode": mode, "rest": bytes(21)}, "a verify style")


def pieces(table: bytes, size: int, what: str) -> list[tuple[int, bytes]]:
    """Cut a table of equal answers into (offset, bytes).

    Raises:
        FrameError: it does not divide.
    """
    if len(table) % size:
        raise FrameError(f"the table of {what} is cut short")
    return [(at, table[at : at + size]) for at in range(0, len(table), size)]


def default_zone(number: int) -> Zone:
    """Return a zone as units are delivered with it."""
    return Zone(number, ((0, 0, 23, 59),) * 7)


def default_group(number: int) -> Group:
    """Return a group as units are delivered with it."""
    return Group(number, (1 if number == 1 else 0, 0, 0), 0)


def default_combination(number: int) -> Combination:
    """Return a combination as units are delivered with it."""
    first = number == 1
    return Combination(number, (int(first), 0, 0, 0, 0), int(first))
