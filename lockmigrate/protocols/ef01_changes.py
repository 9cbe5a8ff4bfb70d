"""Changing a 0xEF01 module: every change is read back, and that is the proof (V4).

What is not proven after three attempts does not stay on the unit, and is a loss with a code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from lockmigrate.errors import NoAnswer
from lockmigrate.formats.ef01 import (
    DELET_CHAR,
    LOAD_CHAR,
    NOTEPAD_PAGE_BYTES,
    REGISTER_LEVEL,
    SET_ADDER,
    SET_PWD,
    SET_SYS_PARA,
    STORE,
    UP_CHAR,
    WRITE_NOTEPAD,
    Code,
    Dialect,
    code_text,
)
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.ef01_questions import HARMLESS, SLOT_TRIES, Questions
from lockmigrate.protocols.ef01_wire import Silent, Wire

GAPS_S: Final = (0.0, 0.01, 0.03)
"""Pause between data packets at the first, second and third attempt (reference, section 7.3)."""
HIGHEST_LEVEL: Final[dict[Dialect, int]] = {"classic": 5, "hilink": 28}
"""Security level of a classic module, score level of a Hi-Link one, both from 1 on (reference, sections 3.1, 4.1)."""
DOWN_BUFFER: Final = 1
"""DownChar and Store use buffer 1 in both dialects (reference, section 7.1)."""


class Changes:
    """What can be changed on one module."""

    def __init__(self, wire: Wire, questions: Questions) -> None:
        self._wire = wire
        self._ask = questions

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """Send one template into memory and fetch it back; nothing is stored (decision 31, unconfirmed on hardware)."""
        up = self._ask.up_buffer
        if up != DOWN_BUFFER:
            return None  # Hi-Link sends up from another buffer than it takes down to
        for gap_s in GAPS_S:
            try:
                ack = await self._wire.push(sample, buffer=DOWN_BUFFER, gap_s=gap_s)
                if not ack.ok:
                    continue
                ack, back = await self._wire.fetch(UP_CHAR, {"buffer": up})
            except Silent:
                raise
            except HARMLESS:
                continue
            if ack.ok and back == sample:
                return True
        return False

    async def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        for step in steps:
            if step.kind == "fingerprint":
                slot = _number(step, "credential_index", 0xFFFF)
                if slot is None:
                    yield Done(key=step.key, status="refused", code="capacity", detail="no slot has this number")
                elif step.action == "remove":
                    yield await self._remove(step.key, slot)
                else:
                    yield await self._put_template(step, slot)
            elif step.key.startswith("setting/ef01.notepad."):
                yield await self._put_page(step)
            elif step.key == "setting/ef01.security_level":
                yield await self._put_level(step)
            elif step.key == "setting/ef01.address":
                yield await self._put_address(step)
            elif step.key == "access_key/ef01.password":
                yield await self._put_password(step)
            else:
                yield Done(key=step.key, status="refused", code="setting-unsupported")

    async def _put_template(self, step: Step, slot: int) -> Done:
        wanted = step.value if isinstance(step.value, bytes) else b""
        if not wanted:
            return Done(key=step.key, status="refused", code="write-refused", detail="there is no template to write")
        code, detail = "write-refused", ""
        touched = step.was_empty
        for gap_s in GAPS_S:
            refusal, may_lie_there = await self._store(wanted, slot, gap_s)
            if refusal == Code.ENCRYPTED:
                return Done(key=step.key, status="refused", code="write-refused", detail=code_text(refusal))
            touched = touched or may_lie_there
            if may_lie_there:
                back, _ = await self._ask.read_slot(slot)
                if back == wanted:
                    return Done(key=step.key, status="written", proof="V4")
            if refusal:
                code, detail = "write-refused", code_text(refusal)
            else:
                code, detail = "read-back-differs", "the slot did not give back what was written"
        # Nothing unproven stays where somebody's finger might be matched against it.
        if touched:
            taken_back = await self._remove(step.key, slot)
            left = "was left empty" if taken_back.status == "removed" else "could not be emptied"
            detail = f"{detail}; the slot {left}"
        return Done(key=step.key, status="refused" if code == "write-refused" else "differs", code=code, detail=detail)

    async def _store(self, data: bytes, slot: int, gap_s: float) -> tuple[int, bool]:
        """Down into memory, then into flash.

        Returns:
            The refusal's code, 0 if the read-back has to judge; and whether something new may lie in the slot.
        """
        try:
            ack = await self._wire.push(data, buffer=DOWN_BUFFER, gap_s=gap_s)
            if not ack.ok:
                return ack.code, False
        except Silent:
            raise
        except HARMLESS:
            return Code.RECEIVE, False
        try:
            ack = await self._wire.ask(STORE, {"buffer": DOWN_BUFFER, "slot": slot})
        except Silent:
            raise
        except HARMLESS:
            return 0, True  # it may have happened: read back, never repeated blindly
        # 01 may be the late word on a damaged data packet, 18 (and its like) a write that failed half way.
        return ack.code, ack.code not in (Code.BEYOND, Code.VERIFY_FIRST, Code.ENCRYPTED, Code.ILLEGAL_DATA)

    async def _put_page(self, step: Step) -> Done:
        page = _number(step, "page", 0xFF)
        wanted = step.value if isinstance(step.value, bytes) else b""
        if page is None or len(wanted) != NOTEPAD_PAGE_BYTES:
            return Done(key=step.key, status="refused", code="setting-unsupported", detail="not a page of 32 bytes")
        for _ in range(SLOT_TRIES):
            ack = await self._wire.ask(WRITE_NOTEPAD, {"page": page, "data": wanted})
            if not ack.ok:
                return Done(key=step.key, status="refused", code="write-refused", detail=code_text(ack.code))
            if await self._ask.page(page) == wanted:
                return Done(key=step.key, status="written", proof="V4")
        return Done(key=step.key, status="differs", code="read-back-differs")

    async def _put_level(self, step: Step) -> Done:
        wanted = step.value if isinstance(step.value, int) else -1
        if not 1 <= wanted <= HIGHEST_LEVEL[self._ask.found.dialect]:
            return Done(key=step.key, status="refused", code="setting-unsupported", detail="no level has this number")
        try:
            ack = await self._wire.ask(SET_SYS_PARA, {"register": REGISTER_LEVEL, "value": wanted})
        except Silent:
            raise
        except HARMLESS:
            ack = None
        if ack is not None and not ack.ok:
            return Done(key=step.key, status="refused", code="write-refused", detail=code_text(ack.code))
        params = await self._ask.params()
        if params is not None and params.level == wanted:
            return Done(key=step.key, status="written", proof="V4")
        return Done(
            key=step.key,
            status="differs",
            code="read-back-differs",
            detail="some modules take it only after power was off for two seconds",
        )

    async def _put_address(self, step: Step) -> Done:
        wanted = step.value if isinstance(step.value, int) else -1
        if not 0 <= wanted <= 0xFFFFFFFF:
            return Done(key=step.key, status="refused", code="setting-unsupported", detail="not an address of 32 bits")
        before = self._wire.address
        try:
            ack = await self._wire.ask(SET_ADDER, {"address": wanted})
        except Silent:
            raise
        except HARMLESS:
            ack = None
        if ack is not None and not ack.ok:
            return Done(key=step.key, status="refused", code="write-refused", detail=code_text(ack.code))
        self._wire.expect_address(wanted)
        try:
            params = await self._ask.params()
        except NoAnswer:
            self._wire.expect_address(before)  # it never heard the command, or did not obey it
            params = await self._ask.params()
        if params is not None and params.address == wanted:
            return Done(key=step.key, status="written", proof="V4")
        return Done(key=step.key, status="differs", code="read-back-differs")

    async def _put_password(self, step: Step) -> Done:
        wanted = step.value if isinstance(step.value, bytes) else b""
        if len(wanted) != 4:
            return Done(key=step.key, status="refused", code="setting-unsupported", detail="not four bytes")
        try:
            ack = await self._wire.ask(SET_PWD, {"password": wanted})
        except Silent:
            raise
        except HARMLESS:
            pass  # it may have happened
        else:
            if not ack.ok:
                return Done(key=step.key, status="refused", code="write-refused", detail=code_text(ack.code))
        facts = self._wire.facts
        before = self._wire.use_password(wanted)
        ack = await self._wire.verify(timeout_s=facts.answer_s, tries=facts.tries)
        if ack.ok:
            return Done(key=step.key, status="written", proof="V4")
        self._wire.use_password(before)
        await self._wire.verify(timeout_s=facts.answer_s, tries=facts.tries)
        return Done(key=step.key, status="differs", code="read-back-differs")

    async def _remove(self, key: str, slot: int) -> Done:
        ack = await self._wire.ask(DELET_CHAR, {"slot": slot, "count": 1})
        if not ack.ok:
            return Done(key=key, status="refused", code="write-refused", detail=code_text(ack.code))
        ack = await self._wire.ask(LOAD_CHAR, {"buffer": self._ask.up_buffer, "slot": slot})
        # An occupied slot that cannot be read answers as an empty one does: the index table tells them apart.
        index = None if ack.ok else await self._ask.index()
        if not ack.ok and (slot not in index if index is not None else ack.code == Code.EMPTY_SLOT):
            return Done(key=key, status="removed", proof="V4")
        return Done(key=key, status="differs", code="read-back-differs", detail="the slot is still occupied")


def _number(step: Step, name: str, highest: int) -> int | None:
    """Return a number of the step's origin if it is one that a command can carry."""
    value = step.origin.get(name)
    return value if isinstance(value, int) and 0 <= value <= highest else None
