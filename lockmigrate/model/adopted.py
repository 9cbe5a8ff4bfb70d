"""When a credential counts, in one form for all families, and a record as a unit of another family would hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from lockmigrate.model.records import Credential, Kind, Schedule, User

DAY_MIN: Final = 24 * 60
EVERY_DAY: Final = 0x7F


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Some hours on some days: bit 0 Sunday to bit 6 Saturday, minutes from midnight, `end_min` not included."""

    mask: int
    start_min: int
    end_min: int

    @property
    def whole_day(self) -> bool:
        """Units write the end of a day as 23:59 or as 24:00; a minute between the two is not a limit (6.7)."""
        return self.start_min == 0 and self.end_min >= DAY_MIN - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Everything that limits one credential; what is not set does not limit, and all that is set applies."""

    week: tuple[Window, ...] | None = None
    """None: no limit to days and hours; empty: never."""
    from_utc: str | None = None
    until_utc: str | None = None
    from_local: str | None = None
    until_local: str | None = None
    """Dates are `YYYY-MM-DDTHH:MM:SSZ` and, in the door's own time, `YYYY-MM-DDTHH:MM`."""
    unknown: tuple[str, ...] = ()
    """Why something about it is not known (`Schedule.why`): it may be limited further."""

    @property
    def never(self) -> bool:
        return self.week == ()

    @property
    def dated(self) -> bool:
        return any((self.from_utc, self.until_utc, self.from_local, self.until_local))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What the records of one kind of a family can say beside the number that opens."""

    week_windows: int = 0
    disabled: bool = False
    name_bytes: int = 0
    """Of a name in UTF-8; 0: such records have no name."""
    dates: bool = True
    """Whether such a record can be limited to dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A code or a card as it shall be, in the target's conventions."""

    key: str
    """Of the source record."""
    number: int
    """Which of the plan's records it is, from 1: for families that number their records."""
    value: str = field(repr=False)
    """Digits of a PIN, or the decimal number of a card."""
    size_bytes: int = 4
    """Of a card's number."""
    name: str = ""
    enabled: bool = True
    week: Window | None = None
    start: str | None = None
    end: str | None = None
    """Dates as `Adopter.dates` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The same as a record of the target's family, under the source's key."""

    credential: Credential
    schedules: tuple[Schedule, ...]
    record: bytes = field(repr=False)
    """As a step carries it."""
    user: User | None = None
    """Who has it, where the family holds nothing but people; then it bears the source's key."""
    note: str | None = None
    """What somebody has to be told of it: a number."""


class Adopter(Protocol):
    """How one family would hold codes and cards of another one."""

    dates: Literal["utc", "local"]
    earliest: str
    latest: str
    """The first and the last date that it can hold; what reaches beyond them on both sides is not limited."""
    holds: Mapping[Kind, Holds]
    """Kinds that can be written at all."""

    @property
    def full(self) -> bool:
        """Whether there is no number left for another record."""
        ...

    def build(self, kind: Kind, wanted: Wanted) -> Adopted:
        """Return the record.

        Raises:
            FrameError: a value does not fit its field.
        """
        ...

    def read(self, kind: Kind, record: bytes) -> tuple[str, bool, Limits]:
        """Return digits or number, whether it is enabled, and its limits, out of the bytes of a record.

        Raises:
            FrameError: it does not follow its layout.
        """
        ...
