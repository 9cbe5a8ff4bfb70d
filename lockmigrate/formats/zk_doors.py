"""Time zones, groups and unlock combinations of a ZKTeco terminal as neutral records (no I/O).

They become records where they are not as the factory left them, or where something refers to them. What is referred to
and was not read is a limit of unknown meaning: neither dropped nor taken for "always".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from lockmigrate.errors import FrameError
from lockmigrate.formats.zk_access import (
    COMBINATION_BYTES,
    COMBINATION_TABLE,
    GROUP_BYTES,
    GROUP_TABLE,
    HOLIDAYS_BIT,
    STYLE_MASK,
    ZONE_BYTES,
    ZONE_TABLE,
    Zone,
    parse_combination,
    parse_group,
    parse_zone,
    pieces,
)
from lockmigrate.formats.zk_access import Combination as RawCombination
from lockmigrate.formats.zk_access import Group as RawGroup
from lockmigrate.model.records import Combination, DayWindow, Group, RawRef, Schedule

T = TypeVar("T", Zone, RawGroup, RawCombination)


@dataclass(slots=True)
class Doors:
    """Who may enter when, as far as tables say it."""

    groups: list[Group] = field(default_factory=list)
    combinations: list[Combination] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)


def group_styles(groups: bytes | None) -> dict[int, int]:
    """Return the style byte of each group that was read.

    Raises:
        FrameError: the table is cut short, or names a number twice.
    """
    return {group.number: group.style for _, group in _groups(groups)}


def decode_doors(
    zones: bytes | None,
    groups: bytes | None,
    combinations: bytes | None,
    *,
    used_groups: set[int],
    used_zones: set[int],
    perhaps_used: set[int],
) -> Doors:
    """Decode the three tables; each may be absent.

    Args:
        zones: answers of 32 bytes.
        groups: answers of 8 bytes.
        combinations: answers of 8 bytes.
        used_groups: numbers that users refer to.
        used_zones: numbers that users refer to.
        perhaps_used: numbers that are listed if they were read, and are not missed if they were not.

    Raises:
        FrameError: a table is cut short, or names a number twice.
    """
    found = Doors()
    used_groups, used_zones = set(used_groups), set(used_zones)
    for offset, combination in _combinations(combinations):
        if not combination.default:
            found.combinations.append(_combination(combination, offset))
            used_groups |= {number for number in combination.groups if number}
    for offset, group in _groups(groups):
        if not group.default or group.number in used_groups:
            found.groups.append(_group(group, offset))
            used_zones |= {number for number in group.zones if number}
    read: set[int] = set()
    for offset, zone in _zones(zones):
        read.add(zone.number)
        if not zone.default or zone.number in used_zones or zone.number in perhaps_used:
            found.schedules.append(_schedule(zone, offset))
    found.schedules += [
        Schedule(key=f"schedule/{number}", origin={"number": number}, kind="Unknown", why="missing-table")
        for number in sorted(used_zones - read)
    ]
    return found


def _zones(table: bytes | None) -> list[tuple[int, Zone]]:
    return _once([(at, parse_zone(raw)) for at, raw in pieces(table or b"", ZONE_BYTES, "time zones")])


def _groups(table: bytes | None) -> list[tuple[int, RawGroup]]:
    return _once([(at, parse_group(raw)) for at, raw in pieces(table or b"", GROUP_BYTES, "groups")])


def _combinations(table: bytes | None) -> list[tuple[int, RawCombination]]:
    return _once([(at, parse_combination(raw)) for at, raw in pieces(table or b"", COMBINATION_BYTES, "combinations")])


def _once(found: list[tuple[int, T]]) -> list[tuple[int, T]]:
    numbers = [item.number for _, item in found]
    if len(set(numbers)) != len(numbers):
        raise FrameError("a table of times or groups names a number twice")
    return found


def _schedule(zone: Zone, offset: int) -> Schedule:
    ref = (RawRef(attachment=ZONE_TABLE, offset=offset, size=ZONE_BYTES),)
    key, origin = f"schedule/{zone.number}", {"number": zone.number}
    if not all(_possible(day) for day in zone.days):
        return Schedule(key=key, origin=origin, kind="Unknown", why="opaque", raw=ref)
    return Schedule(
        key=key,
        origin=origin,
        kind="WeekTable",
        days=tuple(
            DayWindow(start=f"{day[0]:02d}:{day[1]:02d}", end=f"{day[2]:02d}:{day[3]:02d}") for day in zone.days
        ),
        raw=ref,
        vendor=_vendor(zone.default),
    )


def _vendor(default: bool) -> dict[str, Any]:
    """Mark what is listed only because something refers to it."""
    return {"zk": {"default": True}} if default else {}


def _possible(day: tuple[int, int, int, int]) -> bool:
    start_hour, start_minute, end_hour, end_minute = day
    ends = end_hour < 24 or (end_hour == 24 and not end_minute)
    return start_hour < 24 and start_minute < 60 and ends and end_minute < 60


def _group(group: RawGroup, offset: int) -> Group:
    return Group(
        key=f"group/{group.number}",
        origin={"number": group.number},
        schedules=tuple(dict.fromkeys(f"schedule/{zone}" for zone in group.zones if zone)),
        verify_style=group.style & STYLE_MASK,
        honours_holidays=bool(group.style & HOLIDAYS_BIT),
        raw=(RawRef(attachment=GROUP_TABLE, offset=offset, size=GROUP_BYTES),),
        vendor=_vendor(group.default),
    )


def _combination(combination: RawCombination, offset: int) -> Combination:
    return Combination(
        key=f"combination/{combination.number}",
        origin={"number": combination.number},
        groups=tuple(dict.fromkeys(f"group/{number}" for number in combination.groups if number)),
        raw=(RawRef(attachment=COMBINATION_TABLE, offset=offset, size=COMBINATION_BYTES),),
    )
