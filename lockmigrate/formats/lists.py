"""Lists as raw tables: for families whose units give out one entry at a time (no I/O)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from lockmigrate.errors import FrameError

HEAD_BYTES: Final = 2
UNSAID: Final = 0xFFFF


def join_list(announced: int | None, items: Iterable[bytes]) -> bytes:
    """Make a table of a list: the number the unit announced (u16, FFFF for none), then each entry after its length.

    Both are little endian. Entries are shorter than 65,536 bytes.
    """
    head = (UNSAID if announced is None else announced).to_bytes(HEAD_BYTES, "little")
    return head + b"".join(len(item).to_bytes(HEAD_BYTES, "little") + item for item in items)


def split_list(table: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, entry) for each entry of such a table.

    Raises:
        FrameError: the table is cut short.
    """
    if len(table) < HEAD_BYTES:
        raise FrameError("a list without its head")
    at = HEAD_BYTES
    while at < len(table):
        size = int.from_bytes(table[at : at + HEAD_BYTES], "little")
        start = at + HEAD_BYTES
        if start > len(table) or start + size > len(table):
            raise FrameError("a list that is cut short")
        yield start, table[start : start + size]
        at = start + size


def announced_of(table: bytes) -> int | None:
    """Return how many entries the unit announced.

    Raises:
        FrameError: the table is cut short.
    """
    if len(table) < HEAD_BYTES:
        raise FrameError("a list without its head")
    number = int.from_bytes(table[:HEAD_BYTES], "little")
    return None if number == UNSAID else number
