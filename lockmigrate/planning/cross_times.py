"""Weekly hours and dates of a code or a card, as another family can hold them (neutral-format 6.7)."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from lockmigrate.model.adopted import DAY_MIN, Adopter, Holds, Limits
from lockmigrate.planning.civil import to_local, to_utc
from lockmigrate.planning.cross_shape import Shape
from lockmigrate.planning.limits import OVER_MIDNIGHT

UNREAD: Final = (
    "that it is limited is known, and not how: write it without that limit, or leave it out and give it out anew"
)
UNLIMITED: Final = "it opens at all hours, as decided"
MIDNIGHT: Final = "its hours go over midnight, and what that means on the old lock is not published"
NO_ZONE: Final = (
    "its dates are of the door's own time on one lock and UTC on the other, and neither says in which time zone the "
    'door is: answer with value = "Europe/Berlin" or the like, or leave it out'
)
NO_WEEK: Final = "it is limited to weekdays or hours, which the new lock cannot limit it to"
NO_DATES: Final = "it is limited to dates, which the new unit cannot limit it to"
NO_DATE: Final = "its dates do not exist: leave it out and give it out anew"
END_OF_DAYS: Final = "9990"
"""What ends later than this year ends after the last day of any calendar here."""


def fit_week(shape: Shape, limits: Limits, holds: Holds) -> None:
    """Put the weekly hours into a shape, or say why they do not fit."""
    if OVER_MIDNIGHT in limits.unknown:  # days and hours are known: nothing but an override may drop them
        shape.refuse("schedule-midnight", MIDNIGHT, then=UNLIMITED)
    elif "impossible-date" in limits.unknown:
        shape.question("schedule-unreadable", NO_DATE)
    elif limits.unknown:
        shape.question("schedule-unreadable", UNREAD, ("write", "skip"), then=UNLIMITED)
    week = limits.week or ()
    if not week or shape.stopped:
        return
    if not holds.week_windows:
        shape.refuse("schedule-unsupported", NO_WEEK, then=UNLIMITED)
    elif len(week) > holds.week_windows:
        detail = f"it has {len(week)} windows a week, the new lock holds one for each code: give it out anew"
        shape.question("schedule-unsupported", detail)
    else:
        shape.week = week[0]
        if shape.week.end_min == DAY_MIN and not shape.week.whole_day:
            shape.change("end-2400", "until 23:59")


def fit_dates(shape: Shape, limits: Limits, adopter: Adopter, holds: Holds, zone: Any, unknown_zone: str) -> None:
    """Put the dates into a shape, always inward.

    Args:
        shape: the record.
        limits: what limits it.
        adopter: what the new lock can hold.
        holds: the same of such a record.
        zone: the door's time zone, if it is known.
        unknown_zone: what to say where it is not.
    """
    if not limits.dated or shape.stopped:
        return
    if not holds.dates:
        shape.refuse("schedule-unsupported", NO_DATES, then="it opens for ever, as decided")
        return
    utc = adopter.dates == "utc"
    start, end = (limits.from_utc, limits.until_utc) if utc else (limits.from_local, limits.until_local)
    other = (limits.from_local, limits.until_local) if utc else (limits.from_utc, limits.until_utc)
    try:
        for text in (start, end, *other):
            if text is not None:
                dt.datetime.fromisoformat(text)
        if any(other):
            if zone is None:
                shape.question("zone-differs", unknown_zone)
                return
            begins, ends = _converted(shape, *other, adopter=adopter, zone=zone)
            start = max((text for text in (start, begins) if text is not None), default=None)
            end = min((text for text in (end, ends) if text is not None), default=None)
    except (OverflowError, ValueError):  # no dates at all, or the first and the last days of the calendar
        shape.question("schedule-unreadable", NO_DATE)
        return
    _clip(shape, start, end, adopter)


def _clip(shape: Shape, start: str | None, end: str | None, adopter: Adopter) -> None:
    if start is not None and start < adopter.earliest:
        start = None
    if (start is not None and start > adopter.latest) or (end is not None and end < adopter.earliest):
        shape.skip("schedule-unsupported", "its dates lie outside what the new lock knows")
        return
    if end is not None and end > adopter.latest:
        end = adopter.latest
        shape.change("time-rounded", f"until {end}, the last date that the new lock knows")
    if start is not None and end is not None and start >= end:
        shape.skip("schedule-unsupported", "nothing is left of its dates")
        return
    shape.start, shape.end = start, end


def _converted(
    shape: Shape, start: str | None, end: str | None, *, adopter: Adopter, zone: Any
) -> tuple[str | None, str | None]:
    if adopter.dates == "utc":
        first, moved = (None, False) if start is None else to_utc(start, zone, "start")
        last, also_moved = (None, False) if end is None else to_utc(end, zone, "end")
        if moved or also_moved:
            shape.change("time-rounded")
        return first, last
    first, moved = (None, False) if start is None else to_local(start, zone, "start")
    last, also_moved = end, False
    if end is not None:  # what is later than any lock knows needs no time zone
        last, also_moved = (END_OF_DAYS, False) if end >= END_OF_DAYS else to_local(end, zone, "end")
    if moved or also_moved:
        shape.change("time-rounded")
    return first, last
