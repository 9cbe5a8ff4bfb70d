"""Changes on a Nuki lock, each proven by reading back: clock, settings, keypad codes, timers.

On the wire a right only grows (neutral-format 6.1): a code that shall be disabled is added with a limit that has ended
long ago and updated at once. A change whose answer was lost is never repeated: the list is read and tells.
Section numbers are those of the Nuki reference.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, Unsupported, WrongCredential
from lockmigrate.formats.nuki import Cmd, Refusal, refusal_name
from lockmigrate.formats.nuki_config import ADVANCED, BY_NAME, CONFIG, Value, set_advanced, set_config, values_of
from lockmigrate.formats.nuki_records import (
    CodeRow,
    TimerRow,
    WantedCode,
    build_date,
    parse_code,
    parse_timer,
    unpack_code,
)
from lockmigrate.model.results import Progress
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.nuki_wire import Wire

CODES_FROM_THE_START: Final = bytes.fromhex("0000ffff")
"""Offset 0, count FFFF: a list is asked for whole (section 6)."""
PREFIX: Final = "setting/nuki."
_NO_ROOM: Final = "the lock has no room for more"
_LOST: Final = "the lock did not answer and does not show it"


@dataclass(slots=True)
class _Put:
    """One code or timer on its way: what came of asking for it."""

    step: Step
    ident: int | None
    trouble: Done | None = None


class Changes:
    """Carries out steps on one lock.

    Args:
        wire: the conversation.
        writable: False where only reading is understood well enough (Openers).
    """

    def __init__(self, wire: Wire, *, writable: bool) -> None:
        self._wire = wire
        self._writable = writable
        self._clock_set = False
        self._refuses_ended = False

    async def write(self, steps: Iterable[Step]) -> AsyncGenerator[Done, None]:
        """Carry out steps in their order; neighbours of one kind share the reading that proves them.

        Raises:
            Unsupported: an Opener.
            LinkError: the conversation failed; steps without a Done may have happened or not.
            WrongCredential: the lock does not know us, or the PIN is wrong.
        """
        if not self._writable:
            raise Unsupported(
                "writing to an Opener is not supported", hint="sources disagree about its layout; it is only read"
            )
        if not self._clock_set:
            await self.set_clock()
        for (kind, action), some in itertools.groupby(steps, key=lambda step: (step.kind, step.action)):
            group = list(some)
            if kind == "setting":
                dones = self._settings(group)
            elif kind == "pin":
                dones = self._put_codes(group) if action == "put" else self._remove_codes(group)
            elif kind == "lock_schedule":
                dones = self._put_timers(group) if action == "put" else self._remove_timers(group)
            else:
                raise Unsupported(f"a Nuki lock holds no record of the kind {kind}")
            bearers = {step.key: step for step in group}
            async for done in dones:
                yield done
                for key in bearers[done.key].also:  # its limits, which the same write carries
                    yield replace(done, key=key)

    async def set_clock(self) -> None:
        """Set the lock's clock from ours, in UTC, before anything that depends on it (section 12).

        Raises:
            RefusedError, LinkError: from the lock.
        """
        await self._wire.change(Cmd.UPDATE_TIME, build_date(dt.datetime.now(dt.UTC)))
        self._clock_set = True

    # ---- settings ---------------------------------------------------------------------------------------------------

    async def _settings(self, steps: list[Step]) -> AsyncIterator[Done]:
        wanted = {step.key.removeprefix(PREFIX): step.value for step in steps}
        refused: dict[str, str] = {}
        for fields in (CONFIG, ADVANCED):
            names = {item.name for item in fields}
            changes: dict[str, Value] = {
                name: value for name, value in wanted.items() if name in names and isinstance(value, int | str)
            }
            if changes and (why := await self._set(fields is CONFIG, changes)) is not None:
                # One value may have spoilt them all: each by itself.
                for name, value in changes.items():
                    why = await self._set(fields is CONFIG, {name: value}) if len(changes) > 1 else why
                    if why is not None:
                        refused[name] = why
        held = {**values_of(await self._config(), CONFIG)}
        if any(BY_NAME[name] in ADVANCED for name in wanted if name in BY_NAME):
            held |= values_of(await self._advanced(), ADVANCED)
        for step in steps:
            name = step.key.removeprefix(PREFIX)
            if name in held and held[name] == step.value:
                yield Done(key=step.key, status="written", proof="V4")
            elif name in refused:
                yield Done(key=step.key, status="refused", code="setting-unsupported", detail=refused[name])
            else:
                detail = "the lock shows another value than was written"
                yield Done(key=step.key, status="differs", code="read-back-differs", detail=detail)

    async def _set(self, plain: bool, changes: Mapping[str, Value]) -> str | None:
        """Write one of the two configurations; returns why the lock, or its firmware, does not take it."""
        try:
            if plain:
                await self._wire.change(Cmd.SET_CONFIG, set_config(await self._config(), changes))
            else:
                await self._wire.change(Cmd.SET_ADVANCED_CONFIG, set_advanced(await self._advanced(), changes))
        except WrongCredential:
            raise
        except RefusedError as error:
            return f"the lock refused it: {refusal_name(error.status or 0)}"
        except NoAnswer:
            return None  # it may have happened: what is read next tells
        except FrameError as error:
            return error.message
        return None

    async def _config(self) -> bytes:
        return await self._wire.ask(Cmd.REQUEST_CONFIG, answer=Cmd.CONFIG)

    async def _advanced(self) -> bytes:
        return await self._wire.ask(Cmd.REQUEST_ADVANCED_CONFIG, answer=Cmd.ADVANCED_CONFIG)

    # ---- keypad codes -----------------------------------------------------------------------------------------------

    async def codes(self) -> list[CodeRow]:
        """Read all keypad codes.

        Raises:
            TornRead, RefusedError, LinkError: as `Wire.listing`.
        """
        items = await self._wire.whole(
            Cmd.REQUEST_CODES, CODES_FROM_THE_START, entry=Cmd.CODE_ENTRY, count=Cmd.CODE_COUNT
        )
        return [parse_code(raw) for raw in items]

    async def _put_codes(self, steps: list[Step]) -> AsyncIterator[Done]:
        puts = [await self._put_code(step) for step in steps]
        held = {row.digits: row for row in await self.codes()}
        again = False
        for put in puts:
            want = _wanted(put.step)
            there = held.get(want.digits)
            if there is not None and there.rights != want.rights:
                # It exists already, or its second half was lost: now its number is known.
                put.trouble = await self._update_code(put.step.key, want, there.code_id)
                again = True
        if again:
            held = {row.digits: row for row in await self.codes()}
        for put in puts:
            want = _wanted(put.step)
            there = held.get(want.digits)
            if there is not None and there.rights == want.rights:
                yield Done(key=put.step.key, status="written", proof="V4")
            elif put.trouble is not None:
                yield put.trouble
            elif there is None:
                yield Done(key=put.step.key, status="refused", code="write-refused", detail=_LOST)
            else:
                detail = "the lock shows the code otherwise than it was written"
                yield Done(key=put.step.key, status="differs", code="read-back-differs", detail=detail)

    async def _put_code(self, step: Step) -> _Put:
        want, ident = _wanted(step), step.origin.get("code_id")
        if isinstance(ident, int):
            return _Put(step, ident, await self._update_code(step.key, want, ident))
        made = await self._add_code(step.key, want, ended=not want.enabled and not self._refuses_ended)
        if isinstance(made, Done) and not want.enabled and made.code == "write-refused" and not self._refuses_ended:
            # Whether a lock takes a window that has ended is unconfirmed; without it the code is open for a moment.
            self._refuses_ended = True
            made = await self._add_code(step.key, want, ended=False)
        if isinstance(made, Done):
            return _Put(step, None, made)
        if not want.enabled and made is not None:
            return _Put(step, made, await self._update_code(step.key, want, made))
        return _Put(step, made)

    async def _add_code(self, key: str, want: WantedCode, *, ended: bool) -> int | Done | None:
        """Add a code; returns its number, None where the answer was lost, or why it was refused."""
        try:
            answer = await self._wire.ask(
                Cmd.ADD_CODE, want.added(ended=ended), answer=Cmd.CODE_ID, pin=True, repeatable=False
            )
        except NoAnswer:
            return None
        except RefusedError as error:
            return _refused(key, error)
        return int.from_bytes(answer[:2], "little") if len(answer) >= 2 else None

    async def _update_code(self, key: str, want: WantedCode, ident: int) -> Done | None:
        try:
            await self._wire.change(Cmd.UPDATE_CODE, want.changed(ident))
        except NoAnswer:
            return None
        except RefusedError as error:
            return _refused(key, error)
        return None

    async def _remove_codes(self, steps: list[Step]) -> AsyncIterator[Done]:
        troubles: dict[str, Done] = {}
        for step in steps:
            trouble = await self._remove(step, Cmd.REMOVE_CODE, int(step.origin["code_id"]).to_bytes(2, "little"))
            if trouble is not None:
                troubles[step.key] = trouble
        left = {row.code_id for row in await self.codes()}
        for step in steps:
            yield _gone(step, int(step.origin["code_id"]) in left, troubles.get(step.key))

    async def _remove(self, step: Step, command: int, payload: bytes) -> Done | None:
        try:
            await self._wire.change(command, payload)
        except NoAnswer:
            return None
        except RefusedError as error:
            return _refused(step.key, error)
        return None

    # ---- timers -----------------------------------------------------------------------------------------------------

    async def timers(self) -> list[TimerRow]:
        """Read all timers.

        Raises:
            TornRead, RefusedError, LinkError: as `Wire.listing`.
        """
        items = await self._wire.whole(Cmd.REQUEST_TIMERS, b"", entry=Cmd.TIMER_ENTRY, count=Cmd.TIMER_COUNT)
        return [parse_timer(raw) for raw in items]

    async def _put_timers(self, steps: list[Step]) -> AsyncIterator[Done]:
        puts = [await self._put_timer(step) for step in steps]
        held = {row.timer_id: row for row in await self.timers()}
        if await self._finish_lost(puts, held):
            held = {row.timer_id: row for row in await self.timers()}
        for put in puts:
            want = _timer(put.step)
            there = held.get(put.ident) if put.ident is not None else None
            if there is not None and (there.deed, there.enabled) == (want.deed, want.enabled):
                yield Done(key=put.step.key, status="written", proof="V4")
            elif put.trouble is not None:
                yield put.trouble
            elif there is None:
                yield Done(key=put.step.key, status="refused", code="write-refused", detail=_LOST)
            else:
                detail = "the lock shows the timer otherwise than it was written"
                yield Done(key=put.step.key, status="differs", code="read-back-differs", detail=detail)

    async def _finish_lost(self, puts: list[_Put], held: Mapping[int, TimerRow]) -> bool:
        """Find timers whose number was in an answer that got lost, and switch off those that shall be off."""
        changed = False
        claimed = {put.ident for put in puts}
        for put in puts:
            if put.ident is None and put.trouble is None:
                want = _timer(put.step)
                put.ident = next((n for n, row in held.items() if row.deed == want.deed and n not in claimed), None)
                claimed.add(put.ident)
                if put.ident is not None and held[put.ident].enabled != want.enabled:
                    put.trouble = await self._update_timer(put.step.key, want, put.ident)
                    changed = True
        return changed

    async def _put_timer(self, step: Step) -> _Put:
        want, ident = _timer(step), step.origin.get("timer_id")
        if not isinstance(ident, int):
            try:
                answer = await self._wire.ask(
                    Cmd.ADD_TIMER, bytes(want.deed), answer=Cmd.TIMER_ID, pin=True, repeatable=False
                )
            except NoAnswer:
                return _Put(step, None)
            except RefusedError as error:
                return _Put(step, None, _refused(step.key, error))
            ident = answer[0] if answer else None
            if want.enabled or ident is None:
                return _Put(step, ident)
        return _Put(step, ident, await self._update_timer(step.key, want, ident))

    async def _update_timer(self, key: str, want: TimerRow, ident: int) -> Done | None:
        try:
            await self._wire.change(Cmd.UPDATE_TIMER, bytes([ident, want.enabled, *want.deed]))
        except NoAnswer:
            return None
        except RefusedError as error:
            return _refused(key, error)
        return None

    async def _remove_timers(self, steps: list[Step]) -> AsyncIterator[Done]:
        troubles: dict[str, Done] = {}
        for step in steps:
            trouble = await self._remove(step, Cmd.REMOVE_TIMER, bytes([int(step.origin["timer_id"])]))
            if trouble is not None:
                troubles[step.key] = trouble
        left = {row.timer_id for row in await self.timers()}
        for step in steps:
            yield _gone(step, int(step.origin["timer_id"]) in left, troubles.get(step.key))

    # ---- wiping -----------------------------------------------------------------------------------------------------

    async def erase(self) -> AsyncGenerator[Progress, None]:
        """Remove all keypad codes and timers.

        Raises:
            RefusedError, LinkError: from the lock.
        """
        codes, timers = await self.codes(), await self.timers()
        total = len(codes) + len(timers)
        commands = [(Cmd.REMOVE_CODE, row.code_id.to_bytes(2, "little")) for row in codes]
        commands += [(Cmd.REMOVE_TIMER, bytes([row.timer_id])) for row in timers]
        for number, (command, payload) in enumerate(commands, start=1):
            await self._wire.change(command, payload)
            yield Progress(stage="erase", done=number, total=total)


def _wanted(step: Step) -> WantedCode:
    return unpack_code(step.value if isinstance(step.value, bytes) else b"")


def _timer(step: Step) -> TimerRow:
    return parse_timer(step.value if isinstance(step.value, bytes) else b"")


def _refused(key: str, error: RefusedError) -> Done:
    """A record that the lock does not take; what concerns all of them is raised.

    Raises:
        WrongCredential: as it was.
    """
    if isinstance(error, WrongCredential):
        raise error
    if error.status == Refusal.TOO_MANY_ENTRIES:
        return Done(key=key, status="refused", code="capacity", detail=_NO_ROOM)
    if error.status == Refusal.CODE_ALREADY_EXISTS:
        return Done(key=key, status="refused", code="pin-duplicate", detail="the lock has this code already")
    return Done(
        key=key,
        status="refused",
        code="write-refused",
        detail=f"the lock refused it: {refusal_name(error.status or 0)}",
    )


def _gone(step: Step, still_there: bool, trouble: Done | None) -> Done:
    if not still_there:
        return Done(key=step.key, status="removed", proof="V4")
    return trouble or Done(key=step.key, status="refused", code="write-refused", detail="the lock still shows it")
