"""Reading and changing the numbered slots of a module, the same for every family (GT-511, 0xF5).

A change is proven by reading it back (V4). What is not proven after three attempts does not stay on the unit, and is a
loss with a code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lockmigrate.model.document import Gap
from lockmigrate.model.results import Progress
from lockmigrate.model.steps import Done, DoneStatus, Step

SLOT_TRIES: Final = 3
"""A slot is tried three times, then recorded as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What one slot gave."""

    data: bytes | None = None
    free: bool = False
    beyond: bool = False
    """There is no such slot."""
    why: str = "it arrived damaged every time"
    """Why there is no data although the slot is used."""

    def __repr__(self) -> str:
        return f"Fetched({len(self.data or b'')} bytes, free={self.free})"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a unit has against a change."""

    code: str
    """A loss code."""
    text: str
    final: bool = True
    """Trying again would be refused again."""


UNTAKEN: Final = Refusal("write-refused", "the module did not take it", final=False)
DIFFERS: Final = Refusal("read-back-differs", "the slot did not give back what was written", final=False)


class Slots(Protocol):
    """Single questions and changes of one slot. `Silent` and `LinkLost` leave them, no other trouble does."""

    async def fetch(self, slot: int) -> Fetched:
        """Read one slot, in up to three tries."""

    async def is_free(self, slot: int) -> bool | None:
        """Tell whether the unit calls the slot free; None where it gives no clear word."""

    async def delete(self, slot: int) -> Refusal | None:
        """Tell the unit once to empty the slot; None where it agreed, or where its answer was lost."""

    async def store(self, slot: int, data: bytes) -> tuple[Refusal | None, bool]:
        """Send a template once; returns what the unit has against it, and whether something new may lie there."""


async def read_slots(
    slots: Slots, wanted: Sequence[int], rows: list[tuple[int, bytes]], *, twice: bool
) -> AsyncIterator[Gap | Progress]:
    """Read slots into `rows`; an unreadable one gets an empty row and yields a Gap.

    Raises:
        Silent, LinkLost: the module is gone.
    """
    total, moved = len(wanted), 0
    yield Progress(stage="fingerprints", done=0, total=total)
    for done, slot in enumerate(wanted, start=1):
        got = await slots.fetch(slot)
        if got.data is not None and twice:
            got = await _same_again(slots, slot, got)
        if got.data is not None:
            rows.append((slot, got.data))
            moved += len(got.data)
        elif got.beyond:
            yield Progress(stage="fingerprints", done=total, total=total, size_bytes=moved)
            return
        elif not got.free:
            rows.append((slot, b""))
            yield Gap(section="credentials", record=f"fingerprint/{slot}", code="template-unreadable", detail=got.why)
        yield Progress(stage="fingerprints", done=done, total=total, size_bytes=moved)


async def _same_again(slots: Slots, slot: int, first: Fetched) -> Fetched:
    """Return what came twice alike, of at most three reads."""
    second = await slots.fetch(slot)
    if second.data == first.data:
        return first
    third = await slots.fetch(slot)
    if third.data is not None and third.data in (first.data, second.data):
        return third
    return Fetched(why="it reads differently every time")


async def put(slots: Slots, key: str, slot: int, wanted: bytes) -> Done:
    """Write one slot and prove it by reading it back.

    A used slot is emptied first: the plan has decided that (what lies there is to be replaced, or it is the torn rest
    of an interrupted restore). One that holds the very bytes already is left alone.

    Raises:
        Silent, LinkLost: the module is gone.
    """
    written = Done(key=key, status="written", proof="V4")
    last, touched, cleared = UNTAKEN, False, False
    for _ in range(SLOT_TRIES):
        if not await slots.is_free(slot):
            held = await slots.fetch(slot)
            if held.data == wanted:
                return written
            against = None if held.free else await _emptied(slots, slot)
            if against is not None:
                last = Refusal("write-refused", f"what lies there cannot be removed: {against.text}")
                break
            cleared = cleared or not held.free
        refusal, may_lie_there = await slots.store(slot, wanted)
        # Where no answer came at all, what got the module out of waiting may have been taken for the template.
        touched = touched or may_lie_there or refusal is None
        if may_lie_there and (await slots.fetch(slot)).data == wanted:
            return written
        last = refusal or (DIFFERS if may_lie_there else UNTAKEN)
        if last.final:
            break
    detail, code = last.text, last.code
    if touched and await _emptied(slots, slot) is not None:
        # Status and code make the journal keep the slot as unconfirmed: what lies there is nobody's finger.
        return Done(key=key, status="differs", code=DIFFERS.code, detail=f"{detail}; the slot could not be emptied")
    if touched or cleared:
        detail = f"{detail}; the slot was left empty"
    return Done(key=key, status="differs" if code == DIFFERS.code else "refused", code=code, detail=detail)


async def remove(slots: Slots, key: str, slot: int) -> Done:
    """Empty one slot and prove it by asking.

    Raises:
        Silent, LinkLost: the module is gone.
    """
    against = await _emptied(slots, slot)
    if against is None:
        return Done(key=key, status="removed", proof="V4")
    status: DoneStatus = "differs" if against.code == DIFFERS.code else "refused"
    return Done(key=key, status=status, code=against.code, detail=against.text)


async def _emptied(slots: Slots, slot: int) -> Refusal | None:
    """Empty a slot; None if the unit then calls it free. Nothing is repeated blindly: the unit is asked in between."""
    said: Refusal | None = None
    for _ in range(SLOT_TRIES):
        said = await slots.delete(slot)
        if await slots.is_free(slot):
            return None
    return said or Refusal(DIFFERS.code, "the slot is still used")


async def put_setting(
    key: str,
    wanted: int,
    send: Callable[[int], Awaitable[Refusal | None]],
    query: Callable[[], Awaitable[int | None]],
) -> Done:
    """Set a number and prove it by querying it.

    Raises:
        Silent, LinkLost: the module is gone.
    """
    refusal: Refusal | None = None
    for _ in range(SLOT_TRIES):
        refusal = await send(wanted)
        if await query() == wanted:
            return Done(key=key, status="written", proof="V4")
        if refusal is not None and refusal.final:
            break
    if refusal is not None:
        return Done(key=key, status="refused", code=refusal.code, detail=refusal.text)
    return Done(key=key, status="differs", code=DIFFERS.code, detail="it does not give back what was set")


def slot_of(step: Step, first: int, last: int | None) -> int | None:
    """Return the slot of a step if the unit can have one of this number; True is no number."""
    value = step.origin.get("credential_index")
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if first <= value and (last is None or value <= last) else None
