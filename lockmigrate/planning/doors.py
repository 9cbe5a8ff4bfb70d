"""What a terminal's time zones, groups and unlock combinations allow: the evaluation of R0 (neutral-format 2.5).

The tables are held as the unit gave them, those too that are as the factory left them: people rest on them all the
same. Equal bytes mean the same, even where nobody knows what. What is not known grants nothing on a source and
everything on a target, so that a plan can neither lose nor gain by not knowing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Combination, Group, Schedule, User

TableKind = Literal["schedule", "group", "combination"]
WeekOrGroups = Schedule | Group | Combination


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of table lies in a snapshot: its name, bytes of one number, where its content stands, the last."""

    name: str
    size: int
    content: slice
    last: int


LAYOUTS: Final[Mapping[TableKind, Layout]] = {
    "schedule": Layout("0006-zones", 32, slice(2, 30), 50),
    "group": Layout("0007-groups", 8, slice(1, 8), 100),
    "combination": Layout("0008-combinations", 8, slice(1, 8), 10),
}
"""ZK reference, section 8. What the two bytes behind a zone mean is not known, and nobody can write them."""
FULL_DAY: Final = bytes([0, 0, 23, 59])
DAY_MIN: Final = 24 * 60
STYLE_MASK: Final = 0x7F
HOLIDAYS_BIT: Final = 0x80
NOTHING: Final = bytes(7)
ALONE: Final = bytes([1, 0, 0, 0, 0, 1, 0])
"""Combination 1 from the factory: group 1."""
FIRST_ZONE: Final = bytes([1, 0, 0, 0, 0, 0, 0])
"""Group 1 from the factory: zone 1."""

WAYS: Final[Mapping[int, tuple[str, ...]]] = {
    0: ("F", "W", "C"), 1: ("F",), 2: ("P",), 3: ("W",), 4: ("C",), 5: ("F", "W"), 6: ("F", "C"), 7: ("W", "C"),
    8: ("PF",), 9: ("FW",), 10: ("FC",), 11: ("WC",), 12: ("FWC",), 13: ("PFW",),
}  # fmt: skip
"""Verify style to what opens: F finger, W password, C card, P the id typed in. 14 can be read in two ways, so it is
comparable with itself only."""
ANY_STYLE: Final = 0


def kind_of(item: WeekOrGroups) -> TableKind:
    return "schedule" if isinstance(item, Schedule) else "group" if isinstance(item, Group) else "combination"


def tables_of(snapshot: Snapshot) -> Iterator[WeekOrGroups]:
    """Yield schedules, groups and combinations: what a thing refers to comes before it."""
    yield from snapshot.schedules
    yield from snapshot.groups
    yield from snapshot.combinations


@dataclass(frozen=True, slots=True)
class Member:
    """What a user's record says of when and how."""

    group: int | None
    """None where such records hold none."""
    own: tuple[int, ...] | None
    """The user's own zones; None: the group's."""
    bits: int
    """Zone bits of a 28-byte record: which zones they mean is not public."""
    style: int
    """The user's own verify style; 0: the group's."""


def member_of(user: User) -> Member:
    """Take from a user what the evaluation needs."""
    vendor = user.vendor.get("zk", {})
    group = int(user.group.partition("/")[2]) if isinstance(user.group, str) else None
    own = None
    if isinstance(user.schedules, tuple):
        own = tuple(sorted(int(key.partition("/")[2]) for key in user.schedules))
    return Member(group, own, int(vendor.get("tz_bits") or 0), int(vendor.get("verify_mode") or 0) & STYLE_MASK)


@dataclass(frozen=True, slots=True)
class Right:
    """When somebody may enter, how, and beside whom; None is: not known."""

    minutes: int | None
    """A bit for each minute of the week, Sunday first."""
    times: frozenset[bytes] | None
    """The zones that this is made of: where they are the same, it does not matter what they mean."""
    style: int | None
    holidays: bool | None
    """Whether holidays limit it."""
    beside: frozenset[tuple[tuple[int, ...], bytes]] | None
    """For each combination which groups have to come along, and its bytes where they contradict themselves."""


