"""The operation log of TTLock locks (no I/O): section 11 of the TTLock reference.

Its records hold door codes and card numbers in clear: those stay in the raw table and are no part of a neutral entry.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import UNSET, UnsetType

from lockmigrate.errors import FrameError
from lockmigrate.model.records import LogEntry

OPERATIONS: Final = {
    1: "unlock", 26: "lock", 28: "unlock", 41: "unlock-failed", 37: "remote-control", 4: "unlock", 5: "code-changed",
    6: "code-deleted", 7: "wrong-code", 8: "codes-cleared", 9: "code-pushed-out", 10: "erasing-code", 11: "expired",
    12: "no-space", 13: "refused", 14: "power", 15: "card-added", 16: "cards-cleared", 17: "unlock", 18: "card-deleted",
    20: "unlock", 21: "finger-added", 22: "refused", 23: "finger-deleted", 24: "fingers-cleared", 25: "refused",
    27: "unlock", 29: "forced", 30: "door", 31: "door", 32: "exit", 33: "lock", 34: "lock", 35: "lock", 36: "lock",
    55: "unlock", 93: "code-added",
}  # fmt: skip
SOURCES: Final = {
    1: "app", 26: "app", 28: "gateway", 37: "remote", 4: "keypad", 7: "keypad", 34: "keypad", 17: "card", 35: "card",
    25: "card", 20: "finger", 22: "finger", 33: "finger", 27: "key", 36: "key", 55: "key-fob",
}  # fmt: skip
_WITH_USER: Final = frozenset({1, 26, 28, 41, 52, 75, 76, 77, 37})
HEAD_BYTES: Final = 8
"""Type, date of six bytes, battery; the length byte is not counted."""


def log_entry(number: int, raw: bytes, utc_offset_s: int | None = None) -> LogEntry:
    """Read one record without its length byte.

    Args:
        number: the record's own number.
        raw: type, date, battery, and what belongs to the type.
        utc_offset_s: how far the lock's clock was ahead of UTC when the log was read.

    Raises:
        FrameError: it is shorter than its head.
    """
    if len(raw) < HEAD_BYTES:
        raise FrameError("a log record that is cut short")
    estimated: str | UnsetType = UNSET
    kind, battery, tail = raw[0], raw[7], raw[HEAD_BYTES:]
    facts: dict[str, Any] = {"type": kind, "battery_percent": battery}
    try:
        moment = datetime(2000 + raw[1], *raw[2:7])  # noqa: DTZ001 - it names no zone
    except ValueError:
        facts["date"], text = raw[1:7].hex(), None
    else:
        text = moment.strftime("%Y-%m-%dT%H:%M:%S")
        if utc_offset_s is not None and moment.year > 2000:  # a lock whose clock was never set counts from 2000
            utc = moment - timedelta(seconds=utc_offset_s)
            estimated = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    user = None
    if kind in _WITH_USER and len(tail) >= 8:
        user = str(int.from_bytes(tail[:4], "big"))
        facts["record_id"] = int.from_bytes(tail[4:8], "big")
    return LogEntry(
        seq=number,
        time_local=text,
        time_utc_estimated=estimated,
        operation=OPERATIONS.get(kind),
        source=SOURCES.get(kind),
        user=user,
        vendor={"ttlock": facts},
    )


def split_log(page: bytes) -> list[bytes]:
    """Return the records of one page without their length bytes.

    Raises:
        FrameError: a record reaches beyond the page.
    """
    found, at = [], 0
    while at < len(page):
        size = page[at]
        if not size or at + 1 + size > len(page):
            raise FrameError("a page of the log is cut short")
        found.append(page[at + 1 : at + 1 + size])
        at += 1 + size
    return found
