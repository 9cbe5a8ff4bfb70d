"""Who says what, when: the conversation with each family, and what every family offers.

A `Lock` is one opened unit. `read` and `write` are async iterators: each item is progress, totals come from `identify`.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.steps import Done, Step

ReadItem = Table | Gap | Progress


class Scope(enum.Enum):
    """How much `erase` takes away."""

    PEOPLE = "people"
    """Credentials, users, schedules, notepad and logs; administration and settings stay."""
    FACTORY = "factory"


class Section(enum.Enum):
    """What `read` can be asked for."""

    IDENTITY = "identity"
    INDEX = "index"
    SETTINGS = "settings"
    CREDENTIALS = "credentials"
    LOG = "log"


EVERYTHING = frozenset(Section)
QUICK = frozenset({Section.IDENTITY, Section.INDEX, Section.SETTINGS})
"""All but the bulk: what is read again at the end of a restore (decision 16)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A finger on the sensor, as the unit judged it."""

    matched: bool
    slot: int | None = None
    score: int | None = None


@runtime_checkable
class Resting(Protocol):
    """A lock whose medium does not last while a person is asked (Bluetooth: locks hang up after 10 to 20 s)."""

    async def rest(self) -> None:
        """Let go of the unit; the next call dials again and meets the same unit, or raises."""


@runtime_checkable
class Uncounted(Protocol):
    """A lock without counters: what it holds is known only once its lists were read."""

    async def count(self) -> None:
        """Read the lists, so that `identify` can say how many there are.

        Raises:
            LinkError, RefusedError: as `read`.
        """


class Lock(Protocol):
    """One opened unit, whatever its family."""

    batch: int
    """How many steps `write` wants at a time: 1 where each is proven by itself, more where one reading proves many."""

    @property
    def variant(self) -> dict[str, Any]:
        """What the family's decoder must know beside the tables: JSON values without floats, kept in the manifest."""

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """What the technician gave to open the unit: it is needed to erase the unit one day, so it is kept too."""

    async def identify(self) -> Unit:
        """Say who the unit is, what it holds and what it can hold. Cheap enough to be done before and after reading.

        Raises:
            LinkError: the conversation failed.
            RefusedError: the unit wants another credential.
        """

    def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read tables as the unit gives them, and what it will not give.

        Raises:
            LinkError: the conversation failed.
            RefusedError: the unit gives out nothing of what was asked.
        """

    def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order, each proven by reading it back.

        Raises:
            LinkError: the conversation failed; steps without a Done may have happened or not.
        """

    def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Erase, in the family's own safe order.

        Raises:
            LinkError: the conversation failed.
            Unsupported: the family has no such scope.
        """

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """Prove that data of this size arrives unchanged, without storing it; None where the family has no such way.

        Raises:
            LinkError: the conversation failed.
        """

    async def touch(self, timeout_s: float) -> Touch:
        """Wait for a finger and ask the unit whom it belongs to.

        Raises:
            NoAnswer: no finger came in time.
            Unsupported: the family has no such command.
        """

    async def close(self) -> None:
        """Leave the unit as it was found and close the link. Idempotent, never raises for a unit that is gone."""