def _minutes(content: bytes) -> int | None:
    """Read a zone as minutes of the week; None for times that do not exist."""
    found = 0
    for day in range(7):
        start_hour, start_minute, end_hour, end_minute = content[4 * day : 4 * day + 4]
        start, end = start_hour * 60 + start_minute, end_hour * 60 + end_minute
        if start_hour > 23 or max(start_minute, end_minute) > 59 or end > DAY_MIN:
            return None
        if start <= end:  # else closed all day
            found |= ((1 << end) - (1 << start)) << DAY_MIN * day
    return found


ALWAYS: Final = _minutes(FULL_DAY * 7) or 0
_EVERYTHING: Final = Right(ALWAYS, None, ANY_STYLE, False, frozenset({((), b"")}))


class Doors:
    """The three tables of one terminal, as they are or as a plan would make them; never changed."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Mapping[TableKind, Mapping[int, bytes] | None]) -> None:
        self._tables = tables

    @classmethod
    def of(cls, snapshot: Snapshot) -> Doors:
        """Take the tables of a snapshot; one without coverage was never read, and stands for a factory-new unit."""
        tables: dict[TableKind, dict[int, bytes] | None] = {}
        for kind, layout in LAYOUTS.items():
            data = next((table.data for table in snapshot.tables if table.name == layout.name), None)
            numbers = range(1, layout.last + 1)
            tables[kind] = None if snapshot.coverage else {number: factory(kind, number) for number in numbers}
            if data is not None:
                rows = [data[at : at + layout.size] for at in range(0, len(data), layout.size)]
                head = layout.content.start
                tables[kind] = {int.from_bytes(row[:head], "little"): row[layout.content] for row in rows}
        for item in tables_of(snapshot):
            known = tables[kind_of(item)]
            if item.raw and known is not None:
                known[int(item.origin["number"])] = content_of(snapshot, item)
        return cls(tables)

    def knows(self, kind: TableKind) -> bool:
        """Whether the unit gives out this kind of table."""
        return self._tables[kind] is not None

    def content(self, kind: TableKind, number: int) -> bytes | None:
        """Return one number of a table without the number; None where it is not known."""
        table = self._tables[kind]
        return None if table is None else table.get(number)

    def put(self, kind: TableKind, number: int, content: bytes) -> Doors:
        """Return the same tables with one number changed."""
        return Doors({**self._tables, kind: {**(self._tables[kind] or {}), number: content}})

    # ---- who may enter when -----------------------------------------------------------------------------------------

    def rests(self, member: Member, kind: TableKind, number: int) -> bool:
        """Whether what a member may do hangs on one number of a table."""
        if member.group is None:
            return True
        if kind == "group":
            return number == member.group
        content = self.content(kind, number)
        if kind == "combination":
            return content is None or (member.group != 0 and member.group in content[:5])
        if member.bits:
            return True
        zones = self._zones_of(member)
        return zones is None or number in zones

    def right(self, member: Member, *, presumed: bool = False) -> Right:
        """Return what a member may do.

        Args:
            member: the user.
            presumed: where no groups are known, the first group is taken for one without limits, as units are
                delivered.
        """
        group = None if member.group is None else self.content("group", member.group)
        first = presumed and member.group in (0, 1)
        style: int | None = member.style or (group[6] & STYLE_MASK if group else None)
        holidays = bool(group[6] & HOLIDAYS_BIT) if group else None
        minutes, times = self._times(member)
        if member.group == 0 and self.knows("group"):
            style, holidays = member.style or -1, False  # no group at all, which is the same on any unit
        if first and not self.knows("group"):
            style, holidays = member.style or ANY_STYLE, False
            if member.own is None and not member.bits:
                minutes, times = ALWAYS, None
        beside = self._beside(member)
        if beside is None and first:
            beside = _EVERYTHING.beside
        return Right(minutes, times, style, holidays, beside)

    def _zones_of(self, member: Member) -> tuple[int, ...] | None:
        if member.own is not None:
            return member.own
        if member.group == 0 and self.knows("group"):
            return ()
        group = None if member.group is None else self.content("group", member.group)
        if group is None:
            return None
        zones = (int.from_bytes(group[at : at + 2], "little") for at in (0, 2, 4))
        return tuple(sorted({zone for zone in zones if zone}))

    def _times(self, member: Member) -> tuple[int | None, frozenset[bytes] | None]:
        table = self._tables["schedule"]
        if table is None:
            return None, None
        if member.bits:
            return None, frozenset({member.bits.to_bytes(2, "little"), b"".join(table[key] for key in sorted(table))})
        zones = self._zones_of(member)
        if zones is None or any(zone not in table for zone in zones):
            return None, None
        minutes: int | None = 0
        for zone in zones:
            one = _minutes(table[zone])
            minutes = None if one is None or minutes is None else minutes | one
        if not zones and member.own is None:
            minutes = None  # whether a group without zones is open always or never is not on public record
        return minutes, frozenset(table[zone] for zone in zones)

    def _beside(self, member: Member) -> frozenset[tuple[tuple[int, ...], bytes]] | None:
        table = self._tables["combination"]
        if table is None or member.group is None:
            return None
        found = set()
        for content in table.values():
            groups = [number for number in content[:5] if number]
            if member.group in groups:
                odd = b"" if int.from_bytes(content[5:7], "little") == len(groups) else content
                groups.remove(member.group)
                found.add((tuple(sorted(groups)), odd))
        return frozenset(found)


def content_of(snapshot: Snapshot, item: WeekOrGroups) -> bytes:
    """Return what a table's record holds, without its number.

    Raises:
        BackupError: the record refers to bytes that are not in the backup.
    """
    return snapshot.bytes_of(item.raw[0])[LAYOUTS[kind_of(item)].content]


def factory(kind: TableKind, number: int) -> bytes:
    """Return what units are delivered with."""
    if kind == "schedule":
        return FULL_DAY * 7
    if number != 1:
        return NOTHING
    return FIRST_ZONE if kind == "group" else ALONE


# ---- comparing ------------------------------------------------------------------------------------------------------

UNKNOWN: Final = "zone-table-unknown"


def more(new: Right, old: Right) -> tuple[str, ...]:
    """Name by loss codes what `new` may allow that `old` does not; nothing where it is the same or less."""
    found = [_more_time(new, old), _more_style(new, old), _more_holidays(new, old), _more_company(new, old)]
    return tuple(dict.fromkeys(code for code in found if code is not None))


def _more_time(new: Right, old: Right) -> str | None:
    if new.times is not None and new.times == old.times:
        return None
    if old.minutes is None or (new.minutes is None and old.minutes & ALWAYS != ALWAYS):
        return UNKNOWN
    return "schedule-unsupported" if new.minutes is not None and new.minutes & ~old.minutes else None


def _more_style(new: Right, old: Right) -> str | None:
    if old.style is None or (new.style is None and old.style != ANY_STYLE):
        return UNKNOWN
    if new.style is None or new.style == old.style:
        return None
    mine, theirs = WAYS.get(new.style), WAYS.get(old.style)
    if mine is None or theirs is None:
        return "rule-unsupported"
    return None if all(any(set(less) <= set(way) for less in theirs) for way in mine) else "rule-unsupported"


def _more_holidays(new: Right, old: Right) -> str | None:
    if old.holidays is None or (new.holidays is None and old.holidays):
        return UNKNOWN
    return "holiday-unsupported" if old.holidays and not new.holidays else None


def _more_company(new: Right, old: Right) -> str | None:
    if old.beside is None or (new.beside is None and ((), b"") not in old.beside):
        return UNKNOWN
    for groups, odd in new.beside or ():
        fewer = (less for less, other in old.beside if other == odd and (not odd or less == groups))
        if not any(not Counter(less) - Counter(groups) for less in fewer):
            return "schedule-unsupported"
    return None
