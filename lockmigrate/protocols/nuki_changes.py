"""Changes on a Nuki lock, each proven by reading back: clock, settings, keypad codes; timers stand in `nuki_timers`.

On the wire a right only grows (neutral-format 6.1): a code that shall be disabled is added with a limit that has ended
long ago and updated at once. A change whose answer was lost is never repeated: the list is read and tells. A code that
reads back as opening otherwise than it shall is taken away again.
Section numbers are those of the Nuki reference.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, Unsupported, WrongCredential
from lockmigrate.formats.nuki import Cmd, refusal_name
from lockmigrate.formats.nuki_config import ADVANCED, BY_NAME, CONFIG, Value, set_advanced, set_config, values_of
from lockmigrate.formats.nuki_records import CodeRow, WantedCode, build_date, parse_code, unpack_code, wanted
from lockmigrate.model.results import Progress
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.nuki_outcomes import LOST, NOT_MEANT, OTHERWISE, Put, changed, gone, refused, taken_back
from lockmigrate.protocols.nuki_timers import Timers
from lockmigrate.protocols.nuki_wire import Wire

CODES_FROM_THE_START: Final = bytes.fromhex("0000ffff")
"""Offset 0, count FFFF: a list is asked for whole (section 6)."""
PREFIX: Final = "setting/nuki."


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
        self._shut = 0
        """Which form of a code that opens nothing this lock takes."""
        self._timers = Timers(wire)

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
                dones = self._timers.put(group) if action == "put" else self._timers.remove(group)
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
            return error.message.removeprefix(FrameError("").message)
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
        known = {row.code_id: row for row in await self.codes()} if any(step.origin for step in steps) else {}
        puts = [await self._put_code(step, known) for step in steps]
        held = {row.digits: row for row in await self.codes()}
        if await self._finish(puts, held):
            held = {row.digits: row for row in await self.codes()}
        if narrowed := await self._narrow(puts, held):
            held = {row.digits: row for row in await self.codes()}
            for put in narrowed:
                there = held.get(_wanted(put.step).digits)
                put.trouble = taken_back(put, "empty" if there is None else None if there.enabled else "disabled")
        for put in puts:
            want = _wanted(put.step)
            there = held.get(want.digits)
            if there is not None and there.rights == want.rights:
                yield Done(key=put.step.key, status="written", proof="V4")
            else:
                yield put.trouble or (LOST if there is None else OTHERWISE)(put.step.key)

    async def _finish(self, puts: list[Put[CodeRow]], held: Mapping[str, CodeRow]) -> bool:
        """Write once more what reads back otherwise: of a second half that was lost, the number is known now."""
        again = False
        for put in puts:
            want, there = _wanted(put.step), held.get(_wanted(put.step).digits)
            if there is not None and there.rights != want.rights and not put.others:
                put.trouble = await self._update_code(put.step.key, want, there.code_id)
                again = True
        return again

    async def _narrow(self, puts: list[Put[CodeRow]], held: Mapping[str, CodeRow]) -> list[Put[CodeRow]]:
        """Take away what opens otherwise than it shall, or switch it off where another code was there before."""
        narrowed = []
        for put in puts:
            want, there = _wanted(put.step), held.get(_wanted(put.step).digits)
            if there is None or there.opens == want.opens or put.others:
                continue
            if put.step.was_empty:
                await self._remove(put.step, Cmd.REMOVE_CODE, there.code_id.to_bytes(2, "little"))
            elif put.before is None or put.before.rights != there.rights:
                await self._update_code(put.step.key, replace(wanted(there), enabled=False), there.code_id)
            else:
                continue  # it is as it was
            narrowed.append(put)
        return narrowed

    async def _put_code(self, step: Step, known: Mapping[int, CodeRow]) -> Put[CodeRow]:
        want, before = _wanted(step), known.get(step.origin.get("code_id", -1))
        if before is not None and before.digits == want.digits:
            ident = before.code_id
            return Put(step, ident, await self._update_code(step.key, want, ident), before)
        # Also where a number of the plan bears other digits by now: somebody else was there.
        made = await (self._add_code(step.key, want.added()) if want.enabled else self._add_shut(step.key, want))
        if isinstance(made, Done):
            return Put(step, None, made)
        if not want.enabled and made is not None:
            return Put(step, made, await self._update_code(step.key, want, made))
        return Put(step, made)

    async def _add_shut(self, key: str, want: WantedCode) -> int | Done | None:
        """Add a code that shall be disabled so that it opens nothing meanwhile; see `_add_code`.

        Whether a lock takes a window that is over, or one far ahead, is unconfirmed. Where it takes neither, the code
        is open until it is updated: at once.
        """
        forms = (want.added(ended=True), want.added(pending=True), want.added())
        made: int | Done | None = None
        for number, payload in enumerate(forms[self._shut :], start=self._shut):
            made = await self._add_code(key, payload)
            if not isinstance(made, Done):
                self._shut = number
            if not isinstance(made, Done) or made.code != "write-refused":
                break
        return made

    async def _add_code(self, key: str, payload: bytes) -> int | Done | None:
        """Add a code; returns its number, None where the answer was lost, or why it was refused."""
        try:
            answer = await self._wire.ask(Cmd.ADD_CODE, payload, answer=Cmd.CODE_ID, pin=True, repeatable=False)
        except NoAnswer:
            return None
        except RefusedError as error:
            return refused(key, error)
        return int.from_bytes(answer[:2], "little") if len(answer) >= 2 else None

    async def _update_code(self, key: str, want: WantedCode, ident: int) -> Done | None:
        return await changed(self._wire, key, Cmd.UPDATE_CODE, want.changed(ident))

    async def _remove_codes(self, steps: list[Step]) -> AsyncIterator[Done]:
        troubles: dict[str, Done | None] = {}
        held = {row.code_id: row for row in await self.codes()}
        for step in steps:
            there = held.get(step.origin["code_id"])
            if there is not None and isinstance(step.value, bytes) and there.digits != _wanted(step).digits:
                troubles[step.key] = NOT_MEANT(step.key)
            elif there is not None:
                troubles[step.key] = await self._remove(step, Cmd.REMOVE_CODE, there.code_id.to_bytes(2, "little"))
        left = {row.code_id for row in await self.codes()}
        for step in steps:
            yield gone(step, step.origin["code_id"] in left, troubles.get(step.key))

    async def _remove(self, step: Step, command: int, payload: bytes) -> Done | None:
        return await changed(self._wire, step.key, command, payload)

    # ---- wiping -----------------------------------------------------------------------------------------------------

    async def erase(self) -> AsyncGenerator[Progress, None]:
        """Remove all keypad codes and timers.

        Raises:
            RefusedError, LinkError: from the lock.
        """
        codes, timers = await self.codes(), await self._timers.held()
        total = len(codes) + len(timers)
        commands = [(Cmd.REMOVE_CODE, row.code_id.to_bytes(2, "little")) for row in codes]
        commands += [(Cmd.REMOVE_TIMER, bytes([row.timer_id])) for row in timers]
        for number, (command, payload) in enumerate(commands, start=1):
            await self._wire.change(command, payload)
            yield Progress(stage="erase", done=number, total=total)


def _wanted(step: Step) -> WantedCode:
    return unpack_code(step.value if isinstance(step.value, bytes) else b"")
