"""The attendance log of ZKTeco terminals (no I/O). The operation log is kept as bytes only: its meaning is not public.

Source: the family's reference, section 7, "Attendance records"; behind it fananimi/pyzk (`zk/base.py`) and the
2006 manual. A log is archived and never written to a unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct as Packed
from typing import Final, NamedTuple

from lockmigrate.formats.zk import cut_text, decode_time
from lockmigrate.formats.zk_records import decode_text
from lockmigrate.model.records import LogEntry

WIDTHS: Final = (8, 16, 40)
OPERATION_BYTES: Final = 16
"""One line of the operation log."""
MAX_LINES: Final = 1_000_000
"""Our bound on the lines that become records; the bytes are kept whole. Units hold 100,000 or so."""

_LINE_8: Final = Packed("<HBIB")
"""Number, verify, time, state."""
_LINE_16: Final = Packed("<IIBB2xI")
"""User id, time, status, verify, two reserved, work code (2006 manual; pyzk swaps the single bytes: unconfirmed)."""
_LINE_40: Final = Packed("<H24sBIB8x")
"""Number, user id, verify, time, state, eight bytes."""

VERIFIED_BY: Final = {0: "pin", 1: "fingerprint", 2: "card", 15: "face"}
STATES: Final = {0: "in", 1: "out", 2: "break-out", 3: "break-in", 4: "overtime-in", 5: "overtime-out"}


class Line(NamedTuple):
    """One attendance record."""

    user: str
    """The user's id, or its number where the line holds only that."""
    uid: int | None
    time: int
    state: int
    verify: int
    work_code: int | None = None


def tell_width(body: bytes, *, count: int | None = None, hint: int | None = None) -> int | None:
    """Decide how long a line is: size divided by the unit's count, else a known length that fits; None if none does.

    pyzk takes any other quotient as 40 bytes and something behind them.
    """
    size = len(body)
    if count and size % count == 0 and size // count in WIDTHS:
        return size // count
    fitting = [width for width in reversed(WIDTHS) if size % width == 0]
    if hint in fitting:
        return hint
    if 40 in fitting and not _looks_40(body[: 40 * 64]):
        fitting.remove(40)
    if fitting:
        return fitting[0]
    return size // count if count and size % count == 0 and 40 < size // count <= 256 else None


def _looks_40(body: bytes) -> bool:
    for _, text, *_ in _LINE_40.iter_unpack(body):
        name = cut_text(text)
        if not name or not name.isascii() or any(text[len(name) :]):
            return False
    return True


def lines(body: bytes, width: int) -> Iterator[Line]:
    """Yield the records of an attendance table whose lines have `width` bytes; a rest that is shorter is left."""
    count = min(len(body) // width, MAX_LINES)
    if width == 8:
        for uid, verify, time, state in _LINE_8.iter_unpack(body[: 8 * count]):
            yield Line(str(uid), uid, time, state, verify)
    elif width == 16:
        for user, time, state, verify, code in _LINE_16.iter_unpack(body[: 16 * count]):
            yield Line(str(user), None, time, state, verify, code)
    else:
        for at in range(0, count * width, width):
            uid, text, verify, time, state = _LINE_40.unpack_from(body, at)
            yield Line(decode_text(text).text or cut_text(text).hex(), uid, time, state, verify)


def entries(body: bytes, width: int) -> Iterator[LogEntry]:
    """Yield the log's lines as neutral records."""
    for seq, line in enumerate(lines(body, width), start=1):
        facts: dict[str, int] = {"state": line.state, "verify": line.verify}
        if line.uid is not None:
            facts["uid"] = line.uid
        if line.work_code:
            facts["work_code"] = line.work_code
        moment = decode_time(line.time).text()
        if moment is None:
            facts["time"] = line.time
        yield LogEntry(
            seq=seq,
            time_local=moment,
            operation=STATES.get(line.state),
            source=VERIFIED_BY.get(line.verify),
            user=line.user,
            vendor={"zk": facts},
        )
