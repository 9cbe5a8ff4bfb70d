"""Changing a ZKTeco terminal: tables of times and groups, settings, erasing; users and fingers have their own modules.

Every change is read back. Nothing here opens a door, restarts a unit, or clears more than is named.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from lockmigrate.errors import NoAnswer, RefusedError
from lockmigrate.formats.zk import UNKNOWN_COMMAND, Capacity, Cmd, cut_text, parse_capacity, reply_text, split_option
from lockmigrate.formats.zk_access import (
    COMBINATION_BYTES,
    COMBINATIONS,
    GROUP_BYTES,
    GROUPS,
    WINDOWS_BYTES,
    ZONE_BYTES,
    ZONES,
    build_combination,
    build_group,
    build_zone,
    default_combination,
    default_group,
    default_zone,
    parse_combination,
    parse_group,
    parse_zone,
)
from lockmigrate.formats.zk_tables import PORTABLE_OPTIONS
from lockmigrate.model.records import Kind
from lockmigrate.model.results import Progress
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.zk_bulk import USER_TABLE, whole_table
from lockmigrate.protocols.zk_finger_changes import FingerChanges
from lockmigrate.protocols.zk_open import Found, ask_option, read_capacity
from lockmigrate.protocols.zk_pause import Pause
from lockmigrate.protocols.zk_user_changes import UserChanges, number_of
from lockmigrate.protocols.zk_wire import Wire

SETTING_PREFIX: Final = "setting/zk."
ATTENDANCE, TEMPLATES, OPERATIONS, USERS = 1, 2, 4, 5
"""What CLEAR_DATA can clear; without a byte it would clear everything (section 7)."""


@dataclass(frozen=True, slots=True)
class AccessTable:
    """One kind of table of section 8: how its numbers are read, written and reset."""

    kind: Kind
    what: str
    read: Cmd
    write: Cmd
    highest: int
    answer_bytes: int

    def question(self, number: int) -> bytes:
        """Build the data of a reading."""
        return number.to_bytes(4, "little") if self.read == Cmd.ZONE_READ else number.to_bytes(8, "little")

    def sent(self, number: int, value: bytes) -> bytes | None:
        """Build the data of a writing; None if the value is of another size."""
        if self.read == Cmd.ZONE_READ:
            if len(value) == ZONE_BYTES:
                value = value[2 : 2 + WINDOWS_BYTES]
            return number.to_bytes(4, "little") + value if len(value) == WINDOWS_BYTES else None
        return bytes([number]) + value[1:] if len(value) == self.answer_bytes else None

    def kept(self, answer: bytes) -> bytes:
        """Return what of an answer has to equal what was sent: the last two bytes of a zone mean nothing known."""
        if self.read == Cmd.ZONE_READ:
            return answer[:2] + b"\x00\x00" + answer[2 : 2 + WINDOWS_BYTES]
        return answer

    def default(self, number: int) -> bytes:
        """Return the factory's value."""
        if self.read == Cmd.ZONE_READ:
            return build_zone(default_zone(number))
        return (
            build_group(default_group(number))
            if self.read == Cmd.GROUP_READ
            else build_combination(default_combination(number))
        )

    def is_default(self, answer: bytes) -> bool:
        """Whether an answer is the factory's value."""
        if self.read == Cmd.ZONE_READ:
            return parse_zone(answer).default
        return parse_group(answer).default if self.read == Cmd.GROUP_READ else parse_combination(answer).default


ZONE_ACCESS: Final = AccessTable("schedule", "time zones", Cmd.ZONE_READ, Cmd.ZONE_WRITE, ZONES, ZONE_BYTES)
GROUP_ACCESS: Final = AccessTable("group", "groups", Cmd.GROUP_READ, Cmd.GROUP_WRITE, GROUPS, GROUP_BYTES)
COMBINATION_ACCESS: Final = AccessTable(
    "combination", "combinations", Cmd.COMBINATION_READ, Cmd.COMBINATION_WRITE, COMBINATIONS, COMBINATION_BYTES
)
ACCESS: Final = {table.kind: table for table in (ZONE_ACCESS, GROUP_ACCESS, COMBINATION_ACCESS)}


