"""The lists of a TTLock lock, read to their end: sections 7 to 11 of the TTLock reference."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, TornRead, WrongCredential
from lockmigrate.formats.ttlock import Cmd, Refusal
from lockmigrate.formats.ttlock_log import split_log
from lockmigrate.formats.ttlock_records import (
    PASSAGE_BYTES,
    Holder,
    Passcode,
    parse_holder,
    parse_passcode,
    split_cards,
    split_fingers,
    split_passcodes,
)
from lockmigrate.protocols.ttlock_wire import Wire

MAX_LOG: Final = 20_000
"""Ours: a log that never ends is not believed."""
LOG_GAP: Final = 3
"""So many records of the log in a row that cannot be read, and it is given up; ours."""


async def read_passcodes(wire: Wire) -> list[Passcode]:
    """Read all passcodes whose record is understood.

    Raises:
        RefusedError, LinkError: from the lock.
    """
    rows: list[bytes] = []
    async for found in wire.listing(Cmd.PASSCODE_LIST, b"", split_passcodes):
        rows = found
    codes = []
    for raw in rows:
        with contextlib.suppress(FrameError):
            codes.append(parse_passcode(raw))
    return codes


async def read_holders(wire: Wire, command: Cmd) -> list[Holder]:
    """Read all cards (`Cmd.CARD`) or fingers (`Cmd.FINGER`).

    Raises:
        RefusedError, LinkError: from the lock.
    """
    card = command == Cmd.CARD
    rows: list[bytes] = []
    async for found in wire.listing(command, b"\x01" if card else b"\x06", split_cards if card else split_fingers):
        rows = found
    return [parse_holder(raw) for raw in rows]


async def read_passage(wire: Wire) -> list[bytes]:
    """Read all records of passage mode, 7 bytes each.

    Raises:
        TornRead: the list does not end.
        RefusedError, LinkError: from the lock.
    """
    rows: list[bytes] = []
    async for found in wire.listing(Cmd.PASSAGE, b"\x01", _split_passage, cursor_bytes=1):
        rows = found
    return list(dict.fromkeys(rows))


def _split_passage(page: bytes) -> list[bytes]:
    if len(page) % PASSAGE_BYTES:
        raise FrameError("a page of passage mode is cut short")
    return [page[at : at + PASSAGE_BYTES] for at in range(0, len(page), PASSAGE_BYTES)]


async def read_log(wire: Wire, lost: list[int]) -> AsyncIterator[bytes]:
    """Yield the records of the log, each as its number (u32) and the record without its length byte.

    It is asked for by number from 0 on, so that the mark of what was not read yet stays (section 11). Records that
    cannot be read are named in `lost`; after a row of them it is given up, so that a damaged log costs no backup.

    Raises:
        TornRead: it does not end.
        RefusedError: the lock gives out none at all.
        LinkError: from the lock.
    """
    cursor, in_a_row, seen = 0, 0, 0
    while seen < MAX_LOG:
        try:
            data = await wire.ask(Cmd.LOG, cursor.to_bytes(2, "big"))
            records = split_log(data[4:]) if len(data) >= 4 else []
        except WrongCredential:
            raise
        except (RefusedError, FrameError, NoAnswer) as error:
            if isinstance(error, RefusedError) and error.status == Refusal.NO_RECORD:
                return
            if isinstance(error, RefusedError) and error.status == Refusal.UNSUPPORTED:
                raise
            lost.append(cursor)
            in_a_row += 1
            if in_a_row > LOG_GAP:
                if not seen and isinstance(error, RefusedError):
                    raise
                return
            cursor += 1
            continue
        if len(data) < 4 or not int.from_bytes(data[:2], "big"):
            return
        in_a_row = 0
        after = int.from_bytes(data[2:4], "big")
        first = after - len(records) if after else cursor
        for offset, record in enumerate(records):
            yield max(0, first + offset).to_bytes(4, "big") + record
        seen += len(records)
        if after in (0, 0xFFFF) or after == cursor or not records:
            return
        cursor = after
    raise TornRead("the log of the lock does not end", hint="nothing incomplete is kept")
