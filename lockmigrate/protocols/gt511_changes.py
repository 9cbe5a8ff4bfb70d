"""Single questions to a GT-511 or GT-521 module, and everything that can be changed on one; each change is proven."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from lockmigrate.errors import NoAnswer, RefusedError
from lockmigrate.formats.gt511 import (
    CHECK_ENROLLED,
    COMMUNICATION,
    DATABASE_EMPTY,
    DATABASE_FULL,
    DELETE_ALL,
    DELETE_ID,
    GET_ENROLL_COUNT,
    GET_SECURITY_LEVEL,
    GET_TEMPLATE,
    MAX_IDS,
    NOT_USED,
    OUT_OF_RANGE,
    SET_SECURITY_LEVEL,
    TEMPLATE_BYTES,
    duplicate_of,
)
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.gt511_wire import Gt511Wire, Reply
from lockmigrate.protocols.slots import SLOT_TRIES, Fetched, Refusal, put, put_setting, remove, slot_of
from lockmigrate.protocols.slots_line import TROUBLE, Silent

LEVELS: Final = range(1, 6)
"""Security levels, datasheet v2.1."""
LEVEL_KEY: Final = "setting/gt511.security_level"
LEVEL_TRIES: Final = 2
"""How often a module that may not know the question is asked; ours."""


def must(reply: Reply, what: str) -> None:
    """Raise RefusedError unless the module did what it was told."""
    if not reply.ok:
        raise RefusedError(f"the module refuses {what}: {reply.text}", status=reply.parameter)


class Gt511Slots:
    """What can be asked of and done to single ids. Implements `Slots`."""

    def __init__(self, wire: Gt511Wire) -> None:
        self.wire = wire
        self._knows_level: bool | None = None

    async def count(self) -> int:
        """How many ids are used, by the module's own word.

        Raises:
            RefusedError: it does not say.
            LinkError: the conversation failed.
        """
        reply = await self.wire.ask(GET_ENROLL_COUNT)
        must(reply, GET_ENROLL_COUNT.name)
        return reply.parameter

    async def level(self) -> int | None:
        """The security level; None where the module does not know the command.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        if self._knows_level is False:
            return None
        try:
            reply = await self.wire.ask(GET_SECURITY_LEVEL, tries=LEVEL_TRIES)
        except Silent:
            raise
        except NoAnswer:
            self._knows_level = self._knows_level or False  # silence is not waited for a second time
            return None
        except TROUBLE:
            return None
        self._knows_level = reply.ok
        return reply.parameter if reply.ok else None

    async def fetch(self, slot: int) -> Fetched:
        """Read one template; see `Slots.fetch`."""
        why = Fetched().why
        for _ in range(SLOT_TRIES):
            try:
                reply = await self.wire.ask(GET_TEMPLATE, slot, tries=1)
            except Silent:
                raise
            except TROUBLE:
                continue
            if reply.ok:
                return Fetched(data=reply.data)
            if reply.parameter == NOT_USED:
                return Fetched(free=True)
            if reply.parameter == OUT_OF_RANGE:
                return Fetched(beyond=True)
            why = reply.text
        return Fetched(free=await self.is_free(slot) is True, why=why)

    async def is_free(self, slot: int) -> bool | None:
        """Ask CheckEnrolled; see `Slots.is_free`."""
        try:
            reply = await self.wire.ask(CHECK_ENROLLED, slot)
        except Silent:
            raise
        except TROUBLE:
            return None
        if reply.ok:
            return False
        return True if reply.parameter == NOT_USED else None

    async def is_inside(self, slot: int) -> bool | None:
        """Tell whether the module has this id at all; None where it gives no clear word."""
        try:
            reply = await self.wire.ask(CHECK_ENROLLED, slot)
        except Silent:
            raise
        except TROUBLE:
            return None
        if reply.ok or reply.parameter == NOT_USED:
            return True
        return False if reply.parameter == OUT_OF_RANGE else None

    async def delete(self, slot: int) -> Refusal | None:
        """Send DeleteID once; see `Slots.delete`."""
        try:
            reply = await self.wire.ask(DELETE_ID, slot)
        except Silent:
            raise
        except TROUBLE:
            return None
        return None if reply.ok or reply.parameter == NOT_USED else Refusal("write-refused", reply.text)

    async def store(self, slot: int, data: bytes) -> tuple[Refusal | None, bool]:
        """Send SetTemplate once; see `Slots.store`."""
        reply, sent = await self.wire.push(slot, data)
        if reply is None or reply.ok:
            return None, sent
        if reply.parameter in (OUT_OF_RANGE, DATABASE_FULL):
            return Refusal("capacity", reply.text), sent
        return Refusal("write-refused", reply.text, final=duplicate_of(reply.parameter) is not None), sent

    async def erase_all(self) -> None:
        """Empty the library; an empty one is fine.

        Raises:
            RefusedError: the module refuses.
            LinkError: the conversation failed.
        """
        for attempt in range(1, SLOT_TRIES + 1):
            try:
                reply = await self.wire.ask(DELETE_ALL)
            except Silent:
                raise
            except TROUBLE:
                if attempt == SLOT_TRIES:
                    raise
            else:
                if reply.ok or reply.parameter == DATABASE_EMPTY:
                    return
                if reply.parameter != COMMUNICATION or attempt == SLOT_TRIES:
                    must(reply, DELETE_ALL.name)
            if await self.count() == 0:  # it may have happened: asked, not repeated blindly
                return


async def write(slots: Gt511Slots, steps: Iterable[Step], *, capacity: int | None) -> AsyncIterator[Done]:
    """Carry out steps in their order; see `Lock.write`."""
    last = (capacity or MAX_IDS) - 1
    for step in steps:
        if step.kind == "fingerprint":
            slot = slot_of(step, 0, last)
            wanted = step.value if isinstance(step.value, bytes) else b""
            if slot is None:
                yield Done(key=step.key, status="refused", code="capacity", detail="no id has this number")
            elif step.action == "remove":
                yield await remove(slots, step.key, slot)
            elif len(wanted) != TEMPLATE_BYTES:
                detail = f"a template has {TEMPLATE_BYTES} bytes, this one {len(wanted)}"
                yield Done(key=step.key, status="refused", code="template-size", detail=detail)
            else:
                await slots.wire.raise_speed()
                yield await put(slots, step.key, slot, wanted)
        elif step.key == LEVEL_KEY and step.action == "put":
            yield await _put_level(slots, step)
        else:
            yield Done(key=step.key, status="refused", code="setting-unsupported")


async def _put_level(slots: Gt511Slots, step: Step) -> Done:
    wanted = step.value if isinstance(step.value, int) else -1
    if wanted not in LEVELS:
        return Done(key=step.key, status="refused", code="setting-unsupported", detail="no level has this number")
    if await slots.level() is None:
        detail = "this module has no security level that could be read back"
        return Done(key=step.key, status="refused", code="setting-unsupported", detail=detail)

    async def send(value: int) -> Refusal | None:
        try:
            reply = await slots.wire.ask(SET_SECURITY_LEVEL, value)
        except Silent:
            raise
        except TROUBLE:
            return None
        return None if reply.ok else Refusal("write-refused", reply.text, final=reply.parameter != COMMUNICATION)

    return await put_setting(step.key, wanted, send, slots.level)
