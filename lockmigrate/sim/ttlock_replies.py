"""How a simulated TTLock lock answers: what a command needs, what a reply is made of, and the cursors of its lists.

Section numbers are those of the wire reference of the family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from lockmigrate.sim.ttlock_frames import Refusal, Trouble
from lockmigrate.sim.ttlock_settings import Settings

END: Final = 0xFFFF
"""The cursor behind the last record (section 1, number 5)."""
BYTE_END: Final = 0xFF
"""The same for passage mode, whose cursors are bytes."""
STRIDE: Final = 90
"""How far two places are apart in cursors. With it the only captured one, 180 behind a single record, comes out."""
CURSOR_LIMIT: Final = 0x7FFF
"""kind3r/ttlock-sdk-js reads cursors as signed."""

Login = Literal["none", "user", "admin", "always"]
"""What must have gone before (section 6): nothing; CHECK_USER_TIME or CHECK_ADMIN, each with CHECK_RANDOM; the latter;
the latter even where changes are free."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a command that succeeded is answered with."""

    data: bytes = field(default=b"", repr=False)
    """What follows echo and status, without the battery."""
    battery: bool = False
    """Whether the battery stands before the data."""
    others: Callable[[], Iterator[bytes]] | None = None
    """Other data that says the same: from them comes one that a client can live with (or cannot)."""
    chosen: Callable[[bytes], None] | None = None
    """Told which data it became."""
    bare: bool = False
    """A frame without any payload."""
    hangs_up: bool = False
    """The lock ends the link behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a command does and needs."""

    obey: Callable[[bytes], Reply]
    login: Login = "none"
    feature: int | None = None
    """Without it the command is not supported (section 5)."""
    free: frozenset[int] = frozenset()
    """Operations (the first byte) that need no login."""


def with_battery(*data: int | bytes) -> Reply:
    """Build a reply that begins with the battery; the first of `data` is the operation."""
    return Reply(data=b"".join(bytes([part]) if isinstance(part, int) else part for part in data), battery=True)


class Cursors:
    """Hides where records lie: cursors grow, but nothing can be computed from them (section 1, number 5).

    A cursor that was never given out is refused, and what was given out is forgotten with the link. That a lock does
    either is unconfirmed; it is the stricter reading. With `cursors=index` a cursor counts records instead, as on R's
    locks.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._given: dict[str, set[int]] = {}
        largest = max(settings.passcode_room, settings.card_room, settings.finger_room)
        self._stride = min(STRIDE, CURSOR_LIMIT // (largest + 2))
        self._byte_stride = CURSOR_LIMIT // 256 // (settings.passage_room + 2)

    def forget(self) -> None:
        """Forget what was given out."""
        self._given.clear()

    def start(self, name: str, cursor: int, records: list[tuple[int, T]]) -> list[tuple[int, T]]:
        """Return the records from a cursor on.

        Raises:
            Refusal: nobody was ever given this cursor.
        """
        if self._settings.index_cursors:
            return records[cursor:]
        if cursor == 0:
            return records
        if cursor not in self._given.get(name, ()):
            raise Refusal(Trouble.PARAMETER)
        place = cursor // self._of(name)
        return [item for item in records if item[0] >= place]

    def following(self, name: str, records: Mapping[int, T], page: list[tuple[int, T]]) -> list[int]:
        """Return cursors that may stand behind a page, the usual one first."""
        last = page[-1][0]
        rest = [place for place in records if place > last]
        end, byte = self._settings.end_of_list, name == "passage"
        if not rest and not byte and end != "empty":
            return [0] if end == "zero" and name == "passcodes" else [END]
        if self._settings.index_cursors:
            return [len(records) - len(rest)]
        stride = self._of(name)
        first = (min(rest) if rest else last + 1) * stride
        return [first + more for more in range(stride)]

    def give(self, name: str, cursor: int) -> None:
        """Remember that a cursor was given out."""
        self._given.setdefault(name, set()).add(cursor)

    def _of(self, name: str) -> int:
        return self._byte_stride if name == "passage" else self._stride
