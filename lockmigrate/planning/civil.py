"""Between UTC and the door's own time, always inward: a window never opens earlier or closes later (6.7).

An hour that a clock shows twice is passed twice: a start that falls into it moves to its end, an end to its beginning,
because a lock that goes by the clock on the wall cannot tell the two apart.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Side = Literal["start", "end"]
MINUTE: Final = dt.timedelta(minutes=1)


def zone_of(name: object) -> ZoneInfo | None:
    """Return a time zone by its IANA name; None where there is none of that name."""
    if not isinstance(name, str) or not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def to_utc(local: str, zone: ZoneInfo, side: Side) -> tuple[str, bool]:
    """Return the moment in UTC, `YYYY-MM-DDTHH:MM:SSZ`, of a time that the door's clock shows; and whether it has two.

    A time that the clock shows twice is the later one as a start and the earlier one as an end; one that it leaves out
    is the moment of the change.
    """
    bare = dt.datetime.fromisoformat(local)
    first, second = (bare.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    if second.astimezone(zone).replace(tzinfo=None) != bare:  # left out: both readings lie beside the change
        low, high = sorted((first, second))
        while low < high and low.astimezone(zone).utcoffset() == (low + MINUTE).astimezone(zone).utcoffset():
            low += MINUTE
        return _utc(low + MINUTE), False
    return _utc(max(first, second) if side == "start" else min(first, second)), first != second


def to_local(utc: str, zone: ZoneInfo, side: Side) -> tuple[str, bool]:
    """Return what the door's clock shows, `YYYY-MM-DDTHH:MM`, and whether it had to be moved inward."""
    moment = dt.datetime.fromisoformat(utc).astimezone(dt.UTC)
    whole = moment.replace(second=0, microsecond=0)
    if side == "start" and whole < moment:
        whole += MINUTE
    shown = whole.astimezone(zone).replace(tzinfo=None)
    while _twice(shown, zone):
        shown += MINUTE if side == "start" else -MINUTE
    return shown.isoformat(timespec="minutes"), shown != moment.astimezone(zone).replace(tzinfo=None)


def _twice(shown: dt.datetime, zone: ZoneInfo) -> bool:
    first, second = (shown.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second


def _utc(moment: dt.datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
