"""When each credential of a backup counts, in one form for all families (neutral-format 2.5).

Limits of one holder all apply, and so do those of a user and of the user's credential; a ZK terminal's tables of one
holder unite, which `planning.doors` works out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from lockmigrate.model.adopted import DAY_MIN, EVERY_DAY, Limits, Window
from lockmigrate.model.records import Credential, Schedule
from lockmigrate.planning.doors import ALWAYS

WHOLE_WEEK: Final = 7
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
OVER_MIDNIGHT: Final = "over-midnight"
"""Why a limit is not known: its hours begin later than they end, and what that means is not published."""


def own_limits(by_key: Mapping[str, Schedule], item: Credential) -> Limits:
    """Return what limits a credential by schedules that hang on it; `by_key` are those of the backup."""
    unknown = tuple("missing-table" for key in item.schedules if key not in by_key)
    if item.vendor.get("ttlock", {}).get("unexplained_bytes"):
        unknown += ("opaque",)  # they may well be a limit
    found = Limits(unknown=unknown)
    for key in item.schedules:
        if key in by_key:
            found = both(found, _of(by_key[key]))
    return found


def both(one: Limits, other: Limits) -> Limits:
    """Return what is left where both apply."""
    return Limits(
        week=one.week if other.week is None else other.week if one.week is None else _cut(one.week, other.week),
        from_utc=_later(one.from_utc, other.from_utc),
        until_utc=_sooner(one.until_utc, other.until_utc),
        from_local=_later(one.from_local, other.from_local),
        until_local=_sooner(one.until_local, other.until_local),
        unknown=tuple(dict.fromkeys((*one.unknown, *other.unknown))),
    )


def of_minutes(minutes: int) -> Limits:
    """Return the limits that a bit for each minute of the week stands for, Sunday first."""
    if minutes & ALWAYS == ALWAYS:
        return Limits()
    return Limits(week=tuple(simplified(_windows(minutes))))


def _windows(minutes: int) -> Iterator[Window]:
    day_mask = (1 << DAY_MIN) - 1
    for day in range(WHOLE_WEEK):
        left, at = minutes >> DAY_MIN * day & day_mask, 0
        while left:
            skip = (left & -left).bit_length() - 1
            left, at = left >> skip, at + skip
            run = (~left & (left + 1)).bit_length() - 1
            yield Window(1 << day, at, at + run)
            left, at = left >> run, at + run


def _of(item: Schedule) -> Limits:
    if item.kind == "WeekDay" and isinstance(item.days_mask, int) and 0 <= item.days_mask <= EVERY_DAY:
        if not isinstance(item.start, str) or not isinstance(item.end, str):
            return Limits(week=_limiting([Window(item.days_mask, 0, DAY_MIN)]))
        if _TIME.fullmatch(item.start) and _TIME.fullmatch(item.end):
            return Limits(week=_limiting([Window(item.days_mask, _minute(item.start), _minute(item.end))]))
    if item.kind == "YearDay":
        sides = (item.start_utc, item.end_utc, item.start_local, item.end_local)
        texts = [side if isinstance(side, str) else None for side in sides]
        return Limits(from_utc=texts[0], until_utc=texts[1], from_local=texts[2], until_local=texts[3])
    hours = isinstance(item.start, str) and isinstance(item.end, str)  # of which only the meaning is not known
    return Limits(unknown=(OVER_MIDNIGHT if hours else item.why or "opaque",))


def _limiting(windows: Iterable[Window]) -> tuple[Window, ...] | None:
    """Return windows in their simplest form; None where they are all hours of all days."""
    found = simplified(windows)
    whole = [item.mask for item in found if item.whole_day]
    return None if EVERY_DAY in whole else tuple(found)


def _minute(text: str) -> int:
    hours, _, rest = text.partition(":")
    return int(hours) * 60 + int(rest)


def simplified(windows: Iterable[Window]) -> list[Window]:
    """Join days that have the same hours; whole days end at midnight whether written 23:59 or 24:00."""
    masks: dict[tuple[int, int], int] = {}
    for item in windows:
        end = DAY_MIN if item.whole_day else item.end_min
        if end > item.start_min and item.mask:
            masks[item.start_min, end] = masks.get((item.start_min, end), 0) | item.mask
    return sorted(Window(mask, start, end) for (start, end), mask in masks.items())


def _cut(first: tuple[Window, ...], second: tuple[Window, ...]) -> tuple[Window, ...]:
    shared = [
        Window(one.mask & other.mask, max(one.start_min, other.start_min), min(one.end_min, other.end_min))
        for one in first
        for other in second
        if one.mask & other.mask
    ]
    return tuple(simplified(shared))


def _later(first: str | None, second: str | None) -> str | None:
    return max((text for text in (first, second) if text is not None), default=None)


def _sooner(first: str | None, second: str | None) -> str | None:
    return min((text for text in (first, second) if text is not None), default=None)
