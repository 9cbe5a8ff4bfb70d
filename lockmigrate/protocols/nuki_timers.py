"""Timers (time control entries) on a Nuki lock, each proven by reading back. Section 9.4 of the Nuki reference.

A timer has no enabled field when it is added. One that shall be off is added as one that locks the door and is made
what it shall be at once: wherever the link is lost in between, no door opens by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from lockmigrate.errors import NoAnswer, RefusedError
from lockmigrate.formats.nuki import Cmd
from lockmigrate.formats.nuki_records import TimerRow, parse_timer
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.nuki_outcomes import LOST, NOT_MEANT, OTHERWISE, Put, changed, gone, refused, taken_back
from lockmigrate.protocols.nuki_wire import Wire

LOCK: Final = 2
"""Lock action (10.1)."""
Deed = tuple[int, int, int, int]


class Timers:
    """Carries out the steps of timers.

    Args:
        wire: the conversation.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def held(self) -> list[TimerRow]:
        """Read all timers.

        Raises:
            TornRead, RefusedError, LinkError: as `Wire.listing`.
        """
        items = await self._wire.whole(Cmd.REQUEST_TIMERS, b"", entry=Cmd.TIMER_ENTRY, count=Cmd.TIMER_COUNT)
        return [parse_timer(raw) for raw in items]

    async def _by_number(self) -> dict[int, TimerRow]:
        return {row.timer_id: row for row in await self.held()}

    async def put(self, steps: list[Step]) -> AsyncIterator[Done]:
        """Put timers; see `Lock.write`."""
        known = await self._by_number()
        puts = [await self._put(step, known) for step in steps]
        held = await self._by_number()
        if await self._finish_lost(puts, held, known):
            held = await self._by_number()
        if narrowed := await self._narrow(puts, held):
            held = await self._by_number()
            for put in narrowed:
                put.trouble = taken_back(put, "empty" if put.ident not in held else None)
        for put in puts:
            want, there = _wanted(put.step), held.get(-1 if put.ident is None else put.ident)
            if there is not None and (there.deed, there.enabled) == (want.deed, want.enabled):
                yield Done(key=put.step.key, status="written", proof="V4")
            else:
                yield put.trouble or (LOST if there is None else OTHERWISE)(put.step.key)

    async def _put(self, step: Step, known: Mapping[int, TimerRow]) -> Put[TimerRow]:
        want, before = _wanted(step), known.get(step.origin.get("timer_id", -1))
        if before is not None and before.deed in (want.deed, _shut(want)):
            return Put(step, before.timer_id, await self._update(step.key, want, before.timer_id), before)
        payload = bytes(want.deed if want.enabled else _shut(want))
        try:
            answer = await self._wire.ask(Cmd.ADD_TIMER, payload, answer=Cmd.TIMER_ID, pin=True, repeatable=False)
        except NoAnswer:
            return Put(step, None)
        except RefusedError as error:
            return Put(step, None, refused(step.key, error))
        ident = answer[0] if answer else None
        if want.enabled or ident is None:
            return Put(step, ident)
        return Put(step, ident, await self._update(step.key, want, ident))

    async def _finish_lost(
        self, puts: list[Put[TimerRow]], held: Mapping[int, TimerRow], known: Mapping[int, TimerRow]
    ) -> bool:
        """Find timers whose number was in an answer that got lost, and write once more what reads back otherwise."""
        updated = False
        claimed = {*known, *(put.ident for put in puts)}
        for put in puts:
            if put.ident is None and put.trouble is None:
                want = _wanted(put.step)
                deeds = (want.deed,) if want.enabled else (want.deed, _shut(want))
                put.ident = next((n for n, row in held.items() if row.deed in deeds and n not in claimed), None)
                claimed.add(put.ident)
            there = held.get(-1 if put.ident is None else put.ident)
            want = _wanted(put.step)
            if there is not None and (there.deed, there.enabled) != (want.deed, want.enabled):
                put.trouble = await self._update(put.step.key, want, there.timer_id)
                updated = True
        return updated

    async def _narrow(self, puts: list[Put[TimerRow]], held: Mapping[int, TimerRow]) -> list[Put[TimerRow]]:
        """Take away what was added and does otherwise than it shall."""
        narrowed = []
        for put in puts:
            want, there = _wanted(put.step), held.get(-1 if put.ident is None else put.ident)
            differs = there is not None and (there.deed, there.enabled) != (want.deed, want.enabled)
            if there is not None and differs and put.step.was_empty:
                await self._remove(put.step.key, there.timer_id)
                narrowed.append(put)
        return narrowed

    async def _update(self, key: str, want: TimerRow, ident: int) -> Done | None:
        return await changed(self._wire, key, Cmd.UPDATE_TIMER, bytes([ident, want.enabled, *want.deed]))

    async def _remove(self, key: str, ident: int) -> Done | None:
        return await changed(self._wire, key, Cmd.REMOVE_TIMER, bytes([ident]))

    async def remove(self, steps: list[Step]) -> AsyncIterator[Done]:
        """Remove timers; see `Lock.write`."""
        troubles: dict[str, Done | None] = {}
        held = await self._by_number()
        for step in steps:
            there = held.get(step.origin["timer_id"])
            if there is not None and isinstance(step.value, bytes) and there.deed != _wanted(step).deed:
                troubles[step.key] = NOT_MEANT(step.key)
            elif there is not None:
                troubles[step.key] = await self._remove(step.key, there.timer_id)
        left = await self._by_number()
        for step in steps:
            yield gone(step, step.origin["timer_id"] in left, troubles.get(step.key))


def _wanted(step: Step) -> TimerRow:
    return parse_timer(step.value if isinstance(step.value, bytes) else b"")


def _shut(want: TimerRow) -> Deed:
    """What a timer that shall be off is added as."""
    return (*want.deed[:3], LOCK)
