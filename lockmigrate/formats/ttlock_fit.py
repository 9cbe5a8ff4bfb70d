"""How a TTLock lock would hold another one's records, and whether two locks hold the same (no I/O).

Records of these locks have no number of their own: a code is known by its digits, a card by its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from lockmigrate.formats.ttlock_records import CYCLIC, ONE_TIME, parse_passcode
from lockmigrate.model.document import Snapshot
from lockmigrate.model.steps import Fitted

HELD: Final = "held/"
"""Before the key of a record of the target's own."""
CYCLIC_BIT, RESTORE_BIT = 12, 40
"""Features that a lock needs to take a cyclic code as it is (section 14)."""


def fitted(source: Snapshot, target: Snapshot) -> dict[str, Fitted]:
    """Return each passcode and card of the source as the target shall hold it and, under `held/KEY`, the target's own.

    Raises:
        FrameError: a record does not follow its layout.
    """
    features = int(str(target.lock.protocol.get("features") or "0"), 16)
    cyclic = bool(features >> CYCLIC_BIT & 1 and features >> RESTORE_BIT & 1)
    alike = _firmware(source) == _firmware(target)
    found = {f"{HELD}{key}": Fitted(record=record) for key, record, _ in _records(target)}
    for key, record, rest in _records(source):
        questions = _questions(record, cyclic=cyclic, alike=alike, rest=rest) if key.startswith("pin/") else ()
        found[key] = Fitted(record=record, questions=questions)
    return found


def _firmware(snapshot: Snapshot) -> tuple[str | None, str | None]:
    return snapshot.lock.model, snapshot.lock.firmware_rev


def _questions(record: bytes, *, cyclic: bool, alike: bool, rest: int) -> tuple[tuple[str, str], ...]:
    if record[0] == CYCLIC and not cyclic:
        return (("schedule-unsupported", "the new lock does not take cyclic codes as they are (features 12 and 40)"),)
    if record[0] == CYCLIC and not alike:
        return (
            (
                "schedule-unreadable",
                "nobody has explained the word that holds its hours, and the new lock is of another model or firmware: "
                "write it as it is, and it may open at other hours, or leave it out and make it anew",
            ),
        )
    if rest:
        detail = f"its record ends with {rest} bytes that nobody has explained: write it without, or leave it out"
        return (("schedule-unreadable", detail),)
    return ()


def _records(snapshot: Snapshot) -> Iterator[tuple[str, bytes, int]]:
    """Yield key and record of what can be written, and how many bytes a newer firmware has appended to it."""
    for item in snapshot.credentials:
        if item.credential_type in ("PIN", "RFID") and item.raw and item.status != "unknown":
            raw = snapshot.bytes_of(item.raw[0])
            if item.credential_type == "PIN":
                row = parse_passcode(raw)
                yield item.key, replace(row, rest=b"").record()[1:], len(row.rest)
            else:
                yield item.key, raw, 0


def differences(source: Snapshot, target: Snapshot, written: set[str]) -> list[str]:
    """Name what was written and is not on the target as the backup has it, and what is there beside it.

    Raises:
        FrameError: a record does not follow its layout.
    """
    mine = {key: record for key, record, _ in _records(source)}
    theirs = Counter(record for _, record, _ in _records(target))
    wanted = Counter(record for key, record in mine.items() if key in written)
    found = [key for key, record in mine.items() if key in written and not theirs[record]]
    found += ["a code or card that the backup does not hold"] * (theirs - wanted).total()
    here = Counter(target.bytes_of(item.raw[0]) for item in target.lock_schedules)
    there = Counter(source.bytes_of(item.raw[0]) for item in source.lock_schedules if item.key in written)
    found += ["passage mode"] if here != there else []
    held = {item.key: item.value for item in target.settings}
    return found + [item.key for item in source.settings if item.key in written and held.get(item.key) != item.value]


def one_time(record: bytes) -> bool:
    return record[0] == ONE_TIME


def with_pin(record: bytes, digits: str) -> bytes:
    """Return a record of the passcode list with other digits, which are then what it was made as, too.

    Raises:
        FrameError: it does not follow its layout.
    """
    return replace(parse_passcode(record), code=digits, original=digits).record()[1:]
