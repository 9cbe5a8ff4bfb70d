"""Weekly hours and dates of a code or a card, as another family can hold them (neutral-format 6.7)."""

from __future__ import annotations

from typing import Any, Final

from lockmigrate.model.adopted import Adopter, Holds, Limits
from lockmigrate.planning.civil import to_local, to_utc
from lockmigrate.planning.cross_shape import Shape
from lockmigrate.planning.limits import OVER_MIDNIGHT

UNREAD: Final = (
    "that it is limited is known, and not how: write it without that limit, or leave it out and give it out anew"
)
MIDNIGHT: Final = "its hours go over midnight, and what that means on the old lock is not published"
NO_ZONE: Final = (
    "its dates are of the door's own time on one lock and UTC on the other, and neither says in which time zone the "
    'door is: answer with value = "Europe/Berlin" or the like, or leave it out'
)
NO_WEEK: Final = "it is limited to weekdays or hours, which the new lock cannot limit it to"


def fit_week(shape: Shape, limits: Limits, holds: Holds) -> None:
    """Put the weekly hours into a shape, or say why they do not fit."""
    if OVER_MIDNIGHT in limits.unknown:  # days and hours are known: nothing but an override may drop them
        shape.refuse("schedule-midnight", MIDNIGHT)
    elif "impossible-date" in limits.unknown:
        shape.ask("schedule-unreadable", "its dates do not exist: leave it out and give it out anew")
    elif limits.unknown and shape.ask("schedule-unreadable", UNREAD, ("write", "skip")) is not None:
        shape.change("schedule-unreadable", UNREAD)
    week = limits.week or ()
    if not week or shape.stopped:
        return
    if not holds.week_windows:
        shape.refuse("schedule-unsupported", NO_WEEK)
    elif len(week) > holds.week_windows:
        detail = f"it has {len(week)} windows a week, the new lock holds one for each code: give it out anew"
        shape.ask("schedule-unsupported", detail)
    else:
        shape.week = week[0]


def fit_dates(shape: Shape, limits: Limits, adopter: Adopter, zone: Any) -> None:
    """Put the dates into a shape, always inward."""
    if not limits.dated:
        return
    utc = adopter.dates == "utc"
    start, end = (limits.from_utc, limits.until_utc) if utc else (limits.from_local, limits.until_local)
    other = (limits.from_local, limits.until_local) if utc else (limits.from_utc, limits.until_utc)
    if any(other):
        if zone is None:
            shape.ask("zone-differs", NO_ZONE)
            return
        try:
            begins, ends = _converted(shape, *other, zone=zone, utc=utc)
        except (OverflowError, ValueError):  # the first and the last days of the calendar
            shape.ask("schedule-unreadable", "its dates are beyond the calendar")
            return
        start = max((text for text in (start, begins) if text is not None), default=None)
        end = min((text for text in (end, ends) if text is not None), default=None)
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
    shape: Shape, start: str | None, end: str | None, *, zone: Any, utc: bool
) -> tuple[str | None, str | None]:
    if utc:
        begins = None if start is None else to_utc(start, zone, "start")
        return begins, None if end is None else to_utc(end, zone, "end")
    first, moved = (None, False) if start is None else to_local(start, zone, "start")
    last, also_moved = (None, False) if end is None else to_local(end, zone, "end")
    if moved or also_moved:
        shape.change("time-rounded")
    return first, last
