"""The log of Nuki locks (no I/O): section 9.6 of the Nuki reference. A log is archived and never written to a unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lockmigrate.errors import FrameError
from lockmigrate.formats import parse
from lockmigrate.formats.nuki_records import LOG_HEAD, LOG_HEAD_BYTES, parse_date, text_of
from lockmigrate.model.records import LogEntry

TYPES: Final = {
    1: "logging", 2: "lock-action", 3: "calibration", 4: "initialisation", 5: "keypad", 6: "door-sensor",
    7: "door-sensor-logging", 10: "firmware-update",
}  # fmt: skip
_FIELDS: Final[Mapping[int, tuple[tuple[str, int], ...]]] = {
    1: (("on", 1),),
    2: (("action", 1), ("trigger", 1), ("flags", 1), ("completion", 1)),
    3: (("action", 1), ("trigger", 1), ("flags", 1), ("completion", 1)),
    4: (("action", 1), ("trigger", 1), ("flags", 1), ("completion", 1)),
    5: (("action", 1), ("source", 1), ("completion", 1), ("code_id", 2)),
    6: (("door", 1),),
    7: (("on", 1),),
    10: (("major", 1), ("minor", 1), ("patch", 1)),
}
"""Type to the fields of its data and their sizes; on some firmware padding follows (9.6)."""


def log_entry(raw: bytes) -> LogEntry:
    """Read one Log Entry.

    Raises:
        FrameError: it is shorter than its head.
    """
    if len(raw) < LOG_HEAD_BYTES:
        raise FrameError("a log entry that is cut short")
    head, data = parse(LOG_HEAD, raw[:LOG_HEAD_BYTES], "a log entry"), raw[LOG_HEAD_BYTES:]
    facts: dict[str, Any] = {"type": head.type, "authorization_id": head.authorization_id}
    at = 0
    for name, size in _FIELDS.get(head.type, ()):
        if at + size <= len(data):
            facts[name] = int.from_bytes(data[at : at + size], "little")
        at += size
    if head.type not in _FIELDS:
        facts["data"] = data.hex()
    moment = parse_date(bytes(head.date))
    if moment is None:
        facts["date"] = bytes(head.date).hex()
    return LogEntry(
        seq=head.index,
        time_utc=moment,
        operation=TYPES.get(head.type),
        user=text_of(bytes(head.name)) or None,
        vendor={"nuki": facts},
    )


def log_index(raw: bytes) -> int:
    """Return the index of a log entry.

    Raises:
        FrameError: it is shorter than its head.
    """
    if len(raw) < LOG_HEAD_BYTES:
        raise FrameError("a log entry that is cut short")
    return int.from_bytes(raw[:4], "little")
