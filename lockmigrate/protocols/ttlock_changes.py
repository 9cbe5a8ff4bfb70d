"""Changes on a TTLock lock, each proven by reading back: clock, settings, passcodes, cards, passage mode.

A change whose answer was lost is never repeated blindly: its list is read and tells. Section numbers are those of the
TTLock reference.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import replace
from typing import Final

from lockmigrate.errors import (
    FrameError,
    LinkLost,
    NoAnswer,
    RefusedError,
    UnexpectedReply,
    Unsupported,
    WrongCredential,
)
from lockmigrate.formats.ttlock import Cmd, Feature, Refusal, has, refusal_words
from lockmigrate.formats.ttlock_records import CYCLIC, Holder, Passcode, parse_holder, parse_passcode
from lockmigrate.formats.ttlock_settings import PREFIX, QUERY, command_of, set_request, values_of
from lockmigrate.model.results import Progress
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.ttlock_lists import read_holders, read_passage, read_passcodes
from lockmigrate.protocols.ttlock_pair import local_bytes
from lockmigrate.protocols.ttlock_wire import Wire

_LOST: Final = "the lock did not answer and does not show it"
_UNLIKE: Final = "the lock shows it otherwise than it was written"
_MEANWHILE: Final = "somebody changed it at the lock since the plan was made; plan again"
_STILL: Final = "the lock still shows it"
_NOT_RECOVER: Final = frozenset({Refusal.UNSUPPORTED, Refusal.BAD_PARAMETER, Refusal.PARAMETER_LENGTH, Refusal.FAILED})
"""Refusals after which a plain code is added in place of being recovered."""
_CODES: Final[dict[int, tuple[str, str]]] = {
    Refusal.FULL: ("capacity", "the lock has no room for more"),
    Refusal.CODE_LENGTH: ("pin-length", "the lock takes no codes of this length"),
    Refusal.CODE_EXISTS: ("pin-duplicate", "the lock has this code already"),
    Refusal.ADMIN_EQUALS_DELETE: ("pin-equals-admin", "the lock keeps these digits for itself"),
}
"""Error to loss code and detail."""


class Changes:
    """Carries out steps on one lock."""

    def __init__(self, wire: Wire, address: str) -> None:
        self._wire = wire
        self._address = address
        self._clock_set = False
        self.clock_refused = False
        """The lock did not take the time: windows open by a clock that may be wrong."""

    async def write(self, steps: Iterable[Step]) -> AsyncGenerator[Done, None]:
        """Carry out steps in their order; neighbours of one kind share the reading that proves them.

        Raises:
            LinkError: the conversation failed; steps without a Done may have happened or not.
            WrongCredential: the lock does not accept our keys.
        """
        if not self._clock_set:
            await self.set_clock()
        for (kind, action), some in itertools.groupby(steps, key=lambda step: (step.kind, step.action)):
            group = list(some)
            put = action == "put"
            if kind == "setting":
                dones = self._settings(group)
            elif kind == "pin":
                dones = self._put_codes(group) if put else self._remove_codes(group)
            elif kind == "card":
                dones = self._put_cards(group) if put else self._remove_holders(Cmd.CARD, group)
            elif kind == "fingerprint" and not put:
                dones = self._remove_holders(Cmd.FINGER, group)
            elif kind == "lock_schedule":
                dones = self._passage(group, put=put)
            else:
                raise Unsupported(f"a TTLock lock takes no record of the kind {kind}")
            bearers = {step.key: step for step in group}
            async for done in dones:
                yield done
                for key in bearers[done.key].also:  # its limits, which the same write carries
                    yield replace(done, key=key)

    async def set_clock(self) -> None:
        """Set the lock's clock from ours, before anything that depends on it; one without a clock may refuse.

        Raises:
            LinkError, WrongCredential: from the lock.
        """
        try:
            await self._wire.ask(Cmd.TIME_CALIBRATE, local_bytes(dt.datetime.now().astimezone()))
        except WrongCredential:
            raise
        except RefusedError:
            self.clock_refused = True
        self._clock_set = True

    async def _do(self, step: Step, command: Cmd, plain: bytes) -> Done | None:
        """Ask for one change; returns why it was refused, None where it was done, or nobody knows."""
        try:
            await self._wire.ask(command, plain, repeatable=False)
        except (NoAnswer, FrameError):
            return None  # it may have happened: what is read next tells
        except RefusedError as error:
            return _refused(step, error)
        return None

    # ---- settings ---------------------------------------------------------------------------------------------------

    async def _settings(self, steps: list[Step]) -> AsyncIterator[Done]:
        by_command: dict[Cmd, list[Step]] = {}
        for step in steps:
            command = command_of(step.key.removeprefix(PREFIX))
            if command is None or not isinstance(step.value, int):
                yield Done(key=step.key, status="refused", code="setting-unsupported")
            else:
                by_command.setdefault(command, []).append(step)
        for command, group in by_command.items():
            refused = await self._set(command, group)
            held = values_of({command: await self._query(command)})
            for step in group:
                if held.get(step.key.removeprefix(PREFIX)) == step.value:
                    yield Done(key=step.key, status="written", proof="V4")
                elif refused is not None:
                    yield replace(refused, key=step.key)
                else:
                    yield Done(key=step.key, status="differs", code="read-back-differs", detail=_UNLIKE)

    async def _set(self, command: Cmd, group: list[Step]) -> Done | None:
        changes = [(step.key.removeprefix(PREFIX), step.value) for step in group if isinstance(step.value, int)]
        try:
            request = set_request(command, await self._query(command), changes)
        except FrameError as error:
            return Done(key="", status="refused", code="setting-unsupported", detail=error.message)
        return await self._do(group[0], command, request)

    async def _query(self, command: Cmd) -> bytes:
        answer = await self._wire.ask(command, bytes([QUERY]))
        if answer[1:2] != bytes([QUERY]):
            raise UnexpectedReply(expected="a setting", received="something else of the same kind")
        return answer[2:]

    # ---- passcodes --------------------------------------------------------------------------------------------------

    async def _put_codes(self, steps: list[Step]) -> AsyncIterator[Done]:
        troubles: dict[str, Done] = {}
        there = {row.code: row for row in await read_passcodes(self._wire)}
        for step in steps:
            want = _code(step)
            before = there.get(want.code)
            if before is not None and _plain(before) == want:
                continue
            trouble = _meanwhile(step) if before is not None and step.was_empty else None
            if before is not None and trouble is None:
                # Nothing changes all of a code at once: it goes, and comes back as it shall be.
                trouble = await self._delete_code(step, before)
                if trouble is None:
                    trouble = await self._put_code(step, want)
                    if trouble is not None:  # what was there before shall not be lost over it
                        await self._put_code(step, _plain(before))
            elif trouble is None:
                trouble = await self._put_code(step, want)
            if trouble is not None:
                troubles[step.key] = trouble
        held = {row.code: row for row in await read_passcodes(self._wire)}
        for step in steps:
            want = _code(step)
            found = held.get(want.code)
            equal = found is not None and _plain(found) == want
            yield _proven(step, there=found is not None, equal=equal, trouble=troubles.get(step.key))

    async def _put_code(self, step: Step, want: Passcode) -> Done | None:
        try:
            await self._wire.ask(Cmd.PASSCODE, want.recovered(), repeatable=False)
        except RefusedError as error:
            plain = want.kind != CYCLIC and want.code == want.original
            if plain and error.status in _NOT_RECOVER:
                return await self._do(step, Cmd.PASSCODE, want.added())
            return _refused(step, error)
        except (NoAnswer, FrameError):
            return None
        return None

    async def _delete_code(self, step: Step, row: Passcode) -> Done | None:
        """Delete a code by what opens now, else by what it was made as: which of them names it is unconfirmed (7.2)."""
        request = row.deleted()
        try:
            await self._wire.ask(Cmd.PASSCODE, request, repeatable=False)
        except RefusedError as error:
            if error.status != Refusal.CODE_UNKNOWN or row.code == row.original:
                return _refused(step, error)
            return await self._do(step, Cmd.PASSCODE, replace(row, code=row.original).deleted())
        except (NoAnswer, FrameError):
            return None
        return None

    async def _remove_codes(self, steps: list[Step]) -> AsyncIterator[Done]:
        there = {row.code: row for row in await read_passcodes(self._wire)}
        troubles: dict[str, Done | None] = {}
        for step in steps:
            row = there.get(_code(step).code)
            if row is not None:
                same = _plain(row) == _plain(_code(step))
                troubles[step.key] = await self._delete_code(step, row) if same else _meanwhile(step)
        left = {row.code for row in await read_passcodes(self._wire)}
        for step in steps:
            yield _gone(step, still=_code(step).code in left, trouble=troubles.get(step.key))

    # ---- cards ------------------------------------------------------------------------------------------------------

    async def _put_cards(self, steps: list[Step]) -> AsyncIterator[Done]:
        troubles: dict[str, Done] = {}
        there = {row.number: row for row in await read_holders(self._wire, Cmd.CARD)}
        for step in steps:
            want = _card(step)
            before = there.get(want.number)
            if before == want:
                continue
            operation = b"\x02" if before is None else b"\x05"
            taken = before is not None and step.was_empty
            trouble = _meanwhile(step) if taken else await self._do(step, Cmd.CARD, operation + want.record)
            if trouble is not None:
                troubles[step.key] = trouble
        held = {row.number: row for row in await read_holders(self._wire, Cmd.CARD)}
        for step in steps:
            found = held.get(_card(step).number)
            yield _proven(step, there=found is not None, equal=found == _card(step), trouble=troubles.get(step.key))

    async def _remove_holders(self, command: Cmd, steps: list[Step]) -> AsyncIterator[Done]:
        """Take cards or fingers away."""
        there = {row.number: row for row in await read_holders(self._wire, command)}
        troubles: dict[str, Done | None] = {}
        for step in steps:
            row = there.get(_card(step).number)
            if row is not None:
                delete = self._do(step, command, b"\x03" + row.number) if row == _card(step) else None
                troubles[step.key] = _meanwhile(step) if delete is None else await delete
        left = {row.number for row in await read_holders(self._wire, command)}
        for step in steps:
            yield _gone(step, still=_card(step).number in left, trouble=troubles.get(step.key))

    # ---- passage mode -----------------------------------------------------------------------------------------------

    async def _passage(self, steps: list[Step], *, put: bool) -> AsyncIterator[Done]:
        operation = b"\x02" if put else b"\x03"
        troubles = {step.key: await self._do(step, Cmd.PASSAGE, operation + _bytes(step)) for step in steps}
        left = await read_passage(self._wire)
        for step in steps:
            here = _bytes(step) in left
            if put:
                yield _proven(step, there=here, equal=here, trouble=troubles[step.key])
            else:
                yield _gone(step, still=here, trouble=troubles[step.key])

    # ---- wiping -----------------------------------------------------------------------------------------------------

    async def erase(self, features: int) -> AsyncGenerator[Progress, None]:
        """Clear passcodes, cards, fingers and passage mode.

        Raises:
            RefusedError, LinkError: from the lock.
        """
        clears: list[tuple[Feature, Cmd, int]] = [
            (Feature.PASSCODES, Cmd.PASSCODE, 1),
            (Feature.CARDS, Cmd.CARD, 4),
            (Feature.FINGERS, Cmd.FINGER, 4),
            (Feature.PASSAGE, Cmd.PASSAGE, 4),
        ]
        here = [(command, operation) for feature, command, operation in clears if has(features, feature)]
        for number, (command, operation) in enumerate(here, start=1):
            await self._wire.ask(command, bytes([operation]))
            yield Progress(stage="erase", done=number, total=len(here))

    async def reset(self) -> None:
        """Reset the lock to the factory's state: anyone can claim it then. What it advertises afterwards proves it.

        Raises:
            RefusedError: it did not reset itself.
            ConnectError, LinkError: from the lock.
        """
        await self._wire.log_in_now()
        with contextlib.suppress(NoAnswer, LinkLost, FrameError):  # it hangs up; what it did, it advertises
            await self._wire.say(Cmd.RESET)
        seen = await self._wire.seen_anew()
        if seen is not None and not seen.setting_mode:
            raise RefusedError(
                "the lock did not go back to the factory's state", hint="try again beside it, or press its reset button"
            )


def _bytes(step: Step) -> bytes:
    return step.value if isinstance(step.value, bytes) else b""


def _code(step: Step) -> Passcode:
    return parse_passcode(_bytes(step))


def _card(step: Step) -> Holder:
    return parse_holder(_bytes(step))


def _plain(row: Passcode) -> Passcode:
    """Without what a newer firmware appends, which nothing writes."""
    return replace(row, rest=b"")


def _refused(step: Step, error: RefusedError) -> Done:
    if isinstance(error, WrongCredential):
        raise error
    unnamed = ("write-refused", f"the lock refused it: {refusal_words(error.status or 0)}")
    code, detail = _CODES.get(error.status or 0, unnamed)
    return Done(key=step.key, status="refused", code=code, detail=detail)


def _meanwhile(step: Step) -> Done:
    return Done(key=step.key, status="refused", code="write-refused", detail=_MEANWHILE)


def _proven(step: Step, *, there: bool, equal: bool, trouble: Done | None) -> Done:
    if equal:
        return Done(key=step.key, status="written", proof="V4")
    if trouble is not None:
        return trouble
    if not there:
        return Done(key=step.key, status="refused", code="write-refused", detail=_LOST)
    return Done(key=step.key, status="differs", code="read-back-differs", detail=_UNLIKE)


def _gone(step: Step, *, still: bool, trouble: Done | None) -> Done:
    if not still:
        return Done(key=step.key, status="removed", proof="V4")
    return trouble or Done(key=step.key, status="refused", code="write-refused", detail=_STILL)
