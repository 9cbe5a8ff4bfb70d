"""Reading whole tables of a ZKTeco terminal: opened, fetched piece by piece, freed; or as old firmware gives them.

Source: the family's reference, section 6.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from struct import Struct as Packed
from typing import Final

from lockmigrate.errors import FrameError, LinkError, UnexpectedReply
from lockmigrate.formats.zk import Cmd, reply_text, table_body
from lockmigrate.protocols.zk_wire import LEAVE_S, MAX_TABLE_BYTES, Wire

TCP_CHUNK_BYTES: Final = 0xFFC0
UDP_CHUNK_BYTES: Final = 16384
"""What pyzk asks for at a time."""

_OPEN: Final = Packed("<BHII")
_RANGE: Final = Packed("<II")
_OPENED: Final = Packed("<xI")


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTable:
    """One table that the unit gives out as a whole: how it is asked for, now and by old firmware (section 6)."""

    what: str
    command: int
    selector: int
    old_command: int
    old_data: bytes

    def request(self) -> bytes:
        """Build the data of BUFFER_OPEN."""
        return _OPEN.pack(1, self.command, self.selector, 0)


USER_TABLE: Final = BulkTable(what="table of users", command=9, selector=5, old_command=9, old_data=b"\x05")
TEMPLATE_TABLE: Final = BulkTable(what="table of templates", command=7, selector=2, old_command=7, old_data=b"\x02")
ATTENDANCE_LOG: Final = BulkTable(what="attendance log", command=13, selector=0, old_command=13, old_data=b"")
OPERATION_LOG: Final = BulkTable(what="operation log", command=34, selector=0, old_command=34, old_data=b"")


class TableReading:
    """One table that is being read, piece by piece."""

    def __init__(self, wire: Wire, table: BulkTable) -> None:
        self.table = table
        self.size_bytes = 0
        """What the unit announces, the length word included."""
        self.got_bytes = 0
        self.refused: int | None = None
        """The code by which the unit says that it does not give this table."""
        self.held = False
        """The unit holds the table in its buffer, which has to be freed."""
        self._wire = wire
        self._parts: list[bytes] = []

    async def open(self) -> None:
        """Ask for the table; small ones come at once, and old firmware gives all of them so."""
        wire = self._wire
        if wire.buffered is not False:
            answer = await wire.fetch(Cmd.BUFFER_OPEN, self.table.request(), table=True, optional=wire.buffered is None)
            if isinstance(answer, bytes):
                wire.buffered = True
                self._take(answer)
                return
            if answer.ok:
                wire.buffered, self.held = True, True
                if len(answer.data) < _OPENED.size:
                    raise FrameError(f"the {self.table.what} is announced without its size")
                (self.size_bytes,) = _OPENED.unpack_from(answer.data)
                if self.size_bytes > MAX_TABLE_BYTES:
                    raise FrameError(f"a {self.table.what} of {self.size_bytes} bytes is announced")
                return
            self.refused = answer.code
            if wire.buffered:
                return
        answer = await wire.fetch(self.table.old_command, self.table.old_data, table=True, optional=True)
        if isinstance(answer, bytes):
            wire.buffered, self.refused = False, None
            self._take(answer)
        elif answer.ok:
            wire.buffered, self.refused = False, None
            self._take(answer.data)
        else:
            self.refused = answer.code

    async def more(self) -> bool:
        """Read the next piece; False when all is there."""
        if self.refused is not None or self.got_bytes >= self.size_bytes:
            return False
        chunk = UDP_CHUNK_BYTES if self._wire.datagrams else TCP_CHUNK_BYTES
        want = min(chunk, self.size_bytes - self.got_bytes)
        answer = await self._wire.fetch(Cmd.BUFFER_READ, _RANGE.pack(self.got_bytes, want), want_bytes=want)
        if not isinstance(answer, bytes):
            raise UnexpectedReply(expected=f"the {self.table.what}", received=reply_text(answer.code))
        self._parts.append(answer)
        self.got_bytes += len(answer)
        return self.got_bytes < self.size_bytes

    def body(self) -> bytes:
        """Return the table without its length word.

        Raises:
            FrameError: the word does not agree with what came.
        """
        return table_body(b"".join(self._parts), self.table.what)

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self.size_bytes = self.got_bytes = len(data)


@contextlib.asynccontextmanager
async def open_table(wire: Wire, table: BulkTable) -> AsyncIterator[TableReading]:
    """Open a table; the unit's buffer is freed in any case.

    Raises:
        NoAnswer, FrameError, UnexpectedReply: silence or damage.
        LinkLost: the peer or the cable went away.
    """
    reading = TableReading(wire, table)
    try:
        await reading.open()
        yield reading
    finally:
        if reading.held:
            with contextlib.suppress(LinkError):
                await wire.ask(Cmd.FREE, repeatable=True, timeout_s=LEAVE_S)


async def whole_table(wire: Wire, table: BulkTable, each: Callable[[], Awaitable[None]]) -> bytes | None:
    """Read a table without its length word; None if the unit does not give it. `each` is awaited before every piece.

    Raises:
        As `open_table`.
    """
    async with open_table(wire, table) as reading:
        if reading.refused is not None:
            return None
        await each()
        while await reading.more():
            await each()
        return reading.body()
