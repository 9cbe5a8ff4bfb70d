"""How old a backup may be: an old one re-admits people who were removed since.

Pure: times in, judgement out. The limits are the policy's; the newest known backup comes from the catalogue, which is
the memory against somebody who serves an old file or hides the newest. A unit without a serial number cannot be told
from another, so that rule then neither holds nor refuses, and says `unit-unknown` (decision 35).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from lockmigrate.vault.policy import VaultPolicy

State = Literal["fresh", "warn", "stale"]

EXPIRED: Final = "expired"
IN_THE_FUTURE: Final = "in-the-future"
NEWER_KNOWN: Final = "newer-known"
TOO_OLD: Final = "too-old"
OLD: Final = "old"
UNIT_UNKNOWN: Final = "unit-unknown"
NOT_IN_CATALOGUE: Final = "not-in-catalogue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """A judgement. `stale` is refused by a restore unless `--accept-stale` is given."""

    state: State
    reasons: tuple[str, ...] = ()
    """Machine codes, the weightiest first; `unit-unknown` and `not-in-catalogue` are remarks, whatever the state."""
    words: tuple[str, ...] = ()
    """One sentence for each reason."""
    code: str | None = None
    """`stale`, for the error; None otherwise."""

    @property
    def sentence(self) -> str:
        """All of it as one line, without remarks where there are reasons that weigh more."""
        return "; ".join(self.words)


def judge(
    created_at: datetime,
    expires_at: datetime | None,
    now: datetime,
    newest_known_created_at: datetime | None,
    unit_known: bool,
    policy: VaultPolicy,
) -> Freshness:
    """Judge a backup's age. All times have a zone.

    Args:
        created_at: from the signed manifest.
        expires_at: from the signed manifest; None never expires.
        now: this computer's clock.
        newest_known_created_at: of the newest backup of the same unit that the catalogue knows, this one included;
            None if it knows none.
        unit_known: whether the unit has a serial number; without one the argument before is not looked at.
        policy: the limits.
    """
    age = now - created_at
    stale: list[tuple[str, str]] = []
    warn: list[tuple[str, str]] = []
    remarks: list[tuple[str, str]] = []
    if is_expired(expires_at, now):
        stale.append((EXPIRED, f"it expired {_span(now - expires_at)} ago" if expires_at else ""))
    if -age > timedelta(minutes=policy.max_future_minutes):
        text = f"it is dated {_span(-age)} in the future: this computer's clock or the other one is wrong"
        stale.append((IN_THE_FUTURE, text))
    if not unit_known:
        text = "the unit has no serial number, so it is not known whether a newer backup of it exists"
        remarks.append((UNIT_UNKNOWN, text))
    elif newest_known_created_at is None:
        text = "this computer's catalogue knows no backup of this unit, so only the age could be judged"
        remarks.append((NOT_IN_CATALOGUE, text))
    elif newest_known_created_at > created_at:
        text = f"a backup of the same unit made {_span(newest_known_created_at - created_at)} later is known"
        stale.append((NEWER_KNOWN, text))
    if age > timedelta(days=policy.max_age_days):
        stale.append((TOO_OLD, f"it is {_span(age)} old, over the limit of {policy.max_age_days} days"))
    elif age > timedelta(hours=policy.warn_age_hours):
        warn.append((OLD, f"it is {_span(age)} old"))
    state: State = "stale" if stale else ("warn" if warn else "fresh")
    pairs = [*stale, *warn, *remarks]
    return Freshness(
        state=state,
        reasons=tuple(code for code, _ in pairs),
        words=tuple(text for _, text in pairs),
        code="stale" if stale else None,
    )


def is_expired(expires_at: datetime | None, now: datetime) -> bool:
    """Tell whether a backup is past its day; at that very second it is not yet."""
    return expires_at is not None and now > expires_at


def _span(span: timedelta) -> str:
    """Return a duration for people: `3 days`, `26 hours`, `12 minutes`."""
    seconds = max(0, int(span.total_seconds()))
    for size_s, word in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        # Below two of them the next smaller unit says more: 26 hours, not 1 day.
        if seconds >= 2 * size_s or size_s == 1:
            count = seconds // size_s
            return f"{count} {word}" if count == 1 else f"{count} {word}s"
    raise AssertionError("the last size always fits")
