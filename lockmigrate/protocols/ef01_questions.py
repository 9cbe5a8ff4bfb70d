"""Single questions to a 0xEF01 module: one slot, one notepad page, the index table, the parameters.

Every question here may be repeated; what the module keeps refusing is an answer too.
"""

from __future__ import annotations

from typing import Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, UnexpectedReply, Unsupported
from lockmigrate.formats.ef01 import (
    LOAD_CHAR,
    READ_INDEX_TABLE,
    READ_NOTEPAD,
    READ_SYS_PARA,
    TEMPLETE_NUM,
    UP_CHAR,
    Code,
    code_text,
    occupied_slots,
    results,
)
from lockmigrate.formats.ef01_tables import SysParams, parse_sysparams
from lockmigrate.protocols.ef01_open import Found
from lockmigrate.protocols.ef01_wire import Silent, Wire

SLOT_TRIES: Final = 3
"""Reference, section 12: a slot is tried three times, then recorded as failed."""
HARMLESS: Final = (FrameError, NoAnswer, UnexpectedReply)
"""Trouble after which the line can be brought back into step; `Silent` is caught before it and passed on."""


def must(good: bool, what: str, code: int) -> None:
    """Raise RefusedError unless the module did what it was told."""
    if not good:
        raise RefusedError(f"the module refuses {what}: {code_text(code)}", status=code)


def encrypted(level: int | None, code: int = Code.ENCRYPTED) -> Unsupported:
    """Build the refusal of a module whose templates stay inside."""
    which = "the module's encryption level" if level is None else f"encryption level {level} of this module"
    return Unsupported(
        f"{which} forbids carrying templates",
        status=code,
        hint="the level cannot be changed back; everybody has to be enrolled again on the replacement",
        code="encryption-level",
    )


class Questions:
    """What can be asked of one module.

    Args:
        wire: the line, let in.
        found: what is known of the module; its parameters are kept up to date here.
    """

    def __init__(self, wire: Wire, found: Found) -> None:
        self.wire = wire
        self.found = found

    @property
    def slots(self) -> int | None:
        """How many slots the module has: its own word, else the profile's."""
        if self.found.params is not None and self.found.params.slots:
            return self.found.params.slots
        stated = self.found.profile.capabilities.credentials.fingerprint
        return stated.slots if stated else None

    @property
    def up_buffer(self) -> int:
        """LoadChar and UpChar use buffer 2 in the Hi-Link dialect, 1 in the classic one (reference, section 7.1)."""
        return 2 if self.found.dialect == "hilink" else 1

    async def params(self) -> SysParams | None:
        ack = await self.wire.ask(READ_SYS_PARA)
        if not ack.ok:
            return None
        return parse_sysparams(results(READ_SYS_PARA, ack).params, self.found.dialect)

    async def page(self, number: int) -> bytes | None:
        return (await self.page_or_code(number))[0]

    async def page_or_code(self, number: int) -> tuple[bytes | None, int | None]:
        """Read a notepad page; returns it and code 00, or None and the refusal's code (None for silence)."""
        try:
            ack = await self.wire.ask(READ_NOTEPAD, {"page": number})
        except Silent:
            raise
        except NoAnswer:
            return None, None
        return (results(READ_NOTEPAD, ack).data if ack.ok else None), ack.code

    async def read_slot(self, slot: int, *, known: bool = True) -> tuple[bytes | None, int]:
        """Read one template into our hands.

        Args:
            slot: the slot.
            known: the index table says that it is occupied, so an "empty" is asked again.

        Returns:
            The bytes and code 00, or None and the last confirmation code (00 if it was damage).

        Raises:
            Silent: the module does not answer at all any more.
            Unsupported: the encryption level forbids it.
            LinkLost: the peer or the cable went away.
        """
        code = 0
        buffer = self.up_buffer
        for _ in range(SLOT_TRIES):
            try:
                ack = await self.wire.ask(LOAD_CHAR, {"buffer": buffer, "slot": slot})
                if ack.ok:
                    ack, data = await self.wire.fetch(UP_CHAR, {"buffer": buffer})
                    if ack.ok and data:
                        return data, Code.OK
            except Silent:
                raise
            except HARMLESS:
                continue
            code = ack.code
            if code == Code.ENCRYPTED:
                raise encrypted(None)
            if not known and code in (Code.EMPTY_SLOT, Code.BEYOND):
                break
        return None, code

    async def index(self) -> list[int] | None:
        pages = await self.index_pages()
        if pages is None:
            return None
        return [slot for slot in occupied_slots(pages) if self.slots is None or slot < self.slots]

    async def index_pages(self) -> bytes | None:
        slots = self.slots
        if slots is None:
            return None
        pages = []
        for page in range((slots + 255) // 256):
            try:
                ack = await self.wire.ask(READ_INDEX_TABLE, {"page": page}, timeout_s=self.wire.facts.answer_s)
            except Silent:
                raise
            except NoAnswer:
                return None
            if not ack.ok:
                return None
            pages.append(results(READ_INDEX_TABLE, ack).bits)
        return b"".join(pages)

    async def count(self) -> int | None:
        try:
            ack = await self.wire.ask(TEMPLETE_NUM)
        except Silent:
            raise
        except NoAnswer:
            return None
        return int(results(TEMPLETE_NUM, ack).count) if ack.ok else None
