"""R0 as a check of its own: what the bytes of a planned record say, held against what the old unit said.

The planner narrows; this looks at what it made. Nothing here knows how a record was made: the bytes are read back, and
both sides are compared as minutes of the week and as moments.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from lockmigrate.model.adopted import DAY_MIN, Limits, Window

TIME: Final = "schedule-unsupported"
LAST_MINUTE: Final = DAY_MIN - 1


def widened(new: Limits, old: Limits, zone: Any) -> str | None:
    """Say in what `new` allows more than `old`; None where it does not.

    What is not known of the old side counts as decided: the planner asks about it.

    Args:
        new: limits as the planned bytes have them.
        old: limits as the old unit had them.
        zone: the door's time zone, if it is known.
    """
    if old.week is not None and (new.week is None or _minutes(new.week) & ~_minutes(old.week)):
        return "at other hours of the week"
    if _later(_moments(old.from_utc, old.from_local, zone), _moments(new.from_utc, new.from_local, zone)):
        return "from an earlier date"
    if _later(_moments(new.until_utc, new.until_local, zone), _moments(old.until_utc, old.until_local, zone), end=True):
        return "until a later date"
    return None


def _minutes(windows: tuple[Window, ...]) -> int:
    found = 0
    for window in windows:
        # Units write the end of a day as 23:59 or as 24:00; the minute between the two is no right (6.7).
        end = DAY_MIN if window.end_min >= LAST_MINUTE else window.end_min
        if end > window.start_min:
            day = (1 << end) - (1 << window.start_min)
            found |= sum(day << DAY_MIN * number for number in range(7) if window.mask >> number & 1)
    return found


def _moments(utc: str | None, local: str | None, zone: Any) -> list[dt.datetime]:
    """Return every moment that a date may stand for; an hour that the clock shows twice has two."""
    found = [] if utc is None else [dt.datetime.fromisoformat(utc)]
    if local is not None:
        bare = dt.datetime.fromisoformat(local)
        folds = [bare.replace(tzinfo=zone or dt.UTC, fold=fold) for fold in (0, 1)]
        found += [moment.astimezone(dt.UTC) for moment in folds]
    return found


def _later(one: list[dt.datetime], other: list[dt.datetime], *, end: bool = False) -> bool:
    """Whether `one` may be later than `other`, where `one` is a limit at all.

    `end`: an end that is not set is later than any.
    """
    if end:
        return bool(other) and (not one or max(one) > min(other))
    return bool(one) and (not other or max(one) > min(other))