class Changes:
    """What can be changed on one terminal."""

    def __init__(self, wire: Wire, found: Found, pause: Pause) -> None:
        self._wire = wire
        self._found = found
        self._pause = pause
        self.users = UserChanges(wire, found, pause)
        self._fingers = FingerChanges(wire, found, pause, self.users)

    async def write(self, steps: Iterable[Step]) -> AsyncGenerator[Done, None]:
        """Carry out steps in their order; see `Lock.write`."""
        steps = list(steps)
        if not steps:
            return
        self.users.forget()  # since the last time people may have used the terminal
        async with self._pause.hold():
            for kind, group in groupby(steps, key=lambda step: step.kind):
                run = list(group)
                if kind == "user":
                    for part in _each_once(run):
                        async with aclosing(self.users.carry_out(part)) as dones:
                            for done in await self._fingers.left_behind(part, [done async for done in dones]):
                                yield done
                    continue
                if kind == "fingerprint":
                    async with aclosing(self._fingers.carry_out(run)) as dones:
                        async for done in dones:
                            yield done
                    continue
                for step in run:
                    await self._pause.renew()
                    yield await self._other(step)

    async def _other(self, step: Step) -> Done:
        if step.kind in ACCESS:
            return await self._access(step, ACCESS[step.kind])
        if step.kind == "setting" and step.key.startswith(SETTING_PREFIX) and step.action == "put":
            return await self._setting(step, step.key.removeprefix(SETTING_PREFIX))
        return Done(key=step.key, status="refused", code="setting-unsupported")

    # ---- tables of times and groups ---------------------------------------------------------------------------------

    async def read_access(self, table: AccessTable, number: int) -> bytes | int:
        """Read one number of a table; the code of the refusal where the unit gives none."""
        answer = await self._wire.ask_optional(table.read, table.question(number))
        return answer.data if answer.ok else answer.code

    async def _access(self, step: Step, table: AccessTable) -> Done:
        number = number_of(step, "number", table.highest)
        if not number:
            return Done(
                key=step.key, status="refused", code="capacity", detail=f"{table.what} end with {table.highest}"
            )
        value = table.default(number) if step.action == "remove" else step.value
        data = table.sent(number, value) if isinstance(value, bytes) else None
        if data is None:
            return Done(key=step.key, status="refused", code="write-refused", detail="the record has another size")
        try:
            # Writing the same twice changes nothing more than writing it once.
            answer = await self._wire.ask(table.write, data, repeatable=True, timeout_s=self._wire.facts.write_s)
        except NoAnswer:
            answer = None
        if answer is not None and not answer.ok:
            await read_capacity(self._wire)  # a unit that was restarted refuses everything
            code = "schedule-unsupported" if answer.code in UNKNOWN_COMMAND else "write-refused"
            return Done(key=step.key, status="refused", code=code, detail=reply_text(answer.code))
        await self._refresh()
        back = await self.read_access(table, number)
        if isinstance(back, bytes) and len(back) == table.answer_bytes and table.kept(back) == data:
            return Done(key=step.key, status="removed" if step.action == "remove" else "written", proof="V4")
        return Done(key=step.key, status="differs", code="read-back-differs")

    # ---- settings ---------------------------------------------------------------------------------------------------

    async def _setting(self, step: Step, name: str) -> Done:
        if name not in PORTABLE_OPTIONS:  # it belongs to this unit or to its network, or may
            return Done(key=step.key, status="refused", code="device-bound")
        wanted = f"{name}={step.value}".encode() if isinstance(step.value, str | int) else b""
        if split_option(wanted) is None or cut_text(wanted) != wanted or b"\n" in wanted:
            return Done(key=step.key, status="refused", code="setting-unsupported", detail="not a name and a value")
        try:
            answer = await self._wire.ask(
                Cmd.OPTION_WRITE, wanted + b"\x00", repeatable=True, timeout_s=self._wire.facts.write_s
            )
        except NoAnswer:
            answer = None
        if answer is not None and not answer.ok:
            await read_capacity(self._wire)
            return Done(key=step.key, status="refused", code="write-refused", detail=reply_text(answer.code))
        await self._wire.ask(Cmd.REFRESH_OPTIONS, repeatable=True, timeout_s=self._wire.facts.write_s)
        back = await ask_option(self._wire, name)
        if back.ok and cut_text(back.data) == wanted:
            return Done(key=step.key, status="written", proof="V4")
        return Done(key=step.key, status="differs", code="read-back-differs")

    # ---- erasing ----------------------------------------------------------------------------------------------------

    async def erase(self) -> AsyncGenerator[Progress, None]:
        """Take away people, then what said when they may enter, then the logs.

        CLEAR_ACC, which resets all of access control at once, is not used: what it touches beyond these tables is not
        on public record. Tables are reset last, when nobody is left whose rights that could widen.

        Raises:
            RefusedError: the unit refuses, or something remains.
            LinkError: the conversation failed.
        """
        async with self._pause.hold():
            await self._clear(USERS, "users and templates")
            await self._refresh()
            await self._remaining()
            yield Progress(stage="users", done=1, total=1)
            async with aclosing(self._reset_tables()) as items:
                async for item in items:
                    yield item
            for number, (what, name) in enumerate(((ATTENDANCE, "attendance log"), (OPERATIONS, "operation log")), 1):
                await self._clear(what, name)
                yield Progress(stage="logs", done=number, total=2)
            await self._refresh()
            self._found.capacity_raw = await read_capacity(self._wire)

    async def _clear(self, what: int, name: str) -> None:
        try:
            answer = await self._wire.ask(
                Cmd.CLEAR_DATA, bytes([what]), repeatable=True, timeout_s=self._wire.facts.erase_s
            )
        finally:
            self.users.forget()
        if not answer.ok and self._counted(what, parse_capacity(await read_capacity(self._wire))):
            raise RefusedError(
                f"the terminal does not clear its {name}: {reply_text(answer.code)}",
                status=answer.code,
                hint="its menu can do it; then run this again",
            )

    def _counted(self, what: int, counters: Capacity) -> int:
        """Return how much the unit counts of what a clearing takes away: to clear nothing may be refused."""
        return {
            USERS: counters.users + counters.templates,
            TEMPLATES: counters.templates,
            ATTENDANCE: counters.attendance,
            OPERATIONS: counters.operations,
        }[what]

    async def _remaining(self) -> None:
        """See that nobody is left: by the counters, and by the table itself."""
        left = parse_capacity(await read_capacity(self._wire))
        if left.templates:
            await self._clear(TEMPLATES, "templates")
            await self._refresh()
            left = parse_capacity(await read_capacity(self._wire))
        body = await whole_table(self._wire, USER_TABLE, self._pause.renew)
        if left.users or left.templates or body:
            raise RefusedError(f"the terminal still holds {left.users} users and {left.templates} templates")

    async def _reset_tables(self) -> AsyncGenerator[Progress, None]:
        total = sum(table.highest for table in ACCESS.values())
        done = 0
        for table in ACCESS.values():
            for number in range(1, table.highest + 1):
                await self._pause.renew()
                answer = await self.read_access(table, number)
                if isinstance(answer, int) and number == 1:
                    break  # the unit has no such table
                if isinstance(answer, bytes) and len(answer) == table.answer_bytes and not table.is_default(answer):
                    step = Step(
                        key=f"{table.kind}/{number}", kind=table.kind, action="remove", origin={"number": number}
                    )
                    result = await self._access(step, table)
                    if result.status != "removed":
                        raise RefusedError(f"the terminal does not reset its {table.what}: {result.detail or 'number'}")
                yield Progress(stage="schedules", done=done + number, total=total)
            done += table.highest

    async def _refresh(self) -> None:
        await self._wire.ask(Cmd.REFRESH, repeatable=True, timeout_s=self._wire.facts.write_s)


def _each_once(steps: list[Step]) -> Iterator[list[Step]]:
    """Cut steps so that no part touches a user twice: one reading proves a part."""
    part: list[Step] = []
    seen: set[object] = set()
    for step in steps:
        uid = step.origin.get("user_index")
        if uid in seen:
            yield part
            part, seen = [], set()
        part.append(step)
        seen.add(uid)
    yield part
