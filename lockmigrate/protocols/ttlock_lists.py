"""The lists of a TTLock lock, read to their end: sections 7 to 11 of the TTLock reference."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, TornRead, WrongCredential
from lockmigrate.formats.ttlock import Cmd
from lockmigrate.formats.ttlock_log import split_log
from lockmigrate.formats.ttlock_records import (
    PASSAGE_BYTES,
    Holder,
    Passcode,
    parse_holder,
    parse_passcode,
    split_holders,
    split_passcodes,
)
from lockmigrate.protocols.ttlock_wire import Wire

PASSAGE_END: Final = 0xFF
MAX_LOG: Final = 20_000
"""Ours: a log that never ends is not believed."""
LOG_GAP: Final = 3
"""So many records of the log in a row that cannot be read are the end of it; ours."""


async def read_passcodes(wire: Wire) -> list[Passcode]:
    """Read all passcodes.

    Raises:
        RefusedError, LinkError: from the lock.
    """
    rows: list[Passcode] = []
    async for page in wire.pages(Cmd.PASSCODE_LIST, b"", skip=2):
        rows += [parse_passcode(raw) for raw in split_passcodes(page)]
    return rows


async def read_cards(wire: Wire) -> list[Holder]:
    """Read all cards.

    Raises:
        RefusedError, LinkError: from the lock.
    """
    rows: list[Holder] = []
    async for page in wire.pages(Cmd.CARD, b"\x01", skip=2):
        rows += [parse_holder(raw) for raw in split_holders(page, "card")]
    return rows


async def read_passage(wire: Wire) -> list[bytes]:
    """Read all records of passage mode, 7 bytes each.

    Raises:
        TornRead: the list does not end.
        RefusedError, LinkError: from the lock.
    """
    rows: list[bytes] = []
    cursor, seen = 0, {0}
    for _ in range(256):
        data = (await wire.ask(Cmd.PASSAGE, bytes([1, cursor])))[2:]
        if not data:
            return rows
        cursor, page = data[0], data[1:]
        if cursor == PASSAGE_END and len(page) % PASSAGE_BYTES:
            page = b""
        if len(page) % PASSAGE_BYTES:
            raise FrameError("a page of passage mode is cut short")
        found = [page[at : at + PASSAGE_BYTES] for at in range(0, len(page), PASSAGE_BYTES)]
        rows += [row for row in found if row not in rows]
        if cursor == PASSAGE_END or cursor in seen:
            return rows
        seen.add(cursor)
    raise TornRead("passage mode of the lock does not end")


async def read_log(wire: Wire, lost: list[int]) -> AsyncIterator[bytes]:
    """Yield the records of the log, each as its number (u32) and the record without its length byte.

    It is asked for by number from 0 on, so that the mark of what was not read yet stays (section 11). Records that
    cannot be read are named in `lost`.

    Raises:
        TornRead: it does not end.
        RefusedError, LinkError: from the lock.
    """
    cursor, in_a_row, seen = 0, 0, 0
    while seen < MAX_LOG:
        try:
            data = await wire.ask(Cmd.LOG, cursor.to_bytes(2, "big"))
        except WrongCredential:
            raise
        except (RefusedError, FrameError, NoAnswer):
            if not seen and not in_a_row and not lost:
                raise
            in_a_row += 1
            if in_a_row > LOG_GAP:
                del lost[-LOG_GAP:]
                return
            lost.append(cursor)
            cursor += 1
            continue
        in_a_row = 0
        if len(data) < 4 or not int.from_bytes(data[:2], "big"):
            return
        after, page = int.from_bytes(data[2:4], "big"), data[4:]
        records = split_log(page)
        first = after - len(records) if after else cursor
        for offset, record in enumerate(records):
            yield max(0, first + offset).to_bytes(4, "big") + record
        seen += len(records)
        if after in (0, 0xFFFF) or after == cursor or not records:
            return
        cursor = after
    raise TornRead("the log of the lock does not end", hint="nothing incomplete is kept")
